"""Our search without the mesh: what the services do with a graph and a query, in one process."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from bench.graphs import BenchGraph
from planmesh.graph.adjacency import renumber, reverse
from planmesh.graph.model import Float64Array, Graph, Int32Array
from planmesh.partition.groups import Labels
from planmesh.partition.strategies import number_by_partition, partition
from planmesh.search.edge_lookup import path_edges
from planmesh.search.local_search import LocalSearch
from planmesh.search.overlay_build import build_overlay, default_levels
from planmesh.search.overlay_search import OverlaySearch
from planmesh.search.partition_index import build_partition_index
from planmesh.search.read_only import read_only
from planmesh.search.unpack import SegmentKind
from planmesh.search.warm import warm
from planmesh.snapshot.overlay_file import collect_level_one
from planmesh.snapshot.partition_file import OpenPartition, PartitionEdges, slice_edges

START, GOAL, INNER, EDGE = (int(kind) for kind in SegmentKind)


class PlanmeshSearch:
    """Partition, index on all cores, overlay; then local searches, overlay search, unpacking and merging."""

    def prepare(self, graph: BenchGraph, folder: Path) -> None:  # noqa: ARG002 - it needs none
        """Load the compiled kernels."""
        warm()
        self.given = graph
        self.parts_s: dict[str, float] = {}

    def load(self) -> None:
        """Partition, index, contract the overlay."""
        begun_s = time.perf_counter()
        given = self.given.graph
        domains, regions = (self._labels(size) for size in (self.given.domain_nodes, self.given.region_nodes))
        parted = partition(given, domains=domains, regions=regions)
        count = parted.partition_count
        numbering = number_by_partition(parted.partition_of, count)
        self.number = numbering.new_number
        self.first = numbering.partition_first
        self.partition_of = np.repeat(np.arange(count, dtype=np.int32), np.diff(self.first))
        ordered = renumber(given, self.number)
        backward = reverse(ordered)
        parted_s = time.perf_counter()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            self.partitions = list(pool.map(lambda p: self._index(ordered, backward, p), range(count)))
        indexed_s = time.perf_counter()
        level, (first_out, head, weight) = collect_level_one(self.partitions, given.node_count, count, lambda: None)
        self.overlay_first = level.overlay_first
        self.overlay_global = level.overlay_global
        self.is_original = level.is_original
        self.owner = np.repeat(np.arange(count, dtype=np.int32), np.diff(self.overlay_first))
        self.overlay = build_overlay(first_out, head, weight, default_levels(self.owner, count))
        self.local, self.across = LocalSearch(), OverlaySearch()
        self.parts_s = {
            "partition": parted_s - begun_s,
            "index": indexed_s - parted_s,
            "overlay": time.perf_counter() - indexed_s,
        }

    def _labels(self, size: int) -> Labels | None:
        if not size:
            return None
        code = np.arange(self.given.graph.node_count, dtype=np.int32) // np.int32(size)
        return Labels(code, [str(label) for label in range(int(code[-1]) + 1)])

    def _index(self, ordered: Graph, backward: Graph, p: int) -> OpenPartition:
        begin, end = int(self.first[p]), int(self.first[p + 1])
        out = slice_edges(ordered.first_out, ordered.head, ordered.weight, begin, end)
        into = slice_edges(backward.first_out, backward.head, backward.weight, begin, end)
        edges = PartitionEdges(begin, *out, *into)
        return OpenPartition(begin, *out, *into, build_partition_index(*edges.internal(), edges.is_boundary()))

    def query(self, start: int, goal: int) -> float:
        """Cost of the path, unpacked and added up."""
        return self.path(start, goal)[0]

    def path(self, start: int, goal: int) -> tuple[float, Int32Array]:
        """Cost and nodes (numbered by partition) of a cheapest path; infinite and none when there is none."""
        start, goal = int(self.number[start]), int(self.number[goal])
        p, q = int(self.partition_of[start]), int(self.partition_of[goal])
        one, two = start - int(self.first[p]), goal - int(self.first[q])
        if start == goal:
            return 0.0, np.array([start], np.int32)
        meeting = self.local.meet(self.partitions[p].index, one, two)[0] if p == q else float("inf")
        up, up_cost, _ = self.local.search(self.partitions[p].index, one, False)
        down, down_cost, _ = self.local.search(self.partitions[q].index, two, True)
        found = self.across.search(
            self.overlay, up + self.overlay_first[p], up_cost, down + self.overlay_first[q], down_cost, meeting
        )
        if meeting <= found.cost:
            if not np.isfinite(meeting):
                return float("inf"), np.empty(0, np.int32)
            return self._merge([(p, INNER, one, two)], {})
        return self._unpack(p, one, q, two, found.nodes)

    def _unpack(self, p: int, one: int, q: int, two: int, nodes: Int32Array) -> tuple[float, Int32Array]:
        """The way over overlay nodes, its stretches expanded partition by partition."""
        overlay = self.overlay
        owner = self.owner[nodes]
        within = (nodes - self.overlay_first[owner]).tolist()
        edges = path_edges(overlay.first_out, overlay.head, overlay.weight, read_only(nodes, np.int32))
        stretches: list[tuple[int, int, int, int]] = [(p, START, one, within[0])]
        known: dict[int, tuple[Int32Array, Float64Array]] = {}
        numbers, weights, owners = self.overlay_global[nodes], overlay.weight[edges], owner.tolist()
        for step, original in enumerate(self.is_original[edges].tolist()):
            if original:
                known[len(stretches)] = numbers[step : step + 2], weights[step : step + 1]
            stretches.append((owners[step], EDGE, within[step], within[step + 1]))
        stretches.append((q, GOAL, within[-1], two))
        return self._merge(stretches, known)

    def _merge(
        self, stretches: list[tuple[int, int, int, int]], known: dict[int, tuple[Int32Array, Float64Array]]
    ) -> tuple[float, Int32Array]:
        wanted: dict[int, list[int]] = {}
        for place, stretch in enumerate(stretches):
            if place not in known:
                wanted.setdefault(stretch[0], []).append(place)
        for p, places in wanted.items():
            table = np.array([stretches[place] for place in places], np.int32)
            nodes, costs, lengths = self.local.unpack(
                self.partitions[p].index, table[:, 1].astype(np.uint8), table[:, 2], table[:, 3]
            )
            nodes += self.first[p]
            end = 0
            for number, (place, length) in enumerate(zip(places, lengths.tolist(), strict=True)):
                begin, end = end, end + length
                known[place] = nodes[begin:end], costs[begin - number : end - number - 1]
        pieces = [known[place] for place in range(len(stretches))]
        path = np.concatenate([pieces[0][0], *(nodes[1:] for nodes, _ in pieces[1:])])
        return float(np.concatenate([costs for _, costs in pieces]).sum()), path

    def close(self) -> None:
        """Nothing was started."""
