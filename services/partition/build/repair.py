"""Finds damaged files of snapshots, rebuilds them from the store to the same checksum, and puts them in place."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

from planmesh.errors import Conflict, InvalidRequest, PlanmeshError, SnapshotDamaged, SnapshotError, VersionGone
from planmesh.snapshot.array_file import FileFacts, sync_folder, verify_file
from planmesh.snapshot.build_folder import BuildFolder
from planmesh.snapshot.manifest import (
    DIRECTORY_NAME,
    MANIFEST_NAME,
    OVERLAY_NAME,
    PARTITION_FOLDER,
    REPORT_NAME,
    read_manifest,
    write_manifest,
)
from planmesh.supervision import log_failure
from planmesh.telemetry.logs import get_logger
from services.partition.blocking import BlockingWork
from services.partition.build.built_graph import build_overlay_file
from services.partition.build.load import load_from_store
from services.partition.build.prepare_apart import prepare_graph
from services.partition.build.resources import BuildResources
from services.partition.build.workspace import build_workspace
from services.partition.catalog.folders import remove_folder
from services.partition.catalog.served import KnownVersion
from services.partition.ingest.progress import LoadProgress
from services.partition.ingest.replay import replay, spool_rows

VERIFY_BYTES_PER_S: Final = 128 * 2**20
"""Bytes that the check after the start reads per second, so that it does not slow queries down."""

REPAIR_TOKEN_BYTES: Final = 8
"""Random bytes that distinguish each repair of a version from all others."""

CHECK_NICENESS: Final = 19
"""Priority of the thread of the check, the lowest one, because no caller waits for it."""

log = get_logger(__name__)


class NotReproducedError(Exception):
    """A rebuilt file has another checksum than before, so the whole version must be built again."""


class Repairs:
    """Checks the files of the served versions and rebuilds damaged ones, one version of a graph at a time."""

    def __init__(self, resources: BuildResources) -> None:
        self._resources = resources
        self._repairs: dict[str, asyncio.Task[None]] = {}
        self._check: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to check every file of the served versions in the background."""
        self._check = asyncio.create_task(self._check_all(), name="check-snapshots")
        self._check.add_done_callback(log_failure)

    async def close(self) -> None:
        """Cancel the check and all repairs."""
        tasks = [task for task in (self._check, *self._repairs.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def abandon(self, graph: str) -> None:
        """Cancel the repair of a graph that is being removed, and wait until it has ended."""
        task = self._repairs.get(graph)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def report(self, graph: str, version: int, file: str) -> bool:
        """Handle a report of damage. Return True if the file is being rebuilt, False if it is intact.

        Raises GraphUnknown, VersionGone when another version is served, and InvalidRequest when the snapshot has no
        such file.
        """
        known = self._resources.graphs.served(graph)
        if version not in {0, known.number}:
            raise VersionGone(f"version {version} of graph {graph!r} is no longer served; version {known.number} is")
        if file != MANIFEST_NAME and known.manifest.find_file(file) is None:
            raise InvalidRequest(f"expected the name of a file of the snapshot, got {file[:80]!r}", field="file")
        if file not in known.damaged:
            if not await asyncio.to_thread(_is_intact, known, file):
                log.error("damage reported", graph=graph, version=known.number, file=file)
                known.damaged.add(file)
                if not await asyncio.to_thread(Path(known.url).is_dir):
                    # The whole snapshot is gone, and the reader reported the file that it opens first.
                    known.damaged.update(entry.file for entry in known.manifest.files())
            elif file != MANIFEST_NAME or not known.damaged:
                return False
            # Otherwise the manifest is intact, but a repair of other files changed its identity. To the caller the
            # snapshot is gone, and it is being rebuilt.
        self._begin(known)
        return True

    def _begin(self, known: KnownVersion) -> None:
        graph = known.stored.graph
        if graph not in self._repairs:
            task = asyncio.create_task(self._repair(known), name=f"repair-{graph}")
            self._repairs[graph] = task
            task.add_done_callback(log_failure)
            task.add_done_callback(lambda done: self._end(known, done))

    def _end(self, known: KnownVersion, task: asyncio.Task[None]) -> None:
        graph = known.stored.graph
        del self._repairs[graph]
        if task.cancelled() or self._resources.shutdown.begun or not self._resources.graphs.knows(graph):
            return
        served = self._resources.graphs.get(graph).served
        if served is not None and served is not known and served.damaged:
            self._begin(served)  # a newer version, found damaged while this one was repaired

    async def _check_all(self) -> None:
        """Read every file of the served versions once. Plans do not wait for it."""
        work = BlockingWork("check-snapshots")

        def pace(count: int) -> None:
            work.checkpoint()
            time.sleep(count / VERIFY_BYTES_PER_S)

        try:
            await work.run(_lower_priority)
            for graph in self._resources.graphs.all():
                known = graph.served
                if known is None:
                    continue
                for name in [MANIFEST_NAME, *(entry.file for entry in known.manifest.files())]:
                    if not await work.run(partial(_is_intact, known, name, pace)):
                        log.error("damage found", graph=graph.name, version=known.number, file=name)
                        known.damaged.add(name)
                if known.damaged and graph.served is known:
                    self._begin(known)
        finally:
            work.close()
        log.info("snapshots checked")

    async def _repair(self, known: KnownVersion) -> None:
        """Rebuild until no file is damaged. Coordinators open the version again when the repair begins and ends."""
        graph = known.stored.graph
        try:
            while known.damaged:
                files = sorted(known.damaged)
                try:
                    async with self._in_place(known):
                        await asyncio.to_thread(_change_identity, known)
                    # Plans that need none of these files continue meanwhile, under the identity that workers now find.
                    self._announce(known)
                    await self._rebuild(known, files)
                except SnapshotDamaged as error:
                    # A file that the rebuild reads is damaged too. It is rebuilt in the next round.
                    if error.file in known.damaged or known.manifest.find_file(error.file) is None:
                        raise
                    log.error("damage found", graph=graph, version=known.number, file=error.file)
                    known.damaged.add(error.file)
                    continue
                known.damaged.difference_update(files)
                log.info("files rebuilt", graph=graph, version=known.number, files=len(files))
        except NotReproducedError as difference:
            log.warning("building the whole version again", graph=graph, version=known.number, reason=str(difference))
            await self._load_again(known)
            return
        except (PlanmeshError, OSError) as error:
            # The next report of damage starts another repair.
            log.error("files not rebuilt", graph=graph, version=known.number, error=str(error))
            return
        self._announce(known)

    def _announce(self, known: KnownVersion) -> None:
        """Make coordinators open a version again if it is still served."""
        graph = known.stored.graph
        if self._resources.graphs.knows(graph) and self._resources.graphs.get(graph).served is known:
            self._resources.hub.serve(graph, known.number, known.url)

    async def _load_again(self, known: KnownVersion) -> None:
        graph = known.stored.graph
        if not self._resources.graphs.knows(graph) or self._resources.graphs.get(graph).served is not known:
            log.info("version not built again: it is no longer served", graph=graph, version=known.number)
            return
        try:
            await load_from_store(self._resources, known.stored, known.description.options)
        except Conflict:
            log.info("version not built again: a load is in progress", graph=known.stored.graph)
        except (PlanmeshError, OSError) as error:
            log.error("version not built again", graph=known.stored.graph, error=str(error))

    async def _rebuild(self, known: KnownVersion, files: Collection[str]) -> None:
        snapshot = Path(known.url)
        async with self._in_place(known):
            await asyncio.to_thread((snapshot / PARTITION_FOLDER).mkdir, parents=True, exist_ok=True)
        progress = LoadProgress(known.stored.graph, self._resources.telemetry)
        async with build_workspace(self._resources.folders, known.stored.graph) as space:
            folder, work = space.folder, space.work
            from_rows = [name for name in files if name not in {MANIFEST_NAME, OVERLAY_NAME}]
            if from_rows:
                await self._rebuild_from_rows(known, from_rows, folder, work, progress)
            if OVERLAY_NAME in files:
                facts = await work.run(lambda: _rebuild_overlay(known, folder, progress, work))
                async with self._in_place(known):
                    await work.run(lambda: _put_in_place(known, folder, OVERLAY_NAME, facts))

    @asynccontextmanager
    async def _in_place(self, known: KnownVersion) -> AsyncIterator[None]:
        """Hold the graph's lock to write into a snapshot. Raises VersionGone when the version was removed meanwhile."""
        graph = known.stored.graph
        async with self._resources.locks.hold(graph):
            if not self._resources.graphs.knows(graph) or known not in self._resources.graphs.get(graph).versions:
                raise VersionGone(f"version {known.number} of graph {graph!r} was removed while it was rebuilt")
            yield

    async def _rebuild_from_rows(
        self,
        known: KnownVersion,
        files: Collection[str],
        folder: BuildFolder,
        work: BlockingWork,
        progress: LoadProgress,
    ) -> None:
        options = known.description.options
        prepared = await prepare_graph(
            await spool_rows(
                options, folder, work, lambda spool: replay(self._resources.store, known.stored, spool, work, progress)
            ),
            options,
            folder,
            work,
        )
        if len(prepared.partitions) != len(known.manifest.partitions):
            expected, got = len(known.manifest.partitions), len(prepared.partitions)
            raise NotReproducedError(f"expected {expected} partitions from the same rows, got {got}")
        numbers = [int(name.rpartition("/")[2]) for name in files if name not in {DIRECTORY_NAME, REPORT_NAME}]
        built = await self._resources.indexes.build(
            folder, {number: prepared.partitions[number].nodes for number in numbers}, lambda _: None
        )
        facts = {one.file: FileFacts(one.bytes, one.checksum) for one in built.values()}
        facts |= {DIRECTORY_NAME: prepared.directory, REPORT_NAME: prepared.report}
        async with self._in_place(known):
            for name in files:
                await work.run(lambda n=name: _put_in_place(known, folder, n, facts[n]))  # type: ignore[misc]


def _rebuild_overlay(known: KnownVersion, folder: BuildFolder, progress: LoadProgress, work: BlockingWork) -> FileFacts:
    """Build the overlay's file from the snapshot's partition files. Raises SnapshotDamaged if one is not intact."""
    snapshot = Path(known.url)
    for entry in known.manifest.partitions:
        verify_file(snapshot / entry.file, entry.facts, entry.file)
    counts = known.manifest.counts
    target = folder.snapshot_path / OVERLAY_NAME
    return build_overlay_file(snapshot, target, counts.nodes, counts.partitions, progress, work).file


def _put_in_place(known: KnownVersion, folder: BuildFolder, name: str, facts: FileFacts) -> None:
    entry = known.manifest.find_file(name)
    assert entry is not None
    if facts != entry.facts:
        raise NotReproducedError(f"{name}: expected the checksum {entry.checksum}, built {facts.checksum}")
    target = Path(known.url) / name
    _make_room(target)
    (folder.snapshot_path / name).replace(target)
    sync_folder(target.parent)


def _change_identity(known: KnownVersion) -> None:
    """Write the manifest with a new identity, before any file is replaced.

    Processes that have mapped the damaged files then open the snapshot again, and cached answers from those files are
    no longer used. Opening a damaged file under the new identity fails, so after a crash halfway nothing is served from
    one.
    """
    snapshot = Path(known.url)
    snapshot.mkdir(parents=True, exist_ok=True)
    _make_room(snapshot / MANIFEST_NAME)
    with known.opening:
        write_manifest(snapshot, known.manifest.model_copy(update={"repair": secrets.token_hex(REPAIR_TOKEN_BYTES)}))
        known.reader = None


def _make_room(path: Path) -> None:
    """Remove a folder that has the name of a file, because a rename cannot replace it."""
    if path.is_dir():
        remove_folder(path)


def _lower_priority() -> None:
    if sys.platform == "linux":  # only there does each thread have its own priority
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), CHECK_NICENESS)


def _is_intact(known: KnownVersion, name: str, on_chunk: Callable[[int], None] | None = None) -> bool:
    """Whether a file matches the store's copy of the manifest. Reads all of it; blocks."""
    path = Path(known.url) / name
    try:
        if name == MANIFEST_NAME:
            return read_manifest(path).same_but_for_repairs(known.manifest)
        entry = known.manifest.find_file(name)
        assert entry is not None
        verify_file(path, entry.facts, name, on_chunk)
    except SnapshotError:  # damaged, or a manifest of another format
        return False
    return True
