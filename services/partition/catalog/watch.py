"""Coordinators watch what is served, and say what they have taken up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from planmesh.errors import Overloaded
from planmesh.internal.v1 import partition_pb2
from planmesh.telemetry.logs import get_logger

WATCHERS_MAX: Final = 1_000
"""Coordinators that watch at a time."""

log = get_logger(__name__)


@dataclass(slots=True, eq=False)
class Watcher:
    """One coordinator's watch. Events of a graph replace each other: only the newest matters."""

    coordinator: str = ""
    waiting: dict[str | None, partition_pb2.WatchGraphsResponse] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    adopted: dict[str, int] = field(default_factory=dict)
    failures: dict[str, tuple[int, str]] = field(default_factory=dict)
    closed: bool = False

    def tell(self, graph: str | None, event: partition_pb2.WatchGraphsResponse) -> None:
        """Queue an event; None as graph is the end of the initial state."""
        self.waiting[graph] = event  # in the place of an older one, so that the end of the state stays the end
        self.changed.set()

    async def events(self) -> AsyncIterator[partition_pb2.WatchGraphsResponse]:
        """Return events until the watch is closed."""
        while not self.closed:
            while self.waiting:
                yield self.waiting.pop(next(iter(self.waiting)))
            self.changed.clear()
            if not self.waiting and not self.closed:
                await self.changed.wait()

    def close(self) -> None:
        """End `events`."""
        self.closed = True
        self.changed.set()


@dataclass(frozen=True, slots=True)
class Adoption:
    """Who serves a version: how many coordinators do, and why others do not."""

    serving: int
    failures: list[str]
    missing: list[str]


class WatchHub:
    """Everybody who watches, and what is served."""

    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()
        self._served: dict[str, partition_pb2.ServedGraph] = {}
        self._adoption_changed = asyncio.Condition()
        self._closed = False

    def join(self) -> Watcher:
        """Begin a watch: the initial state is queued. Overloaded when there are too many."""
        if len(self._watchers) >= WATCHERS_MAX:
            raise Overloaded(f"expected at most {WATCHERS_MAX} coordinators to watch", bound="WATCHERS_MAX")
        watcher = Watcher(closed=self._closed)
        for graph, served in self._served.items():
            watcher.tell(graph, partition_pb2.WatchGraphsResponse(served=served))
        watcher.tell(None, partition_pb2.WatchGraphsResponse(initial_state_sent=partition_pb2.InitialStateSent()))
        self._watchers.add(watcher)
        return watcher

    async def leave(self, watcher: Watcher) -> None:
        """End a watch."""
        watcher.close()
        self._watchers.discard(watcher)
        async with self._adoption_changed:
            self._adoption_changed.notify_all()

    async def heard(self, watcher: Watcher, request: partition_pb2.WatchGraphsRequest) -> None:
        """Take note of what a coordinator says."""
        if watcher.coordinator != request.coordinator:
            watcher.coordinator = request.coordinator
            log.info("coordinator watches", coordinator=request.coordinator)
        if not request.HasField("adoption"):
            return
        adoption = request.adoption
        if adoption.failure:
            log.warning(
                "version not taken up",
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
        """Tell everybody to serve a version."""
        served = partition_pb2.ServedGraph(graph=graph, version=version, snapshot_url=snapshot_url)
        self._served[graph] = served
        for watcher in self._watchers:
            watcher.failures.pop(graph, None)
            watcher.tell(graph, partition_pb2.WatchGraphsResponse(served=served))

    async def remove(self, graph: str) -> None:
        """Tell everybody to serve a graph no longer."""
        self._served.pop(graph, None)
        removed = partition_pb2.RemovedGraph(graph=graph)
        for watcher in self._watchers:
            watcher.adopted.pop(graph, None)
            watcher.failures.pop(graph, None)
            watcher.tell(graph, partition_pb2.WatchGraphsResponse(removed=removed))
        await self.end_waits()

    async def wait_for_adoption(self, graph: str, version: int, timeout_s: float) -> Adoption:
        """Return when every coordinator that watches serves a version, when the graph is removed, or when time is up.

        A failure is not the end: a coordinator tries again. With nobody watching, one is waited for.
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
                log.warning("not every coordinator answered in time", graph=graph, version=version)
        return self._adoption(graph, version)

    @property
    def watchers(self) -> frozenset[Watcher]:
        """Those who watch now."""
        return frozenset(self._watchers)

    @property
    def watched(self) -> bool:
        """Somebody watches."""
        return bool(self._watchers)

    def close(self) -> None:
        """End every watch; `end_waits` then ends the waits for an adoption."""
        self._closed = True
        for watcher in self._watchers:
            watcher.close()

    async def end_waits(self) -> None:
        """Let those who wait for an adoption look again whether there is anything to wait for."""
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
