"""Our search without the mesh: the services' indexes and overlay, searched in one process."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench.graphs import BenchGraph
from planmesh.graph.adjacency import renumber, reverse
from planmesh.graph.model import Graph
from planmesh.partition.groups import Labels
from planmesh.partition.strategies import number_by_partition, partition
from planmesh.search.joined import join
from planmesh.search.joined_search import JoinedSearch
from planmesh.search.overlay_build import build_overlay, default_levels
from planmesh.search.partition_index import build_partition_index
from planmesh.search.warm import warm
from planmesh.snapshot.overlay_file import collect_level_one
from planmesh.snapshot.partition_file import OpenPartition, PartitionEdges, slice_edges


class PlanmeshSearch:
    """Partitions, indexes on all cores, builds and joins the overlay; a query unpacks its path and sums the costs."""

    def prepare(self, graph: BenchGraph, folder: Path) -> None:  # noqa: ARG002 - it needs none
        """Load the compiled kernels."""
        warm()
        self.given = graph
        self.stages_s: dict[str, float] = {}

    def load(self) -> None:
        """Partition, index and contract the overlay."""
        begun_s = time.perf_counter()
        given = self.given.graph
        domains, regions = (self._labels(size) for size in (self.given.domain_nodes, self.given.region_nodes))
        parted = partition(given, domains=domains, regions=regions)
        count = parted.partition_count
        numbering = number_by_partition(parted.partition_of, count)
        self.number = numbering.new_number
        first = numbering.partition_first
        ordered = renumber(given, self.number)
        backward = reverse(ordered)
        parted_s = time.perf_counter()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            bounds = pairwise(first.tolist())
            partitions = list(pool.map(lambda ends: _index(ordered, backward, *ends), bounds))
        indexed_s = time.perf_counter()
        level, (first_out, head, weight) = collect_level_one(partitions, given.node_count, count, lambda: None)
        owner = np.repeat(np.arange(count, dtype=np.int32), np.diff(level.overlay_first))
        overlay = build_overlay(first_out, head, weight, default_levels(owner, count))
        overlaid_s = time.perf_counter()
        indexes = [partition.index for partition in partitions]
        self.search = JoinedSearch(join(indexes, first, overlay, level.overlay_global))
        self.stages_s = {
            "partition": parted_s - begun_s,
            "index": indexed_s - parted_s,
            "overlay": overlaid_s - indexed_s,
            "join": time.perf_counter() - overlaid_s,
        }

    def _labels(self, size: int) -> Labels | None:
        if not size:
            return None
        code = np.arange(self.given.graph.node_count, dtype=np.int32) // np.int32(size)
        return Labels(code, [str(label) for label in range(int(code[-1]) + 1)])

    def query(self, start: int, goal: int) -> float:
        """Return the sum of the unpacked path's costs."""
        nodes, costs = self.search.path(int(self.number[start]), int(self.number[goal]))
        return float(costs.sum()) if len(nodes) else float("inf")

    def close(self) -> None:
        """Do nothing: no process was started."""


def _index(ordered: Graph, backward: Graph, begin: int, end: int) -> OpenPartition:
    out = slice_edges(ordered.first_out, ordered.head, ordered.weight, begin, end)
    into = slice_edges(backward.first_out, backward.head, backward.weight, begin, end)
    edges = PartitionEdges(begin, *out, *into)
    return OpenPartition(begin, *out, *into, build_partition_index(*edges.internal(), edges.is_boundary()))
