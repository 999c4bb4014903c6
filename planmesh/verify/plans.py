"""Whole plans: the searches of workers and coordinator, in this process, against a plain search of the whole graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planmesh.graph.model import INF_COST, Float64Array, Graph, Int32Array
from planmesh.search.index_proof import Pair, cost_or_none, costs_differ
from planmesh.search.local_search import LocalSearch
from planmesh.search.overlay_search import OverlaySearch
from planmesh.search.reference import BidirectionalDijkstra
from planmesh.search.unpack import SegmentKind
from planmesh.search.verification import Fault
from planmesh.snapshot.overlay_file import OpenOverlay
from planmesh.snapshot.reader import SnapshotReader


@dataclass(frozen=True, slots=True)
class PlannedPath:
    """A plan in global numbers: its cost, its nodes int32[k] and the costs float64[k - 1] of its steps."""

    cost: float
    nodes: Int32Array
    costs: Float64Array


class Planner:
    """Plans over one snapshot as the mesh does it; one for each thread. The snapshot's structure has been checked."""

    def __init__(self, reader: SnapshotReader) -> None:
        self._reader = reader
        self._directory = reader.directory()
        self._overlay: OpenOverlay = reader.overlay()
        self._local = LocalSearch()
        self._across = OverlaySearch()

    def plan(self, start: int, goal: int) -> PlannedPath:
        """Plan between two global numbers; the cost is infinite where no path is found."""
        if start == goal:
            return PlannedPath(0.0, np.array([start], np.int32), np.empty(0, np.float64))
        first = self._directory.partition_first
        p, q = self._directory.partition_of(start), self._directory.partition_of(goal)
        one, two = start - int(first[p]), goal - int(first[q])
        source, target = self._reader.partition(p).index, self._reader.partition(q).index
        inner = self._local.meet(source, one, two)[0] if p == q else float(INF_COST)
        up, down = self._local.search(source, one, False), self._local.search(target, two, True)
        base = self._overlay.overlay_first
        found = self._across.search(
            self._overlay.overlay, up.nodes + base[p], up.distances, down.nodes + base[q], down.distances, inner
        )
        if found.cost < inner:
            return self._unpacked(found.cost, p, one, q, two, found.nodes)
        if inner < INF_COST:
            nodes, costs = self._segment(p, SegmentKind.INNER, one, two)
            return PlannedPath(inner, nodes, costs)
        return PlannedPath(float(INF_COST), np.empty(0, np.int32), np.empty(0, np.float64))

    def _unpacked(self, cost: float, p: int, one: int, q: int, two: int, path: Int32Array) -> PlannedPath:
        base, across = self._overlay.overlay_first, self._overlay.overlay
        partitions = np.searchsorted(base, path, side="right") - 1
        numbers = path - base[partitions]
        edges = across.path_edges(path)
        segments = [self._segment(p, SegmentKind.START, one, int(numbers[0]))]
        for step in range(len(path) - 1):
            if partitions[step] == partitions[step + 1]:
                ends = int(numbers[step]), int(numbers[step + 1])
                segments.append(self._segment(int(partitions[step]), SegmentKind.EDGE, *ends))
            else:
                segments.append((self._overlay.overlay_global[path[step : step + 2]], across.weight[edges[[step]]]))
        segments.append(self._segment(q, SegmentKind.GOAL, int(numbers[-1]), two))
        nodes = [segments[0][0], *(segment[1:] for segment, _ in segments[1:])]
        return PlannedPath(cost, np.concatenate(nodes), np.concatenate([costs for _, costs in segments]))

    def _segment(self, partition: int, kind: SegmentKind, first: int, second: int) -> tuple[Int32Array, Float64Array]:
        opened = self._reader.partition(partition)
        nodes, costs, _ = self._local.unpack(
            opened.index, np.array([kind], np.uint8), np.array([first], np.int32), np.array([second], np.int32)
        )
        return nodes + np.int32(opened.partition_first), costs


class PlanChecker:
    """Compares plans with BidirectionalDijkstra on the whole graph, and their steps with its edges.

    Memory: the graph's reverse (12 bytes an edge), and 72 bytes a node.
    """

    def __init__(self, planner: Planner, graph: Graph) -> None:
        self._planner = planner
        self._graph = graph
        self._plain = BidirectionalDijkstra(graph)

    def fault(self, pair: Pair) -> Fault | None:
        """Plan a pair of global numbers; what is wrong with the plan, None if nothing is."""
        start, goal = pair
        expected = self._plain.cost(start, goal)
        try:
            plan = self._planner.plan(start, goal)
        except (ValueError, AssertionError) as error:
            return Fault("plan", cost_or_none(expected), f"a search that failed: {error}", nodes=pair)
        if costs_differ(expected, plan.cost):
            return Fault("plan", cost_or_none(expected), cost_or_none(plan.cost), nodes=pair)
        if plan.cost < INF_COST and not self._is_path(plan, start, goal):
            return Fault("path", f"a path of the graph that costs {expected!r}", "steps that are not", nodes=pair)
        return None

    def _is_path(self, plan: PlannedPath, start: int, goal: int) -> bool:
        nodes, graph = plan.nodes, self._graph
        if nodes[0] != start or nodes[-1] != goal or costs_differ(float(plan.costs.sum()), plan.cost):
            return False
        for step in range(len(nodes) - 1):
            begin, stop = int(graph.first_out[nodes[step]]), int(graph.first_out[nodes[step] + 1])
            place = begin + int(np.searchsorted(graph.head[begin:stop], nodes[step + 1]))
            if place == stop or graph.head[place] != nodes[step + 1] or graph.weight[place] != plan.costs[step]:
                return False
        return True
