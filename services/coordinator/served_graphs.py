"""Which graphs are served, on which version: taken up from the partition service, kept while it is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import grpc.aio

from planmesh.errors import GraphUnknown, NotFound, PlanmeshError, ServiceUnavailable, Unavailable, VersionGone
from planmesh.internal.v1 import partition_pb2, partition_pb2_grpc
from planmesh.rpc.deadline import Deadline
from planmesh.rpc.status import from_rpc_error
from planmesh.snapshot.manifest import MANIFEST_NAME
from planmesh.supervision import OneShotTasks, SupervisedTask
from planmesh.telemetry.logs import get_logger
from services.coordinator.adoption import AdoptedGraph, Opener
from services.coordinator.versioned_graph import VersionedGraph

WATCH_AGAIN_S: Final = 0.5
"""How long after the partition service hung up it is called again."""

WATCH_RESTART_S_MAX: Final = 10.0
"""Longest back-off of a watch that ended by an unexpected error: until it works again the coordinator is not ready."""

OPENINGS_MAX: Final = 32
"""Versions that are opened at the same time: threads of their own, for one that hangs must not hold up searches."""

FIRST_OPENINGS_S_MAX: Final = 30.0
"""How long a coordinator that starts is not ready because graphs are opened: one that hangs must not hold up others."""

NEWER_VERSION_S_MAX: Final = 5.0
"""How long a plan whose version is gone waits while a newer one is opened: directory and overlay of ten million nodes
are read in about a second."""

NEWS_S_MAX: Final = 1.0
"""How long such a plan waits to hear of a newer version, or of a repair, that the partition service knows: it is on its
way."""

DAMAGE_REPORT_TIMEOUT_S: Final = 5.0

log = get_logger(__name__)


class ServedGraphs:
    """The graphs of this coordinator, and the watch that keeps them up to date."""

    def __init__(
        self, coordinator: str, stub: partition_pb2_grpc.PartitionServiceAsyncStub, open_version: Opener
    ) -> None:
        self._coordinator = coordinator
        self._stub = stub
        self._open_version = open_version
        self._executor = ThreadPoolExecutor(OPENINGS_MAX, "open-version")
        self._graphs: dict[str, AdoptedGraph] = {}
        self._watch = SupervisedTask(
            "watch-graphs", self._watch_forever, self._lose_watch, restart_s_max=WATCH_RESTART_S_MAX
        )
        self._outgoing: asyncio.Queue[partition_pb2.WatchGraphsRequest] | None = None
        self._reported: dict[tuple[str, int, str], asyncio.Task[bool]] = {}
        self._reports = OneShotTasks()
        self._first: list[AdoptedGraph] = []
        self._informed_at_s = 0.0
        self.informed = False
        """The partition service has said at least once what is served."""
        self.connected = False
        """The partition service is there now."""

    @property
    def ready(self) -> bool:
        """What is served is known and watched, and each graph of the start was opened, or could not be."""
        opened = all(graph.attempted for graph in self._first)
        in_time = time.monotonic() - self._informed_at_s < FIRST_OPENINGS_S_MAX
        return self.informed and not self._watch.failing and (opened or not in_time)

    @property
    def watch_problem(self) -> str:
        """Why nothing is heard of the partition service; empty when it is."""
        if self._watch.failing:
            return "the watch of its graphs failed and is restarted; see the coordinator's log"
        return "" if self.connected else "does not answer"

    def get(self, name: str) -> VersionedGraph:
        """Return a graph as it is served now.

        Raises GraphUnknown; ServiceUnavailable before anything is known, and while it is opened for the first time;
        Unavailable when it could not be opened.
        """
        graph = self._graphs.get(name)
        if graph is None:
            if not self.informed:
                raise ServiceUnavailable(
                    "the coordinator has not heard yet which graphs are served; ask again in a moment"
                )
            raise GraphUnknown(name)
        if graph.current is not None:
            return graph.current
        if graph.failure is not None:
            raise Unavailable(graph.failure.message, **graph.failure.metadata)
        raise ServiceUnavailable(f"graph {name!r} is being opened; ask again in a moment")

    def versions(self) -> dict[str, int]:
        """The version that is served of each graph."""
        return {name: graph.current.version for name, graph in self._graphs.items() if graph.current is not None}

    async def start(self) -> None:
        """Begin to watch."""
        self._watch.start()

    async def close(self) -> None:
        """Stop watching, and stop opening."""
        await self._watch.close()
        tasks = [*self._reported.values(), *(graph.cancel() for graph in self._graphs.values())]
        for task in tasks:
            if task is not None:
                task.cancel()
        await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)
        await self._reports.close()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def wait_for_other(self, gone: VersionedGraph, deadline: Deadline) -> None:
        """Return when another version than `gone`, whose snapshot a worker did not find, is served, or none.

        Returns or raises as soon as it is clear: Unavailable when the newer version cannot be opened, when the
        snapshot is being rebuilt, or when there is no newer version to wait for.
        """
        while (graph := self._graphs.get(gone.name)) is not None and graph.current is gone:
            deadline.raise_if_passed("the plan, whose version of the graph was removed,")
            if graph.is_opening:
                if not await graph.change(min(NEWER_VERSION_S_MAX, deadline.remaining_s())):
                    raise ServiceUnavailable(
                        f"version {gone.version} of graph {gone.name!r} was replaced, and the newer one is still being "
                        "opened; ask again in a moment"
                    )
            elif graph.failure is not None:
                raise Unavailable(graph.failure.message, **graph.failure.metadata)
            else:
                await self._wait_for_news(graph, gone, deadline)

    async def _wait_for_news(self, graph: AdoptedGraph, gone: VersionedGraph, deadline: Deadline) -> None:
        """Ask the partition service what became of a version; return when it has told of another one."""
        version = f"version {gone.version} of graph {gone.name!r}"
        try:
            rebuilding = await self._ask_for_repair(gone.name, gone.version, MANIFEST_NAME)
        except (VersionGone, NotFound):
            if self._is_replaced(gone) or await graph.change(min(NEWS_S_MAX, deadline.remaining_s())):
                return
            raise ServiceUnavailable(
                f"{version} was removed, and this coordinator has not heard of a newer one; ask again in a moment"
            ) from None
        except PlanmeshError as error:
            raise ServiceUnavailable(
                f"{version} was removed, and the partition service does not say what is served instead "
                f"({error.message}); ask again"
            ) from error
        else:
            # A repair gives the snapshot another identity when it begins; that it is told of may still be on its way.
            if self._is_replaced(gone) or await graph.change(min(NEWS_S_MAX, deadline.remaining_s())):
                return
            if rebuilding:
                raise Unavailable(
                    f"the snapshot of {version} is missing or damaged, and being rebuilt from the store; ask again",
                    file=MANIFEST_NAME,
                )
            raise Unavailable(
                f"a worker did not find the snapshot of {version} at {gone.snapshot_url}, where the partition service "
                "has it whole; check that workers can read that place"
            )

    def _is_replaced(self, gone: VersionedGraph) -> bool:
        """Tell whether a version is not served here any more, or another one, or its repair, was told."""
        graph = self._graphs.get(gone.name)
        if graph is None or graph.current is not gone or graph.is_opening:
            return True
        return graph.wanted is not None and graph.wanted.version > gone.version

    def report_damage(self, graph: VersionedGraph, file: str) -> None:
        """Have the partition service rebuild a damaged file; once per file until its answer is there."""
        self._report(graph.name, graph.version, file)

    def _report(self, name: str, version: int, file: str) -> None:
        if (name, version, file) not in self._reported:
            self._reports.start(f"report-damage-{name}", self._report_damage(name, version, file))

    async def _report_damage(self, name: str, version: int, file: str) -> None:
        try:
            rebuilding = await self._ask_for_repair(name, version, file)
            log.warning("damage reported", graph=name, version=version, file=file, rebuilding=rebuilding)
        except PlanmeshError as error:
            log.error("damage not reported", graph=name, version=version, file=file, error=error.message)

    async def _ask_for_repair(self, name: str, version: int, file: str) -> bool:
        """Return whether a file is being rebuilt (else it is whole); all that ask at once share one call.

        Raises what ReportDamage does: GraphUnknown, VersionGone when another version is served.
        """
        key = (name, version, file)
        asking = self._reported.get(key)
        if asking is None:
            asking = asyncio.create_task(self._call_for_repair(name, version, file), name=f"ask-for-repair-{name}")
            self._reported[key] = asking
            asking.add_done_callback(lambda done: self._end_asking(key, done))
        return await asyncio.shield(asking)

    def _end_asking(self, key: tuple[str, int, str], done: asyncio.Task[bool]) -> None:
        del self._reported[key]
        if not done.cancelled():
            done.exception()  # raised to those who ask; when all of them have gone it concerns nobody

    async def _call_for_repair(self, name: str, version: int, file: str) -> bool:
        request = partition_pb2.ReportDamageRequest(graph=name, version=version, file=file)
        try:
            response = await self._stub.ReportDamage(request, timeout=DAMAGE_REPORT_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "the partition service") from error
        return response.rebuilding

    async def _watch_forever(self) -> None:
        while True:
            try:
                await self._watch_once()
                log.info("the partition service ended the watch")
            except grpc.aio.AioRpcError as error:
                if self.connected:
                    log.warning("the partition service is away", code=error.code().name, error=error.details())
            self.connected = False
            self._watch.note_progress()  # that the partition service is away is no failure of the watch
            await asyncio.sleep(WATCH_AGAIN_S)

    async def _lose_watch(self) -> None:
        self.connected = False

    async def _watch_once(self) -> None:
        outgoing: asyncio.Queue[partition_pb2.WatchGraphsRequest] = asyncio.Queue()
        outgoing.put_nowait(partition_pb2.WatchGraphsRequest(coordinator=self._coordinator))

        async def requests() -> AsyncIterator[partition_pb2.WatchGraphsRequest]:
            while True:
                yield await outgoing.get()

        told: set[str] = set()
        call = self._stub.WatchGraphs(requests(), wait_for_ready=True)
        self._outgoing = outgoing
        try:
            async for response in call:
                self.connected = True
                self._take_event(response, told)
        finally:
            self._outgoing = None
            call.cancel()  # whatever ended this loop, the partition service must not wait for our answers

    def _take_event(self, response: partition_pb2.WatchGraphsResponse, told: set[str]) -> None:
        event = response.WhichOneof("event")
        if event == "served":
            told.add(response.served.graph)
            self._graph(response.served.graph).want(response.served)
        elif event == "removed":
            self._drop(response.removed.graph)
        elif event == "initial_state_sent":
            for name in set(self._graphs) - told:
                self._drop(name)
            if not self.informed:
                self.informed = True
                self._informed_at_s = time.monotonic()
                self._first = list(self._graphs.values())
                log.info("graphs known", graphs=sorted(self._graphs))
            self._watch.note_progress()

    def _graph(self, name: str) -> AdoptedGraph:
        graph = self._graphs.get(name)
        if graph is None:
            graph = AdoptedGraph(name, self._open_version, self._executor, self._tell, self._report)
            self._graphs[name] = graph
        return graph

    def _tell(self, adoption: partition_pb2.GraphAdoption) -> None:
        # While the watch is away nothing is told: when it is back, every version is told and opened again.
        if self._outgoing is not None:
            self._outgoing.put_nowait(
                partition_pb2.WatchGraphsRequest(coordinator=self._coordinator, adoption=adoption)
            )

    def _drop(self, name: str) -> None:
        graph = self._graphs.pop(name, None)
        if graph is None:
            return
        graph.cancel()
        if graph in self._first:
            self._first.remove(graph)
        log.info("graph no longer served", graph=name)
