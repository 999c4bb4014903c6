"""The whole pipeline in one process: split a graph, index each partition, build the overlay, plan, check the plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from planmesh.graph.model import Float64Array, Graph, Int32Array, Int64Array
from planmesh.search.contraction import DEFAULT_LIMITS, ContractionLimits
from planmesh.search.contraction_kernel import BOUND_COUNT
from planmesh.search.local_search import LocalLabels, LocalSearch
from planmesh.search.overlay import Overlay
from planmesh.search.overlay_build import OVERLAY_LIMITS, build_overlay, default_levels
from planmesh.search.overlay_search import OverlaySearch
from planmesh.search.partition_index import PartitionIndex, build_partition_index
from planmesh.search.unpack import SegmentKind


def make_graph(node_count: int, edges: list[tuple[int, int, float]]) -> Graph:
    """A graph of (tail, head, cost) in any order; parallel edges are merged and self-loops dropped."""
    cheapest: dict[tuple[int, int], float] = {}
    for tail, head, cost in edges:
        if tail != head:
            cheapest[tail, head] = min(cost, cheapest.get((tail, head), cost))
    keys = sorted(cheapest)
    first = np.zeros(node_count + 1, np.int64)
    tails = np.array([tail for tail, _ in keys], np.int64)
    np.cumsum(np.bincount(tails, minlength=node_count), out=first[1:])
    heads = np.array([head for _, head in keys], np.int32)
    return Graph(first, heads, np.array([cheapest[key] for key in keys], np.float64))


def order_by_partition(graph: Graph, partition_of: Int32Array) -> tuple[Graph, Int32Array, Int32Array]:
    """The graph renumbered by partition, the first node of each partition int32[P + 1], the new numbers int32[n]."""
    count = graph.node_count
    order = np.argsort(partition_of, kind="stable")
    new_number = np.empty(count, np.int32)
    new_number[order] = np.arange(count, dtype=np.int32)
    tails = new_number[np.repeat(np.arange(count), np.diff(graph.first_out))]
    heads = new_number[graph.head]
    by_edge = np.lexsort((heads, tails))
    first = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(tails, minlength=count), out=first[1:])
    partition_count = int(partition_of.max(initial=-1)) + 1
    partition_first = np.zeros(partition_count + 1, np.int32)
    np.cumsum(np.bincount(partition_of, minlength=partition_count), out=partition_first[1:])
    return Graph(first, heads[by_edge], graph.weight[by_edge]), partition_first, new_number


@dataclass
class Reached:
    """How often each Bound was reached, int64[BOUND_COUNT] each: in partitions' indexes and in the overlay."""

    index: Int64Array = field(default_factory=lambda: np.zeros(BOUND_COUNT, np.int64))
    overlay: Int64Array = field(default_factory=lambda: np.zeros(BOUND_COUNT, np.int64))


@dataclass
class InProcessMesh:
    """What the services hold, in one process; nodes are numbered by partition."""

    graph: Graph
    partition_first: Int32Array
    indexes: list[PartitionIndex]
    overlay_first: Int32Array
    overlay: Overlay

    def __post_init__(self) -> None:
        self.local = LocalSearch()
        self.across = OverlaySearch()
        self._labels: dict[tuple[int, bool], LocalLabels] = {}

    def partition_of(self, node: int) -> int:
        return int(np.searchsorted(self.partition_first, node, side="right")) - 1

    def labels(self, node: int, backward: bool) -> LocalLabels:
        """What the search from a node to the overlay found, or backward to it; kept, as the mesh keeps it."""
        if (node, backward) not in self._labels:
            p = self.partition_of(node)
            local = node - int(self.partition_first[p])
            self._labels[node, backward] = self.local.search(self.indexes[p], local, backward)
        return self._labels[node, backward]

    def plan(self, start: int, goal: int) -> tuple[float, list[int], list[float]]:
        """Cost, nodes and the costs of the steps of a cheapest path; (inf, [], []) if there is none."""
        if start == goal:
            return 0.0, [start], []
        p, q = self.partition_of(start), self.partition_of(goal)
        one, two = start - int(self.partition_first[p]), goal - int(self.partition_first[q])
        inner = self.local.meet(self.indexes[p], one, two)[0] if p == q else np.inf
        up, down = self.labels(start, False), self.labels(goal, True)
        found = self.across.search(
            self.overlay,
            up.nodes + self.overlay_first[p],
            up.distances,
            down.nodes + self.overlay_first[q],
            down.distances,
            inner,
        )
        if found.cost == np.inf:
            if inner == np.inf:
                return np.inf, [], []
            return inner, *self._unpack(p, [(SegmentKind.INNER, one, two)])
        return found.cost, *self._unpack_path(p, one, q, two, found.nodes)

    def _unpack_path(self, p: int, one: int, q: int, two: int, path: Int32Array) -> tuple[list[int], list[float]]:
        partitions = np.searchsorted(self.overlay_first, path, side="right") - 1
        numbers = path - self.overlay_first[partitions]
        costs_of_edges = self.overlay.weight[self.overlay.path_edges(path)]
        nodes, costs = self._unpack(p, [(SegmentKind.START, one, int(numbers[0]))])
        for k in range(len(path) - 1):
            if partitions[k] == partitions[k + 1]:
                more, more_costs = self._unpack(
                    int(partitions[k]), [(SegmentKind.EDGE, int(numbers[k]), int(numbers[k + 1]))]
                )
                nodes += more[1:]
                costs += more_costs
            else:
                index = self.indexes[partitions[k + 1]]
                local = int(index.overlay_node[numbers[k + 1]])
                nodes.append(int(self.partition_first[partitions[k + 1]]) + local)
                costs.append(float(costs_of_edges[k]))
        more, more_costs = self._unpack(q, [(SegmentKind.GOAL, int(numbers[-1]), two)])
        return without_loops(nodes + more[1:], costs + more_costs)

    def _unpack(self, partition: int, segments: list[tuple[int, int, int]]) -> tuple[list[int], list[float]]:
        kinds, first, second = (np.array(column) for column in zip(*segments, strict=True))
        nodes, costs, lengths = self.local.unpack(
            self.indexes[partition], kinds.astype(np.uint8), first.astype(np.int32), second.astype(np.int32)
        )
        assert lengths.sum() == len(nodes)
        assert len(costs) == len(nodes) - len(lengths)
        return [int(node) + int(self.partition_first[partition]) for node in nodes], costs.tolist()


LOOP_SHARE_MAX: Final = 1e-12
"""Of a path's cost, what a loop may cost that rounding hid: a few times 2^-52, far below the 1e-9 of answers."""


def without_loops(nodes: list[int], costs: list[float]) -> tuple[list[int], list[float]]:
    """Segments are free of loops, but where two meet an edge may lead back, free or at a cost that rounding hid."""
    kept: list[int] = []
    kept_costs: list[float] = []
    for k, node in enumerate(nodes):
        if node in kept:
            place = kept.index(node)
            loop = sum(kept_costs[place:]) + costs[k - 1]
            assert loop <= LOOP_SHARE_MAX * sum(costs), f"a path over a loop that costs {loop}"
            del kept[place + 1 :], kept_costs[place:]
        else:
            kept.append(node)
            if len(kept) > 1:
                kept_costs.append(costs[k - 1])
    return kept, kept_costs


def build_mesh(
    graph: Graph,
    partition_first: Int32Array,
    limits: ContractionLimits | None = None,
    levels: list[Int32Array] | Callable[[Int32Array], list[Int32Array]] | None = None,
    overlay_limits: ContractionLimits | None = None,
    reached: Reached | None = None,
) -> InProcessMesh:
    """Index every partition and build the overlay; `graph` is numbered by partition.

    `levels` may be a function of the partition of each overlay node, int32[k].
    """
    reached = reached or Reached()
    partition_count = len(partition_first) - 1
    partition = np.repeat(np.arange(partition_count), np.diff(partition_first))
    tails = np.repeat(np.arange(graph.node_count), np.diff(graph.first_out))
    crosses = partition[tails] != partition[graph.head]
    is_boundary = np.zeros(graph.node_count, bool)
    is_boundary[tails[crosses]] = True
    is_boundary[graph.head[crosses]] = True
    indexes = []
    for p in range(partition_count):
        begin, end = int(partition_first[p]), int(partition_first[p + 1])
        edges = slice(int(graph.first_out[begin]), int(graph.first_out[end]))
        inside = ~crosses[edges]
        first = np.zeros(end - begin + 1, np.int64)
        np.cumsum(np.bincount(tails[edges][inside] - begin, minlength=end - begin), out=first[1:])
        heads = (graph.head[edges][inside] - begin).astype(np.int32)
        indexes.append(
            build_partition_index(
                first,
                heads,
                graph.weight[edges][inside],
                is_boundary[begin:end],
                limits or DEFAULT_LIMITS,
                reached.index,
            )
        )
    overlay_first = np.zeros(partition_count + 1, np.int32)
    np.cumsum([index.overlay_count for index in indexes], out=overlay_first[1:])
    overlay_number = np.concatenate(
        [
            np.where(index.overlay_number >= 0, index.overlay_number + overlay_first[p], -1)
            for p, index in enumerate(indexes)
        ]
    )
    overlay_tails, overlay_heads, overlay_costs = _overlay_edges(indexes, overlay_first)
    overlay_tails = np.concatenate([overlay_tails, overlay_number[tails[crosses]]])
    overlay_heads = np.concatenate([overlay_heads, overlay_number[graph.head[crosses]]])
    overlay_costs = np.concatenate([overlay_costs, graph.weight[crosses]])
    order = np.argsort(overlay_tails, kind="stable")
    node_count = int(overlay_first[-1])
    first = np.zeros(node_count + 1, np.int64)
    np.cumsum(np.bincount(overlay_tails, minlength=node_count), out=first[1:])
    owner = np.repeat(np.arange(partition_count, dtype=np.int32), np.diff(overlay_first))
    if levels is None:
        levels = default_levels(owner, partition_count)
    elif callable(levels):
        levels = levels(owner)
    overlay = build_overlay(
        first,
        overlay_heads[order].astype(np.int32),
        overlay_costs[order],
        levels,
        overlay_limits or limits or OVERLAY_LIMITS,
        reached=reached.overlay,
    )
    return InProcessMesh(graph, partition_first, indexes, overlay_first, overlay)


def _overlay_edges(
    indexes: list[PartitionIndex], overlay_first: Int32Array
) -> tuple[Int32Array, Int32Array, Float64Array]:
    tails, heads, costs = [], [], []
    for p, index in enumerate(indexes):
        own = np.repeat(np.arange(index.overlay_count), np.diff(index.overlay_first_out))
        tails.append(own + overlay_first[p])
        heads.append(index.overlay_head + overlay_first[p])
        costs.append(index.overlay_weight)
    return np.concatenate(tails), np.concatenate(heads), np.concatenate(costs)


def check_plan(mesh: InProcessMesh, start: int, goal: int, plan: tuple[float, list[int], list[float]]) -> None:
    """Every step is an edge of the graph at its cost, ends are right, and the steps add up to the plan's cost."""
    cost, nodes, costs = plan
    assert nodes[0] == start
    assert nodes[-1] == goal
    assert len(costs) == len(nodes) - 1
    graph = mesh.graph
    for k in range(len(costs)):
        begin, end = graph.first_out[nodes[k]], graph.first_out[nodes[k] + 1]
        found = np.flatnonzero(graph.head[begin:end] == nodes[k + 1])
        assert len(found) == 1
        assert graph.weight[begin + found[0]] == costs[k]
    assert np.isclose(sum(costs), cost, rtol=1e-9, atol=0)
