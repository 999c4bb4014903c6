"""Searches inside an embedded store, row by row: without a network in between, a row costs some microseconds."""

from __future__ import annotations

import heapq
import sqlite3
import time
from collections.abc import Callable
from typing import Final

from planmesh.errors import DeadlineExceeded, InvalidGraph, LimitExceeded, NodeUnknown, NoPath
from planmesh.graph.model import COST_MAX
from planmesh.store.protocol import NEIGHBORS_MAX, Direction, StoredNeighbor, StoredPath
from planmesh.store.sqlite.tables import has_node

LOOKS_PER_CLOCK: Final = 1_024
"""Nodes and edges processed between two checks of the time: about a millisecond, even for nodes with many edges."""

_OUT: Final = "SELECT target, cost FROM edge WHERE source = ?"
_IN: Final = "SELECT source, cost FROM edge WHERE target = ?"

_NEIGHBORS: Final = {
    Direction.OUT: "SELECT target FROM edge WHERE source = ?1",
    Direction.IN: "SELECT source FROM edge WHERE target = ?1",
    Direction.BOTH: "SELECT target FROM edge WHERE source = ?1 UNION SELECT source FROM edge WHERE target = ?1",
}


def neighbors(connection: sqlite3.Connection, node: str, depth: int, direction: Direction) -> list[StoredNeighbor]:
    """Return the nodes within `depth` edges, sorted by hops, then id; see GraphStore."""
    if not has_node(connection, node):
        raise NodeUnknown(node)
    statement = _NEIGHBORS[direction]
    hops = {node: 0}
    frontier = [node]
    for hop in range(1, depth + 1):
        reached = []
        for one in frontier:
            for (other,) in connection.execute(statement, (one,)):
                if other not in hops:
                    hops[other] = hop
                    reached.append(other)
            if len(hops) > NEIGHBORS_MAX + 1:
                raise LimitExceeded(
                    f"expected at most {NEIGHBORS_MAX:,} neighbours: ask for a smaller depth", bound="NEIGHBORS_MAX"
                )
        frontier = reached
    return sorted((StoredNeighbor(one, far) for one, far in hops.items() if far), key=lambda one: (one.hops, one.id))


class _Side:
    """One of the two searches: forward from the start, or backward from the goal."""

    def __init__(self, connection: sqlite3.Connection, statement: str, origin: str) -> None:
        self._connection = connection
        self._statement = statement
        self.distance = {origin: 0.0}
        self.parent: dict[str, tuple[str, float]] = {}
        self.queue: list[tuple[float, str]] = [(0.0, origin)]
        self.settled: set[str] = set()

    def settle(self, reached: Callable[[str, float], None], look: Callable[[], None]) -> None:
        """Settle the nearest node, and call `reached` for each node whose distance fell.

        `look` is called for the node and for each of its edges. Raises InvalidGraph for a cost that no edge may have.
        """
        far, node = heapq.heappop(self.queue)
        look()
        if node in self.settled:
            return
        self.settled.add(node)
        for other, cost in self._connection.execute(self._statement, (node,)):
            look()
            if not 0.0 <= cost <= COST_MAX:
                raise InvalidGraph(
                    f"expected a cost from 0 to {COST_MAX:g}, got {cost!r}",
                    record=f"edge between {node!r} and {other!r}",
                    field="cost",
                )
            total = far + cost
            if total < self.distance.get(other, float("inf")):
                self.distance[other] = total
                self.parent[other] = (node, cost)
                heapq.heappush(self.queue, (total, other))
                reached(other, total)


def shortest_path(connection: sqlite3.Connection, start: str, goal: str, timeout_s: float) -> StoredPath:
    """Find a cheapest path by Dijkstra's search from both ends (Pohl 1971); see GraphStore."""
    for end in (start, goal):
        if not has_node(connection, end):
            raise NodeUnknown(end)
    if start == goal:
        return StoredPath([start], [], 0.0)
    look = _clock(timeout_s)
    ahead, back = _Side(connection, _OUT, start), _Side(connection, _IN, goal)
    best, middle = float("inf"), ""

    def meet(other: _Side) -> Callable[[str, float], None]:
        def reached(node: str, total: float) -> None:
            nonlocal best, middle
            beyond = other.distance.get(node)
            if beyond is not None and total + beyond < best:
                best, middle = total + beyond, node

        return reached

    sides = ((ahead, meet(back)), (back, meet(ahead)))
    while ahead.queue and back.queue and ahead.queue[0][0] + back.queue[0][0] < best:
        side, reached = min(sides, key=lambda one: one[0].queue[0][0])
        side.settle(reached, look)
    if not middle:
        raise NoPath(start, goal)
    return _assemble(ahead, back, middle)


def _clock(timeout_s: float) -> Callable[[], None]:
    """Return the function to call at each look; every LOOKS_PER_CLOCK calls it raises DeadlineExceeded if too late."""
    until_s = time.monotonic() + timeout_s
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        if looks >= LOOKS_PER_CLOCK:
            looks = 0
            if time.monotonic() > until_s:
                raise DeadlineExceeded(
                    f"the search found no path within {timeout_s:g} s; a larger timeout_s allows more"
                )

    return look


def _assemble(ahead: _Side, back: _Side, middle: str) -> StoredPath:
    nodes, costs = [middle], []
    node = middle
    while node in ahead.parent:
        node, cost = ahead.parent[node]
        nodes.append(node)
        costs.append(cost)
    nodes.reverse()
    costs.reverse()
    node = middle
    while node in back.parent:
        node, cost = back.parent[node]
        nodes.append(node)
        costs.append(cost)
    return StoredPath(nodes, costs, sum(costs))
