"""The watches of coordinators: announces the served versions to them, and collects their reports of adoption."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from planmesh.errors import Overloaded
from planmesh.internal.v1 import partition_pb2
from planmesh.telemetry.logs import get_logger

WATCHERS_MAX: Final = 1_000
"""Concurrent watches."""

WATCHER_BYTES_MAX: Final = 64 * 2**20
"""Bytes of changes that wait for one coordinator to read them."""

log = get_logger(__name__)


@dataclass(slots=True, eq=False)
class Watcher:
    """The watch of one coordinator. A new served version of a graph replaces one that was not sent yet.

    Changes are sent in order, each once. A watcher that does not read them is closed, and begins again.
    """

    coordinator: str = ""
    waiting: dict[object, partition_pb2.WatchGraphsResponse] = field(default_factory=dict)
    waiting_bytes: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    adopted: dict[str, int] = field(default_factory=dict)
    failures: dict[str, tuple[int, str]] = field(default_factory=dict)
    closed: bool = False

    def announce(self, graph: str | None, event: partition_pb2.WatchGraphsResponse) -> None:
        """Queue an event. `graph` is None for the end of the initial state."""
        self.waiting[graph] = event  # it takes the position of an older one, so the end of the state stays last
        self.changed.set()

    def send(self, event: partition_pb2.WatchGraphsResponse) -> None:
        """Queue an event that no other one replaces."""
        self.waiting_bytes += event.ByteSize()
        if self.waiting_bytes > WATCHER_BYTES_MAX:
            log.warning("coordinator does not read its watch, which is closed", coordinator=self.coordinator)
            self.close()
            return
        self.waiting[object()] = event
        self.changed.set()

    def take_waiting(self) -> list[partition_pb2.WatchGraphsResponse]:
        """Return the events that wait now, in order."""
        taken, self.waiting = list(self.waiting.values()), {}
        self.waiting_bytes = 0
        return taken

    async def events(self) -> AsyncIterator[partition_pb2.WatchGraphsResponse]:
        """Yield events until the watch is closed."""
        while not self.closed:
            while self.waiting and not self.closed:
                key = next(iter(self.waiting))
                event = self.waiting.pop(key)
                if not (key is None or isinstance(key, str)):
                    self.waiting_bytes -= event.ByteSize()
                yield event
            self.changed.clear()
            if not self.waiting and not self.closed:
                await self.changed.wait()

    def close(self) -> None:
        """End the iteration of `events`."""
        self.closed = True
        self.changed.set()


@dataclass(frozen=True, slots=True)
class Adoption:
    """The adoption of a version: how many coordinators serve it, why others failed to, and which have not reported."""

    serving: int
    failures: list[str]
    missing: list[str]


class WatchHub:
    """All watches, and the served version of each graph."""

    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()
        self._served: dict[str, partition_pb2.ServedGraph] = {}
        self._adoption_changed = asyncio.Condition()
        self._closed = False

    def join(self) -> Watcher:
        """Begin a watch, with the served versions queued. Raises Overloaded when WATCHERS_MAX exist.

        The caller queues the changes since these versions, and calls `complete`.
        """
        if len(self._watchers) >= WATCHERS_MAX:
            raise Overloaded(f"expected at most {WATCHERS_MAX} coordinators to watch", bound="WATCHERS_MAX")
        watcher = Watcher(closed=self._closed)
        for graph, served in self._served.items():
            watcher.announce(graph, partition_pb2.WatchGraphsResponse(served=served))
        self._watchers.add(watcher)
        return watcher

    def complete(self, watcher: Watcher) -> None:
        """Queue the end of the initial state."""
        watcher.announce(None, partition_pb2.WatchGraphsResponse(initial_state_sent=partition_pb2.InitialStateSent()))

    def changed(self, changed: partition_pb2.ChangedGraph) -> None:
        """Announce durable changes to all coordinators."""
        event = partition_pb2.WatchGraphsResponse(changed=changed)
        for watcher in self._watchers:
            watcher.send(event)

    @property
    def served(self) -> dict[str, partition_pb2.ServedGraph]:
        """The served version of each graph."""
        return dict(self._served)

    async def leave(self, watcher: Watcher) -> None:
        """End a watch. Waits for adoptions no longer consider its coordinator."""
        watcher.close()
        self._watchers.discard(watcher)
        async with self._adoption_changed:
            self._adoption_changed.notify_all()

    async def receive(self, watcher: Watcher, request: partition_pb2.WatchGraphsRequest) -> None:
        """Record a coordinator's message: its name, and whether it has adopted a version."""
        if watcher.coordinator != request.coordinator:
            watcher.coordinator = request.coordinator
            log.info("coordinator watches", coordinator=request.coordinator)
        if request.ping:
            watcher.send(partition_pb2.WatchGraphsResponse(pong=request.ping))
        if not request.HasField("adoption"):
            return
        adoption = request.adoption
        if adoption.failure:
            log.warning(
                "version not adopted",
                coordinator=watcher.coordinator,
                graph=adoption.graph,
                version=adoption.version,
                failure=adoption.failure,
            )
            watcher.failures[adoption.graph] = (adoption.version, adoption.failure)
        else:
            watcher.adopted[adoption.graph] = adoption.version
            watcher.failures.pop(adoption.graph, None)
        async with self._adoption_changed:
            self._adoption_changed.notify_all()

    def serve(self, graph: str, version: int, snapshot_url: str) -> None:
        """Announce to all coordinators that they should serve a version."""
        served = partition_pb2.ServedGraph(graph=graph, version=version, snapshot_url=snapshot_url)
        self._served[graph] = served
        for watcher in self._watchers:
            watcher.failures.pop(graph, None)
            watcher.announce(graph, partition_pb2.WatchGraphsResponse(served=served))

    async def remove(self, graph: str) -> None:
        """Announce to all coordinators that a graph is removed."""
        self._served.pop(graph, None)
        removed = partition_pb2.RemovedGraph(graph=graph)
        for watcher in self._watchers:
            watcher.adopted.pop(graph, None)
            watcher.failures.pop(graph, None)
            watcher.announce(graph, partition_pb2.WatchGraphsResponse(removed=removed))
        await self.end_waits()

    async def wait_for_adoption(self, graph: str, version: int, timeout_s: float) -> Adoption:
        """Wait until every watching coordinator serves a version, the graph is removed, or `timeout_s` has passed.

        A failure does not end the wait, because coordinators retry. Without any coordinator it waits for one.
        """

        def settled() -> bool:
            served = self._served.get(graph)
            if self._closed or served is None or served.version < version:
                return True
            return bool(self._watchers) and all(one.adopted.get(graph, 0) >= version for one in self._watchers)

        async with self._adoption_changed:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._adoption_changed.wait_for(settled)
            except TimeoutError:
                log.warning("not every coordinator adopted the version in time", graph=graph, version=version)
        return self._adoption(graph, version)

    @property
    def watchers(self) -> frozenset[Watcher]:
        """The current watches."""
        return frozenset(self._watchers)

    @property
    def watched(self) -> bool:
        """Whether any coordinator watches."""
        return bool(self._watchers)

    def close(self) -> None:
        """End every watch. Call `end_waits` afterwards to end the waits for adoptions."""
        self._closed = True
        for watcher in self._watchers:
            watcher.close()

    async def end_waits(self) -> None:
        """Wake up all waits for adoptions, so that they check again whether to go on."""
        async with self._adoption_changed:
            self._adoption_changed.notify_all()

    def _adoption(self, graph: str, version: int) -> Adoption:
        serving, failures, missing = 0, [], []
        for watcher in sorted(self._watchers, key=lambda one: one.coordinator):
            if watcher.adopted.get(graph, 0) >= version:
                serving += 1
            elif graph in watcher.failures:
                failures.append(f"{watcher.coordinator}: {watcher.failures[graph][1]}")
            else:
                missing.append(watcher.coordinator)
        return Adoption(serving, failures, missing)
