"""One load, from the caller's rows to the adoption of the new version by the coordinators."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from typing import Final

from planmesh.errors import ServiceUnavailable, SnapshotError, Unavailable
from planmesh.snapshot.build_folder import BuiltPartition
from planmesh.snapshot.manifest import decode_manifest, encode_manifest, write_manifest
from planmesh.telemetry import names
from planmesh.telemetry.logs import get_logger
from planmesh.v1 import graph_pb2
from planmesh.versions.protocol import StoredVersion, VersionWriter
from services.partition.blocking import BlockingWork, uninterrupted
from services.partition.build.built_graph import BuiltGraph, index_and_overlay
from services.partition.build.freezing import changes_since, freeze, frozen_now
from services.partition.build.journal import Journal, MergedState, UnfinishedBuild, recover, write_journal
from services.partition.build.prepare_apart import prepare_graph
from services.partition.build.prepared import PreparedGraph
from services.partition.build.resources import BuildResources
from services.partition.build.workspace import Workspace, build_workspace
from services.partition.catalog.folders import remove_folder
from services.partition.catalog.served import KnownVersion
from services.partition.ingest.options import STRATEGY_NUMBERS, LoadOptions, VersionDescription
from services.partition.ingest.progress import LoadProgress
from services.partition.ingest.replay import feed_rows, replay, spool_rows
from services.partition.ingest.spool import GraphSpool, SpooledGraph

FIRST_COORDINATOR_WAIT_S: Final = 5.0
"""How long a load waits for a coordinator to connect when none watches: one may be restarting."""

CANCELLATION_SETTLES_S: Final = 1.0
"""When a whole mesh is killed, the caller's connection may break a moment before this process ends. A cancelled build
therefore stays resumable for this long before it is deleted."""

log = get_logger(__name__)

Feed = Callable[[GraphSpool, VersionWriter, BlockingWork, LoadProgress], Awaitable[None]]


class Load:
    """One load: call `begin`, then `run` or `resume`, each once.

    `content` returns the digest of the rows after all are received. `on_sealed` is called when the build no longer
    needs its caller. While `is_awaited` returns False, a build that fails because the build workers or Redis are down
    is retried.
    """

    def __init__(
        self,
        resources: BuildResources,
        options: LoadOptions,
        unfinished: UnfinishedBuild | None = None,
        *,
        content: Callable[[], str] = lambda: "",
        on_sealed: Callable[[LoadProgress], None] = lambda _: None,
        is_awaited: Callable[[], bool] = lambda: True,
    ) -> None:
        self._resources = resources
        self._options = options
        self._graph = options.graph
        self._unfinished = unfinished
        self._content = content
        self._on_sealed = on_sealed
        self._is_awaited = is_awaited
        self._merged = None if unfinished is None else unfinished.journal.merged
        self._progress = LoadProgress(
            options.graph,
            resources.telemetry,
            resumed=unfinished is not None,
            started_unix_s=unfinished.journal.started_unix_s if unfinished else 0.0,
        )
        self._started_s = time.perf_counter()

    def merge(self, merged: MergedState) -> None:
        """Become the base of an existing version, not a new one. To be called before `run`."""
        self._merged = merged

    def begin(self) -> None:
        """Reserve the graph until `run` or `resume` has ended. Raises the errors of KnownGraphs.begin_load."""
        self._resources.graphs.begin_load(self._graph, self._progress)
        log.info("load begins", graph=self._graph, options=self._options.model_dump(mode="json"))

    async def run(self, feed: Feed) -> graph_pb2.LoadReport:
        """Do all phases, and clean up. After a shutdown, the load can be resumed from the phase `index` on."""
        resources = self._resources
        with self._taken():
            async with (
                build_workspace(resources.folders, self._graph) as space,
                resources.store.write(self._graph) as writer,
            ):
                journal = await self._prepare(feed, space, writer)
                self._on_sealed(self._progress)
                with self._kept_at_shutdown(space.keep, writer.keep):
                    try:
                        built = await self._build_until_done(UnfinishedBuild(space.folder, journal), space, {})
                    except asyncio.CancelledError:
                        if not resources.shutdown.begun:
                            await uninterrupted(asyncio.ensure_future(asyncio.sleep(CANCELLATION_SETTLES_S)))
                        raise
                known, warnings = await self._serve(built, space, writer)
        return self._report(known, [*journal.prepared.warnings, *warnings])

    async def resume(self) -> graph_pb2.LoadReport:
        """Continue an interrupted build with its first unfinished partition.

        Raises SnapshotError when its files or rows are damaged; they are then removed.
        """
        assert self._unfinished is not None, "the constructor got an unfinished build"
        resources, journal = self._resources, self._unfinished.journal
        with self._taken():
            async with build_workspace(resources.folders, self._graph, self._unfinished.folder) as space:
                with self._kept_at_shutdown(space.keep):
                    try:
                        async with resources.store.resume(self._graph, journal.rows) as writer:
                            with self._kept_at_shutdown(writer.keep):
                                built = await self._build_until_done(self._unfinished, space, None)
                            known, warnings = await self._serve(built, space, writer)
                    except SnapshotError:
                        await resources.store.drop_sealed(journal.rows)
                        raise
        return self._report(known, [*journal.prepared.warnings, *warnings])

    @contextmanager
    def _taken(self) -> Iterator[None]:
        """Log a failure of the load, turn OSError into SnapshotError, and release the graph."""
        try:
            yield
        except OSError as error:
            raise SnapshotError(f"the data folder could not be written: {error.strerror or error}") from error
        except BaseException as error:
            log.warning("load ended", graph=self._graph, reason=f"{type(error).__name__}: {error}")
            raise
        finally:
            self._resources.graphs.end_load(self._graph)

    @contextmanager
    def _kept_at_shutdown(self, *keepers: Callable[[], None]) -> Iterator[None]:
        """Call `keepers` if the block is interrupted because this process is being stopped."""
        try:
            yield
        except (asyncio.CancelledError, ServiceUnavailable):
            if self._resources.shutdown.begun:
                for keep in keepers:
                    keep()
            raise

    async def _prepare(self, feed: Feed, space: Workspace, writer: VersionWriter) -> Journal:
        """Do the phases read and partition. When this returns, the arrays of the rows are no longer in memory.

        The build can then be resumed: the rows are sealed in the store, and the journal is written.
        """
        folder, work = space.folder, space.work
        received = [await self._read(feed, space, writer)]
        with self._progress.phase("partition"):
            prepared = await prepare_graph(received.pop(), self._options, folder, work)
            rows_token = await writer.seal()
            started_unix_s, content = self._progress.started_unix_s, self._content()
            facts = (folder, self._options, rows_token, content, started_unix_s, prepared, self._merged)
            return await work.run(lambda: write_journal(*facts))

    async def _read(self, feed: Feed, space: Workspace, writer: VersionWriter) -> SpooledGraph:
        with self._progress.phase("read"):
            spooled = await spool_rows(
                self._options, space.folder, space.work, lambda spool: feed(spool, writer, space.work, self._progress)
            )
            for rows in spooled.implied_rows():
                await writer.add_nodes(rows)
        return spooled

    async def _build(
        self, prepared: PreparedGraph, space: Workspace, finished: Mapping[int, BuiltPartition]
    ) -> BuiltGraph:
        """Do the phases index and overlay. Raises ServiceUnavailable when the process is stopped meanwhile."""
        return await self._resources.shutdown.interrupting(
            index_and_overlay(prepared, space.folder, self._resources.indexes, space.work, self._progress, finished)
        )

    async def _build_until_done(
        self, unfinished: UnfinishedBuild, space: Workspace, finished: Mapping[int, BuiltPartition] | None
    ) -> BuiltGraph:
        """Build all partitions that are not `finished` (None: look in the folder), and the overlay.

        Without a waiting caller, retry while build workers or Redis are down; see Load.
        """
        prepared = unfinished.journal.prepared
        while True:
            if finished is None:
                finished = await space.work.run(lambda: recover(unfinished))
                log.info(
                    "build resumed", graph=self._graph, finished=len(finished), partitions=len(prepared.partitions)
                )
            try:
                return await self._build(prepared, space, finished)
            except Unavailable as error:
                if self._resources.shutdown.begun or self._is_awaited():
                    raise
                log.warning("build retried", graph=self._graph, reason=error.message)
                finished = None

    async def _serve(
        self, built: BuiltGraph, space: Workspace, writer: VersionWriter
    ) -> tuple[KnownVersion, list[str]]:
        """Do the phase publish. Return the version, and warnings about its adoption."""
        with self._progress.phase("publish"):
            async with AsyncExitStack() as stack:
                with self._kept_at_shutdown(space.keep, writer.keep):
                    # The holder of the lock may be deleting the rows of a large version.
                    await stack.enter_async_context(self._resources.locks.hold(self._graph))
                    await stack.enter_async_context(self._resources.numbering.hold(self._graph))
                known = await uninterrupted(asyncio.ensure_future(self._publish(built, writer, space.work)))
            warnings = await self._wait_for_adoption(known)
        seconds = round(time.perf_counter() - self._started_s, 3)
        log.info("load finished", graph=self._graph, version=known.number, seconds=seconds)
        return known, warnings

    async def _publish(self, built: BuiltGraph, writer: VersionWriter, work: BlockingWork) -> KnownVersion:
        """Make the build the served version. If the store's commit fails, remove its snapshot."""
        resources = self._resources
        merged = self._merged
        version = await resources.store.next_version(self._graph) if merged is None else merged.version
        manifest = built.manifest(self._graph, version)
        description = VersionDescription(
            options=self._options,
            manifest=encode_manifest(manifest).decode(),
            down_nodes=[] if merged is None else merged.down_nodes,
        )

        def move() -> str:
            write_manifest(built.folder.snapshot_path, manifest)
            return str(resources.folders.publish(built.folder, self._graph, version))

        url = await work.run(move)
        try:
            stored = await writer.commit(version, description.model_dump_json(), merges=merged is not None)
        except BaseException:
            await work.run(lambda: remove_folder(resources.folders.snapshot(self._graph, version)))
            raise
        known = KnownVersion(stored, description, decode_manifest(description.manifest.encode()), url)
        graph = resources.graphs.add_version(known)
        graph.changed_version, graph.unmerged = await changes_since(resources.store, self._graph, version)
        resources.hub.serve(self._graph, version, url)
        resources.telemetry.instruments.graph_version.set(graph.newest, {names.GRAPH: self._graph})
        resources.retire(self._graph)
        return known

    async def _wait_for_adoption(self, known: KnownVersion) -> list[str]:
        resources = self._resources
        wait_s = (
            resources.adoption_wait_s
            if resources.hub.watched
            else min(FIRST_COORDINATOR_WAIT_S, resources.adoption_wait_s)
        )
        adoption = await resources.hub.wait_for_adoption(self._graph, known.number, wait_s)
        if not adoption.serving and not adoption.failures and not adoption.missing:
            return ["no coordinator is connected: the version is complete, and is served as soon as one connects"]
        warnings = [f"a coordinator could not adopt the version: {failure}" for failure in adoption.failures]
        if adoption.missing:
            warnings.append(f"{len(adoption.missing)} coordinators have not yet adopted the version")
        return warnings

    def _report(self, known: KnownVersion, warnings: list[str]) -> graph_pb2.LoadReport:
        counts = known.manifest.counts
        return graph_pb2.LoadReport(
            graph=self._graph,
            version=known.number,
            nodes=counts.nodes,
            edges=counts.edges,
            parallel_edges=counts.parallel_edges,
            self_loops=counts.self_loops,
            partitions=counts.partitions,
            cross_edges=counts.cross_edges,
            cross_edge_share=counts.cross_edges / counts.edges if counts.edges else 0.0,
            boundary_nodes=counts.boundary_nodes,
            phases=self._progress.times(),
            warnings=warnings,
            strategy=STRATEGY_NUMBERS[known.manifest.strategy],
        )


async def load_from_store(
    resources: BuildResources, stored: StoredVersion, options: LoadOptions
) -> graph_pb2.LoadReport:
    """Build the next base of a graph: the rows of a stored version, and what updates have changed since."""
    if resources.graphs.get(stored.graph).served is None:
        # No update is accepted while nothing is served, so a graph without changes needs no version for them.
        state = await frozen_now(resources.store, stored.graph)
        if not state.nodes and not state.edges:
            return await _load_unchanged(resources, stored, options)
    directed = options.model_copy(update={"undirected": False, "implicit_nodes": False})
    load = Load(resources, directed)
    load.begin()  # before a version is taken for it: another load may be in progress
    try:
        frozen = await freeze(resources, stored.graph)
    except BaseException:
        resources.graphs.end_load(stored.graph)
        raise
    load.merge(MergedState(version=frozen.version, down_nodes=frozen.down_nodes))

    async def feed(spool: GraphSpool, writer: VersionWriter, work: BlockingWork, progress: LoadProgress) -> None:
        rows = frozen.rows(resources.store, stored, undirected=options.undirected)
        await feed_rows(rows, stored, spool, work, progress, writer)

    return await load.run(feed)


async def _load_unchanged(
    resources: BuildResources, stored: StoredVersion, options: LoadOptions
) -> graph_pb2.LoadReport:
    """Build a new version from the rows of a stored one."""

    async def feed(spool: GraphSpool, writer: VersionWriter, work: BlockingWork, progress: LoadProgress) -> None:
        await replay(resources.store, stored, spool, work, progress, writer)

    load = Load(resources, options)
    load.begin()
    return await load.run(feed)
