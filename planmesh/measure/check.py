"""Checks plans against the graph on which they were computed, with a search that shares no code with the mesh's."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from planmesh.errors import NodeUnknown
from planmesh.graph.adjacency import build_graph
from planmesh.graph.model import WHOLE_SUM_MAX, Float64Array, Graph, Int32Array
from planmesh.graph.node_ids import NodeIds, NodeIdsBuilder
from planmesh.search.reference import BidirectionalDijkstra

RELATIVE_TOLERANCE: Final = 1e-9
"""For costs that are not whole numbers: sums in a different order differ in their last digits."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The mesh's answer for a pair. `cost` is infinite if the answer was that no path exists.

    `steps` are (source, target, cost), None if the answer had its cost only.
    """

    start: str
    goal: str
    cost: float
    steps: Sequence[tuple[str, str, float]] | None


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A wrong claim, and the reason."""

    start: str
    goal: str
    reason: str


class GraphBuilder:
    """Builds a graph from the rows of an export."""

    def __init__(self) -> None:
        self._ids = NodeIdsBuilder()
        self._tails: list[Int32Array] = []
        self._heads: list[Int32Array] = []
        self._costs: list[Float64Array] = []

    def add_nodes(self, ids: Sequence[str]) -> None:
        """Add rows of nodes. Each node must occur once."""
        self._ids.add(ids)

    def add_edges(self, sources: Sequence[str], targets: Sequence[str], costs: Sequence[float] | None) -> None:
        """Add rows of edges between known nodes. Without `costs` each edge costs 1. Raises NodeUnknown."""
        tails, heads = self._ids.lookup(sources), self._ids.lookup(targets)
        for names, numbers in ((sources, tails), (targets, heads)):
            if len(numbers) and int(numbers.min()) < 0:
                raise NodeUnknown(names[int(np.argmin(numbers))])
        self._tails.append(tails)
        self._heads.append(heads)
        self._costs.append(np.ones(len(sources)) if costs is None else np.asarray(costs, dtype=np.float64))

    def finish(self) -> ReferenceGraph:
        """Return the graph. The builder cannot be used afterwards."""
        node_count = len(self._ids)
        tails = np.concatenate([*self._tails, np.empty(0, np.int32)]).astype(np.int32, copy=False)
        heads = np.concatenate([*self._heads, np.empty(0, np.int32)]).astype(np.int32, copy=False)
        costs = np.concatenate([*self._costs, np.empty(0, np.float64)])
        graph, _, _ = build_graph(node_count, tails, heads, costs)
        return ReferenceGraph(self._ids.finish(), graph)


class ReferenceGraph:
    """One version of a graph, searched by a plain bidirectional Dijkstra."""

    def __init__(self, ids: NodeIds, graph: Graph) -> None:
        self._ids = ids
        self._graph = graph
        self._whole = bool(np.all(graph.weight == np.floor(graph.weight)))
        self._per_thread = threading.local()

    def with_costs(self, costs: Mapping[tuple[str, str], float]) -> ReferenceGraph:
        """Return the same graph with other costs of some edges. Raises KeyError for an unknown one."""
        weight = self._graph.weight.copy()
        for (source, target), cost in costs.items():
            position = self._position(source, target)
            if position is None:
                raise KeyError(f"no edge from {source!r} to {target!r}")
            weight[position] = cost
        return ReferenceGraph(self._ids, Graph(self._graph.first_out, self._graph.head, weight))

    def check(self, claims: Iterable[Claim], threads: int) -> list[Mismatch]:
        """Return every wrong claim, in the order of the claims."""
        with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="check") as pool:
            return [mismatch for mismatch in pool.map(self.check_one, claims) if mismatch is not None]

    def check_one(self, claim: Claim) -> Mismatch | None:
        """Compare a claim's cost with the reference, and each of its steps with the graph. Return None if all agree."""
        start, goal = self._ids.find(claim.start), self._ids.find(claim.goal)
        reason = self._why_wrong(claim, start, goal)
        return Mismatch(claim.start, claim.goal, reason) if reason else None

    def _why_wrong(self, claim: Claim, start: int, goal: int) -> str:
        if start < 0 or goal < 0:
            return "the graph lacks one of the two nodes"
        expected = self._search().cost(start, goal) if start != goal else 0.0
        if not self._same(claim.cost, expected):
            return f"cost {claim.cost!r}, expected {expected!r} by the reference"
        if math.isinf(claim.cost) or claim.steps is None:
            return ""
        return self._why_steps_wrong(claim, claim.steps)

    def _why_steps_wrong(self, claim: Claim, steps: Sequence[tuple[str, str, float]]) -> str:
        here, total = claim.start, 0.0
        for number, (source, target, cost) in enumerate(steps):
            if source != here:
                return f"step {number} starts at {source!r}, expected {here!r}"
            actual = self._edge_cost(source, target)
            if actual != cost:
                return f"step {number} from {source!r} to {target!r} costs {cost!r}, expected {actual!r} by the graph"
            here, total = target, total + cost
        if here != claim.goal:
            return f"the steps end at {here!r}, expected {claim.goal!r}"
        return "" if self._same(claim.cost, total) else f"cost {claim.cost!r}, its steps add up to {total!r}"

    def _edge_cost(self, source: str, target: str) -> float | None:
        position = self._position(source, target)
        return None if position is None else float(self._graph.weight[position])

    def _position(self, source: str, target: str) -> int | None:
        """Return the position of an edge, None if the graph does not have it."""
        tail, head = self._ids.find(source), self._ids.find(target)
        if tail < 0 or head < 0:
            return None
        first, last = int(self._graph.first_out[tail]), int(self._graph.first_out[tail + 1])
        position = first + int(np.searchsorted(self._graph.head[first:last], head))
        if position == last or self._graph.head[position] != head:
            return None
        return position

    def _same(self, cost: float, other: float) -> bool:
        if math.isinf(cost) or math.isinf(other):
            return cost == other
        if self._whole and max(cost, other) < WHOLE_SUM_MAX:
            return cost == other
        return math.isclose(cost, other, rel_tol=RELATIVE_TOLERANCE)

    def _search(self) -> BidirectionalDijkstra:
        search: BidirectionalDijkstra | None = getattr(self._per_thread, "search", None)
        if search is None:
            search = BidirectionalDijkstra(self._graph)
            self._per_thread.search = search
        return search
