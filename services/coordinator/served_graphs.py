"""Which graphs are served, on which version: taken up from the partition service, kept while it is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Final

import grpc.aio
import structlog

from planmesh.errors import GraphUnknown, PlanmeshError, ServiceUnavailable, SnapshotDamaged, Unavailable
from planmesh.internal.v1 import partition_pb2, partition_pb2_grpc
from planmesh.snapshot.reader import SnapshotReader
from services.coordinator.versioned_graph import VersionedGraph

WATCH_AGAIN_S: Final = 0.5
"""How long after the partition service hung up it is called again."""

DAMAGE_REPORT_TIMEOUT_S: Final = 5.0

log = structlog.get_logger(__name__)


class ServedGraphs:
    """The graphs of this coordinator, and the watch that keeps them up to date."""

    def __init__(
        self,
        coordinator: str,
        stub: partition_pb2_grpc.PartitionServiceAsyncStub,
        cache_dir: Path,
        executor: Executor,
        shard_count: int,
    ) -> None:
        self._coordinator = coordinator
        self._stub = stub
        self._cache_dir = cache_dir
        self._executor = executor
        self._shard_count = shard_count
        self._graphs: dict[str, VersionedGraph] = {}
        self._failures: dict[str, tuple[int, Unavailable]] = {}
        """Why a version of a graph could not be taken up; what matters when there is no older one here."""
        self._watch: asyncio.Task[None] | None = None
        self._reported: set[tuple[str, int, str]] = set()
        self._reports: set[asyncio.Task[None]] = set()
        self.informed = False
        """What is served at the partition service has been told at least once."""
        self.connected = False
        """The partition service is there now."""

    def get(self, name: str) -> VersionedGraph:
        """Return a graph as it is served now.

        Raises GraphUnknown; ServiceUnavailable before anything is known; Unavailable when it could not be taken up.
        """
        graph = self._graphs.get(name)
        if graph is not None:
            return graph
        failure = self._failures.get(name)
        if failure is not None:
            version, error = failure
            if error.metadata.get("file"):
                # Its rebuild may have failed, and begins again with a report only.
                self._report(name, version, error.metadata["file"])
            raise Unavailable(error.message, **error.metadata)
        if not self.informed:
            raise ServiceUnavailable("the coordinator has not heard yet which graphs are served; ask again in a moment")
        raise GraphUnknown(name)

    def versions(self) -> dict[str, int]:
        """The version that is served of each graph."""
        return {name: graph.version for name, graph in self._graphs.items()}

    async def start(self) -> None:
        """Begin to watch."""
        self._watch = asyncio.create_task(self._watch_forever(), name="watch-graphs")

    async def close(self) -> None:
        """Stop watching."""
        tasks = [task for task in (self._watch, *self._reports) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def report_damage(self, graph: VersionedGraph, file: str) -> None:
        """Have the partition service rebuild a damaged file; once per file until its answer is there."""
        self._report(graph.name, graph.version, file)

    def _report(self, name: str, version: int, file: str) -> None:
        report = (name, version, file)
        if report in self._reported:
            return
        self._reported.add(report)
        task = asyncio.create_task(self._report_damage(*report))
        self._reports.add(task)
        task.add_done_callback(self._reports.discard)

    async def _report_damage(self, name: str, version: int, file: str) -> None:
        request = partition_pb2.ReportDamageRequest(graph=name, version=version, file=file)
        try:
            await self._stub.ReportDamage(request, timeout=DAMAGE_REPORT_TIMEOUT_S)
            log.warning("damage reported", graph=name, version=version, file=file)
        except grpc.aio.AioRpcError as error:
            log.error("damage not reported", graph=name, version=version, file=file, error=error.details())
        finally:
            self._reported.discard((name, version, file))

    async def _watch_forever(self) -> None:
        while True:
            try:
                await self._watch_once()
                log.info("the partition service ended the watch")
            except grpc.aio.AioRpcError as error:
                if self.connected:
                    log.warning("the partition service is away", code=error.code().name, error=error.details())
            self.connected = False
            await asyncio.sleep(WATCH_AGAIN_S)

    async def _watch_once(self) -> None:
        outgoing: asyncio.Queue[partition_pb2.WatchGraphsRequest] = asyncio.Queue()
        outgoing.put_nowait(partition_pb2.WatchGraphsRequest(coordinator=self._coordinator))

        async def requests() -> AsyncIterator[partition_pb2.WatchGraphsRequest]:
            while True:
                yield await outgoing.get()

        told: set[str] = set()
        async for response in self._stub.WatchGraphs(requests(), wait_for_ready=True):
            event = response.WhichOneof("event")
            self.connected = True
            if event == "served":
                told.add(response.served.graph)
                adoption = await self._adopt(response.served)
                outgoing.put_nowait(partition_pb2.WatchGraphsRequest(coordinator=self._coordinator, adoption=adoption))
            elif event == "removed":
                self._drop(response.removed.graph)
            elif event == "initial_state_sent" and not self.informed:
                self.informed = True
                log.info("graphs known", graphs=sorted(self._graphs))
            if event == "initial_state_sent":
                for name in (set(self._graphs) | set(self._failures)) - told:
                    self._drop(name)

    def _drop(self, name: str) -> None:
        self._failures.pop(name, None)
        if self._graphs.pop(name, None) is not None:
            log.info("graph no longer served", graph=name)

    async def _adopt(self, served: partition_pb2.ServedGraph) -> partition_pb2.GraphAdoption:
        """Open a version off the event loop, and serve it from then on."""
        adoption = partition_pb2.GraphAdoption(graph=served.graph, version=served.version)
        # A version that is told a second time was repaired: its files are opened anew.
        try:
            graph = await asyncio.get_running_loop().run_in_executor(self._executor, self._open, served)
        except SnapshotDamaged as error:
            adoption.failure = error.message
            told = Unavailable(
                f"file {error.file} of graph {served.graph!r} is damaged and being rebuilt from the store; ask again",
                file=error.file,
            )
            self._failures[served.graph] = (served.version, told)
            log.error("damaged snapshot", graph=served.graph, version=served.version, file=error.file)
            await self._report_damage(served.graph, served.version, error.file)
        except (PlanmeshError, OSError, ValueError) as error:
            adoption.failure = f"{type(error).__name__}: {error}"
            told = Unavailable(
                f"graph {served.graph!r} could not be opened: {adoption.failure}; see the coordinator's log"
            )
            self._failures[served.graph] = (served.version, told)
            log.exception("version not taken up", graph=served.graph, version=served.version)
        else:
            self._graphs[served.graph] = graph
            self._failures.pop(served.graph, None)
            log.info("version served", graph=graph.name, version=graph.version, nodes=graph.directory.node_count)
        return adoption

    def _open(self, served: partition_pb2.ServedGraph) -> VersionedGraph:
        reader = SnapshotReader.open(served.snapshot_url, self._cache_dir)
        return VersionedGraph(
            served.graph,
            served.version,
            served.snapshot_url,
            reader.directory(),
            reader.overlay(),
            self._shard_count,
            reader.identity,
        )
