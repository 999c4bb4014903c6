"""Damaged files of snapshots: found, rebuilt from the store to the same checksum, and put in place by a rename."""

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
"""Bytes read in a second by the check at the start, so that it does not push queries aside."""

REPAIR_TOKEN_BYTES: Final = 8
"""Random bytes that tell a repair of a version from every other one."""

CHECK_NICENESS: Final = 19
"""Priority of the thread that checks, the lowest: nobody waits for it."""

log = get_logger(__name__)


class NotReproducedError(Exception):
    """A rebuilt file has another checksum than it had; the whole version must be built anew."""


class Repairs:
    """Checks what is on disk, and rebuilds what is damaged; one version at a time a graph."""

    def __init__(self, resources: BuildResources) -> None:
        self._resources = resources
        self._repairs: dict[str, asyncio.Task[None]] = {}
        self._check: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to check every file of the served versions in the background."""
        self._check = asyncio.create_task(self._check_all(), name="check-snapshots")
        self._check.add_done_callback(log_failure)

    async def close(self) -> None:
        """Abandon what is under way."""
        tasks = [task for task in (self._check, *self._repairs.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def abandon(self, graph: str) -> None:
        """Abandon the repair of a graph that is being removed."""
        task = self._repairs.get(graph)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def report(self, graph: str, version: int, file: str) -> bool:
        """Take a report of damage; True when the file is being rebuilt, False when it is whole.

        Raises GraphUnknown, VersionGone when another version is served, InvalidRequest for a file there is not.
        """
        known = self._resources.graphs.served(graph)
        if version not in {0, known.number}:
            raise VersionGone(f"version {version} of graph {graph!r} is not served any more; {known.number} is")
        if file != MANIFEST_NAME and known.manifest.find_file(file) is None:
            raise InvalidRequest(f"expected the name of a file of the snapshot, got {file[:80]!r}", field="file")
        if file not in known.damaged:
            if not await asyncio.to_thread(_is_intact, known, file):
                log.error("damage reported", graph=graph, version=known.number, file=file)
                known.damaged.add(file)
                if not await asyncio.to_thread(Path(known.url).is_dir):
                    # All of it is gone, and what is reported is what a reader looks for first.
                    known.damaged.update(entry.file for entry in known.manifest.files())
            elif file != MANIFEST_NAME or not known.damaged:
                return False
            # Else a repair of other files has changed the identity, and the snapshot that was asked for is gone.
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
        """Read every file once; nothing that is served waits for it."""
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
        """Rebuild until nothing is damaged; coordinators open the version again when it begins and when it is done."""
        graph = known.stored.graph
        try:
            while known.damaged:
                files = sorted(known.damaged)
                try:
                    async with self._in_place(known):
                        await asyncio.to_thread(_change_identity, known)
                    # Plans that need none of these files go on meanwhile, under the identity that workers now find.
                    self._tell(known)
                    await self._rebuild(known, files)
                except SnapshotDamaged as error:
                    # A file that the rebuild reads is damaged too: it is rebuilt first, in the next round.
                    if error.file in known.damaged or known.manifest.find_file(error.file) is None:
                        raise
                    log.error("damage found", graph=graph, version=known.number, file=error.file)
                    known.damaged.add(error.file)
                    continue
                known.damaged.difference_update(files)
                log.info("rebuilt", graph=graph, version=known.number, files=len(files))
        except NotReproducedError as difference:
            log.warning("built anew as a whole", graph=graph, version=known.number, reason=str(difference))
            await self._load_again(known)
            return
        except (PlanmeshError, OSError) as error:
            # The next report of damage begins again.
            log.error("not rebuilt", graph=graph, version=known.number, error=str(error))
            return
        self._tell(known)

    def _tell(self, known: KnownVersion) -> None:
        """Have coordinators open a version again, if it is still served."""
        graph = known.stored.graph
        if self._resources.graphs.knows(graph) and self._resources.graphs.get(graph).served is known:
            self._resources.hub.serve(graph, known.number, known.url)

    async def _load_again(self, known: KnownVersion) -> None:
        graph = known.stored.graph
        if not self._resources.graphs.knows(graph) or self._resources.graphs.get(graph).served is not known:
            log.info("not built anew: it is not served any more", graph=graph, version=known.number)
            return
        try:
            await load_from_store(self._resources, known.stored, known.description.options)
        except Conflict:
            log.info("not built anew: a load is under way", graph=known.stored.graph)
        except (PlanmeshError, OSError) as error:
            log.error("not built anew", graph=known.stored.graph, error=str(error))

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
        """Hold the graph's lock to write into a snapshot; VersionGone when the version was removed meanwhile."""
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
            raise NotReproducedError("the rows are partitioned differently now")
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
    """Build the overlay's file of the snapshot's own partition files, which must be whole."""
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
    """Write the manifest with another identity, before any file is replaced.

    Processes that have mapped the damaged files then open the snapshot again, and answers that were found on them are
    not given any more. Under the new identity a damaged file is refused when it is opened, so a crash half-way leaves
    nothing that is served from one.
    """
    snapshot = Path(known.url)
    snapshot.mkdir(parents=True, exist_ok=True)
    _make_room(snapshot / MANIFEST_NAME)
    with known.opening:
        write_manifest(snapshot, known.manifest.model_copy(update={"repair": secrets.token_hex(REPAIR_TOKEN_BYTES)}))
        known.reader = None


def _make_room(path: Path) -> None:
    """A folder that stands where a file belongs is no file of ours, and a rename does not replace it."""
    if path.is_dir():
        remove_folder(path)


def _lower_priority() -> None:
    if sys.platform == "linux":  # where threads have priorities of their own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), CHECK_NICENESS)


def _is_intact(known: KnownVersion, name: str, on_chunk: Callable[[int], None] | None = None) -> bool:
    """Compare a file with the store's copy of the manifest."""
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
