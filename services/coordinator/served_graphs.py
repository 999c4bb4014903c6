"""The graphs that a coordinator serves, and their versions.

The partition service announces them over a watch. They are still served while the partition service is down.
"""

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
from services.coordinator.change_feed import NEWEST, Wanted
from services.coordinator.freshness import Freshness
from services.coordinator.versioned_graph import VersionedGraph

WATCH_AGAIN_S: Final = 0.5
"""Wait between two calls of the partition service's watch."""

WATCH_RESTART_S_MAX: Final = 10.0
"""Longest back-off after the watch failed unexpectedly. The coordinator is not ready until the watch works again."""

OPENINGS_MAX: Final = 32
"""Versions opened concurrently. They have separate threads, so that one that hangs does not block searches."""

FIRST_OPENINGS_S_MAX: Final = 30.0
"""How long a starting coordinator stays not ready while its first graphs are opened. After that, one that hangs no
longer blocks the others."""

NEWER_VERSION_S_MAX: Final = 5.0
"""How long a plan whose version is gone waits while a newer one is opened. The directory and the overlay of ten million
nodes are read in about a second."""

NEWS_S_MAX: Final = 1.0
"""How long such a plan waits for the announcement of a newer version, or of a repair, that the partition service
already knows."""

DAMAGE_REPORT_TIMEOUT_S: Final = 5.0

log = get_logger(__name__)


class ServedGraphs:
    """The graphs of this coordinator, and the watch that updates them."""

    def __init__(
        self,
        coordinator: str,
        stub: partition_pb2_grpc.PartitionServiceAsyncStub,
        open_version: Opener,
        freshness: Freshness | None = None,
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
        self._freshness = freshness or Freshness(0)
        self._first: list[AdoptedGraph] = []
        self._informed_at_s = 0.0
        self.informed = False
        """Whether the partition service has announced all served graphs at least once."""
        self.connected = False
        """Whether the watch is connected to the partition service now."""

    @property
    def ready(self) -> bool:
        """Whether the served graphs are known and watched, and each graph of the start was opened or failed to open.

        After FIRST_OPENINGS_S_MAX it no longer waits for the graphs of the start.
        """
        opened = all(graph.attempted for graph in self._first)
        in_time = time.monotonic() - self._informed_at_s < FIRST_OPENINGS_S_MAX
        return self.informed and not self._watch.failing and (opened or not in_time) and self._freshness.is_fresh

    @property
    def watch_problem(self) -> str:
        """Why the partition service announces nothing; empty when the watch works."""
        if self._watch.failing:
            return "the watch of its graphs failed and is restarted; see the coordinator's log"
        return "" if self.connected and self._freshness.is_fresh else "does not answer"

    def get(self, name: str) -> VersionedGraph:
        """Return the version of a graph that is served now.

        Raises GraphUnknown; ServiceUnavailable before the served graphs are known, and while the graph is opened for
        the first time; Unavailable when it could not be opened.
        """
        graph = self._known(name)
        if graph.current is not None:
            return graph.current
        if graph.failure is not None:
            raise Unavailable(graph.failure.message, **graph.failure.metadata)
        raise ServiceUnavailable(f"graph {name!r} is being opened; try again in a moment")

    async def get_wanted(self, name: str, deadline: Deadline, wanted: Wanted = NEWEST) -> VersionedGraph:
        """Return the version of a graph that a caller takes, when it is known.

        Raises as `get` and AdoptedGraph.version, and ServiceUnavailable while this coordinator cannot know how old what
        it serves is, if the caller takes any version.
        """
        if wanted.at_version is None:
            await self._freshness.wait(deadline)
            await self._known(name).wait_until_fresh(self._freshness, deadline)
        return await self._known(name).version(wanted, deadline) or self.get(name)

    def _known(self, name: str) -> AdoptedGraph:
        graph = self._graphs.get(name)
        if graph is not None:
            return graph
        if not self.informed:
            raise ServiceUnavailable("the coordinator does not know yet which graphs are served; try again in a moment")
        raise GraphUnknown(name)

    def versions(self) -> dict[str, int]:
        """Return the served version number of each graph that has one."""
        return {name: graph.current.version for name, graph in self._graphs.items() if graph.current is not None}

    async def start(self) -> None:
        """Start watching."""
        self._watch.start()

    async def close(self) -> None:
        """End the watch, the attempts to open versions, and the reports of damage."""
        await self._watch.close()
        tasks = [*self._reported.values(), *(task for graph in self._graphs.values() for task in graph.close())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._reports.close()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def wait_for_other(self, gone: VersionedGraph, deadline: Deadline) -> None:
        """Wait until the graph has another version than `gone`, whose snapshot a worker did not find, or is removed.

        Raises Unavailable when the newer version cannot be opened, when the snapshot is being rebuilt, or when there is
        no newer version; ServiceUnavailable when opening it takes longer than NEWER_VERSION_S_MAX, or when the
        partition service does not announce it; DeadlineExceeded.
        """
        while (graph := self._graphs.get(gone.name)) is not None and graph.serves_base_of(gone):
            deadline.raise_if_passed("the plan, whose version of the graph was removed,")
            if graph.is_opening:
                if not await graph.change(min(NEWER_VERSION_S_MAX, deadline.remaining_s())):
                    raise ServiceUnavailable(
                        f"version {gone.base_version} of graph {gone.name!r} was replaced, and the newer one is still "
                        "being opened; try again in a moment"
                    )
            elif graph.failure is not None:
                raise Unavailable(graph.failure.message, **graph.failure.metadata)
            else:
                await self._wait_for_news(graph, gone, deadline)

    async def _wait_for_news(self, graph: AdoptedGraph, gone: VersionedGraph, deadline: Deadline) -> None:
        """Ask the partition service about a missing version, and return when it has announced another one."""
        version = f"version {gone.base_version} of graph {gone.name!r}"
        try:
            rebuilding = await self._ask_for_repair(gone.name, gone.base_version, MANIFEST_NAME)
        except (VersionGone, NotFound):
            if self._is_replaced(gone) or await graph.change(min(NEWS_S_MAX, deadline.remaining_s())):
                return
            raise ServiceUnavailable(
                f"{version} was removed, and this coordinator does not know a newer one yet; try again in a moment"
            ) from None
        except PlanmeshError as error:
            raise ServiceUnavailable(
                f"{version} was removed, and the partition service does not say which version is served instead "
                f"({error.message}); try again"
            ) from error
        else:
            # A repair changes the snapshot's identity when it begins. Its announcement may still be in transit.
            if self._is_replaced(gone) or await graph.change(min(NEWS_S_MAX, deadline.remaining_s())):
                return
            if rebuilding:
                raise Unavailable(
                    f"the snapshot of {version} is missing or damaged, and being rebuilt from the store; try again",
                    file=MANIFEST_NAME,
                )
            raise Unavailable(
                f"a worker did not find the snapshot of {version} at {gone.snapshot_url}, but the partition service "
                "has it there undamaged; check that workers can read that location"
            )

    def _is_replaced(self, gone: VersionedGraph) -> bool:
        """Whether a version is no longer served here, or a newer one or its repair was announced."""
        graph = self._graphs.get(gone.name)
        if graph is None or not graph.serves_base_of(gone) or graph.is_opening:
            return True
        return graph.wanted is not None and graph.wanted.version > gone.base_version

    def report_damage(self, graph: VersionedGraph, file: str) -> None:
        """Ask the partition service, in the background, to rebuild a damaged file.

        Further reports of the same file are ignored until the partition service has answered.
        """
        self._report(graph.name, graph.base_version, file)

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
        """Return whether a file is being rebuilt; False if it is undamaged. Concurrent callers share one call.

        Raises the errors of ReportDamage: GraphUnknown, VersionGone when another version is served.
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
            done.exception()  # marks it as retrieved: the callers get it, but all of them may have left

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
                    log.warning("the partition service is down", code=error.code().name, error=error.details())
            self.connected = False
            self._watch.note_progress()  # a partition service that is down is not a failure of the watch
            await asyncio.sleep(WATCH_AGAIN_S)

    async def _lose_watch(self) -> None:
        self.connected = False

    async def _watch_once(self) -> None:
        outgoing: asyncio.Queue[partition_pb2.WatchGraphsRequest] = asyncio.Queue()
        outgoing.put_nowait(partition_pb2.WatchGraphsRequest(coordinator=self._coordinator))

        async def requests() -> AsyncIterator[partition_pb2.WatchGraphsRequest]:
            while True:
                yield await outgoing.get()

        announced: set[str] = set()
        call = self._stub.WatchGraphs(requests(), wait_for_ready=True)
        self._outgoing = outgoing
        pinging: asyncio.Task[None] | None = None
        try:
            async for response in call:
                self.connected = True
                if pinging is None:
                    for graph in self._graphs.values():
                        graph.begin_watch()
                pinging = pinging or asyncio.create_task(self._ping(outgoing), name="ping-partition-service")
                self._handle_event(response, announced)
        finally:
            if pinging is not None:
                pinging.cancel()
            self._outgoing = None
            call.cancel()  # however this loop ended, the partition service must not wait for our reports

    async def _ping(self, outgoing: asyncio.Queue[partition_pb2.WatchGraphsRequest]) -> None:
        while True:
            ping = self._freshness.ping()
            outgoing.put_nowait(partition_pb2.WatchGraphsRequest(coordinator=self._coordinator, ping=ping))
            await asyncio.sleep(self._freshness.interval_s)

    def _handle_event(self, response: partition_pb2.WatchGraphsResponse, announced: set[str]) -> None:
        event = response.WhichOneof("event")
        if event == "served":
            announced.add(response.served.graph)
            self._graph(response.served.graph).want(response.served)
        elif event == "changed":
            self._graph(response.changed.graph).take(response.changed)
        elif event == "pong":
            sent_s = self._freshness.note_pong(response.pong)
            if sent_s is not None:
                for graph in self._graphs.values():
                    graph.note_pong(sent_s)
        elif event == "removed":
            self._drop(response.removed.graph)
        elif event == "initial_state_sent":
            for name in set(self._graphs) - announced:
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
            graph = AdoptedGraph(name, self._open_version, self._executor, self._report_adoption, self._report)
            # Before it was announced, it had no changes.
            graph.complete_at_s = self._freshness.known_at_s
            self._graphs[name] = graph
        return graph

    def _report_adoption(self, adoption: partition_pb2.GraphAdoption) -> None:
        # Without a watch nothing is reported. A new watch announces every version again, which is then opened again.
        if self._outgoing is not None:
            self._outgoing.put_nowait(
                partition_pb2.WatchGraphsRequest(coordinator=self._coordinator, adoption=adoption)
            )

    def _drop(self, name: str) -> None:
        graph = self._graphs.pop(name, None)
        if graph is None:
            return
        graph.close()
        if graph in self._first:
            self._first.remove(graph)
        log.info("graph no longer served", graph=name)
