"""Measures what a partitioning costs: indexes partitions, builds an overlay and searches plans.

Everything runs in this process, with the kernels of workers and coordinator. A run of neighbouring partitions
represents a graph that has more nodes than the sample may have.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from planmesh.graph.adjacency import reverse
from planmesh.graph.model import BoolArray, Graph, Int32Array
from planmesh.search.local_search import LocalSearch
from planmesh.search.overlay import Overlay
from planmesh.search.overlay_build import build_overlay, default_levels
from planmesh.search.overlay_search import OverlaySearch
from planmesh.search.partition_index import PartitionIndex, build_partition_index
from planmesh.snapshot.overlay_file import LevelOneGraph
from planmesh.snapshot.partition_file import OpenPartition, PartitionEdges, partition_arrays, slice_edges

SAMPLED_PARTITIONS_MIN: Final = 2
"""A sample has at least two partitions, however large they are, so that there is an overlay to search."""


@dataclass(frozen=True, slots=True)
class Settled:
    """Nodes settled per plan, in both local searches and the overlay search together."""

    mean: float
    p50: float
    p95: float


@dataclass(frozen=True, slots=True)
class PipelineFigures:
    """Figures of a sample of `sampled_partitions` with `sampled_nodes`, scaled to the whole graph.

    `index_bytes`, `core_nodes` and `shortcut_edges` (edges that partitions add to the overlay) are scaled by the number
    of
    nodes, unless `whole` is true. `settled` covers the `connected_pairs` among the pairs of sampled nodes, without the
    edges that leave the sample; it is None when no pair was connected.
    """

    sampled_partitions: int
    sampled_nodes: int
    whole: bool
    index_bytes: int
    core_nodes: int
    shortcut_edges: int
    pairs: int
    connected_pairs: int
    settled: Settled | None
    index_s: float
    overlay_s: float


@dataclass(frozen=True, slots=True)
class _Sample:
    """Partitions `first` to `last` (exclusive) of an ordered graph, which are the nodes `low` to `high` (exclusive)."""

    first: int
    last: int
    low: int
    high: int

    @property
    def nodes(self) -> int:
        return self.high - self.low


def choose_run(partition_first: Int32Array, nodes_max: int, seed: int) -> tuple[int, int]:
    """Return a run of partitions, first and last (exclusive), with about `nodes_max` nodes; all partitions if they fit.

    Neighbouring partitions have consecutive numbers, so a run is connected much like the whole graph.
    """
    partitions = len(partition_first) - 1
    if int(partition_first[-1]) <= nodes_max or partitions <= SAMPLED_PARTITIONS_MIN:
        return 0, partitions
    latest = int(np.searchsorted(partition_first, int(partition_first[-1]) - nodes_max, "right"))
    first = int(np.random.default_rng(seed).integers(0, max(1, min(latest, partitions - SAMPLED_PARTITIONS_MIN))))
    last = int(np.searchsorted(partition_first, int(partition_first[first]) + nodes_max, "right")) - 1
    return first, max(last, first + SAMPLED_PARTITIONS_MIN)


def measure_pipeline(
    graph: Graph,
    partition_first: Int32Array,
    pairs: Int32Array,
    *,
    nodes_max: int,
    seed: int,
    advance: Callable[[int, int], None],
) -> PipelineFigures:
    """Index, build and search. `graph` is numbered by partition.

    `pairs` (int32[k, 2]) are nodes of the graph. If only a sample is measured, k pairs are drawn from it instead. Calls
    `advance(nodes_done, nodes_total)` after each partition.
    """
    first, last = choose_run(partition_first, nodes_max, seed)
    sample = _Sample(first, last, int(partition_first[first]), int(partition_first[last]))
    whole = sample.nodes == graph.node_count
    started_s = time.perf_counter()
    backward = reverse(graph)
    opened: list[OpenPartition] = []
    index_bytes = core_nodes = shortcut_edges = 0
    for partition in range(first, last):
        edges = _edges_of(graph, backward, int(partition_first[partition]), int(partition_first[partition + 1]))
        boundary = edges.is_boundary()
        index = build_partition_index(*edges.internal(), boundary)
        index_bytes += sum(array.nbytes for array in partition_arrays(edges, index).values())
        core_nodes += index.overlay_count - int(np.count_nonzero(boundary))
        shortcut_edges += len(index.overlay_head)
        opened.append(_cropped(edges, index, sample))
        advance(int(partition_first[partition + 1]) - sample.low, sample.nodes)
    indexed_s = time.perf_counter()
    mesh = _Mesh(opened, partition_first[first : last + 1] - sample.low)
    built_s = time.perf_counter()
    asked = pairs if whole else draw_pairs(sample.nodes, len(pairs), seed)
    settled = [count for start, goal in asked.tolist() if (count := mesh.settled(start, goal)) is not None]
    scale = graph.node_count / max(sample.nodes, 1)
    return PipelineFigures(
        sampled_partitions=last - first,
        sampled_nodes=sample.nodes,
        whole=whole,
        index_bytes=round(index_bytes * scale),
        core_nodes=round(core_nodes * scale),
        shortcut_edges=round(shortcut_edges * scale),
        pairs=len(asked),
        connected_pairs=len(settled),
        settled=_settled(settled),
        index_s=indexed_s - started_s,
        overlay_s=built_s - indexed_s,
    )


def draw_pairs(nodes: int, count: int, seed: int) -> Int32Array:
    """Draw pairs of different nodes, int32[count, 2]. In a graph with one node, both are that node."""
    generator = np.random.default_rng(seed)
    start = generator.integers(0, nodes, count)
    goal = (start + generator.integers(1, max(nodes, 2), count)) % nodes
    return np.stack([start, goal], axis=1).astype(np.int32)


def _settled(counts: list[int]) -> Settled | None:
    if not counts:
        return None
    p50, p95 = np.percentile(counts, (50, 95))
    return Settled(float(np.mean(counts)), float(p50), float(p95))


def _edges_of(graph: Graph, backward: Graph, start: int, stop: int) -> PartitionEdges:
    out_first, out_head, out_cost = slice_edges(graph.first_out, graph.head, graph.weight, start, stop)
    in_first, in_tail, in_cost = slice_edges(backward.first_out, backward.head, backward.weight, start, stop)
    return PartitionEdges(start, out_first, out_head, out_cost, in_first, in_tail, in_cost)


def _cropped(edges: PartitionEdges, index: PartitionIndex, sample: _Sample) -> OpenPartition:
    """Return a partition without the edges that leave the sample, with nodes numbered from the sample's first."""
    stays: BoolArray = (edges.out_head >= sample.low) & (edges.out_head < sample.high)
    before = np.zeros(len(stays) + 1, np.int32)
    np.cumsum(stays, out=before[1:])
    none = np.zeros(0, np.int32)
    return OpenPartition(
        partition_first=edges.partition_first - sample.low,
        out_first=before[edges.out_first],
        out_head=edges.out_head[stays] - np.int32(sample.low),
        out_cost=edges.out_cost[stays],
        in_first=np.zeros(edges.node_count + 1, np.int32),  # the overlay is built from outgoing edges only
        in_tail=none,
        in_cost=np.zeros(0),
        index=index,
    )


class _Mesh:
    """Some partitions' indexes and their overlay, which workers and a coordinator would hold, in one process."""

    def __init__(self, opened: list[OpenPartition], partition_first: Int32Array) -> None:
        self._partition_first = partition_first
        self._indexes = [partition.index for partition in opened]
        level_one = LevelOneGraph(int(partition_first[-1]), len(opened))
        for partition in opened:
            level_one.add(partition)
        first_out, head, weight = level_one.finish()
        self._overlay_first = level_one.overlay_first
        owner = np.repeat(np.arange(len(opened), dtype=np.int32), np.diff(self._overlay_first))
        self._overlay: Overlay = build_overlay(first_out, head, weight, default_levels(owner, len(opened)))
        self._local = LocalSearch()
        self._across = OverlaySearch()

    def settled(self, start: int, goal: int) -> int | None:
        """Return how many nodes the cheapest plan's searches settle, or None if there is no path."""
        if start == goal:
            return 0
        one, two = (int(np.searchsorted(self._partition_first, node, "right")) - 1 for node in (start, goal))
        here, there = start - int(self._partition_first[one]), goal - int(self._partition_first[two])
        inner, total = float("inf"), 0
        if one == two:
            inner, total = self._local.meet(self._indexes[one], here, there)
        exits, exit_costs, forward, _ = self._local.search(self._indexes[one], here, False)
        entries, entry_costs, back, _ = self._local.search(self._indexes[two], there, True)
        found = self._across.search(
            self._overlay,
            exits + self._overlay_first[one],
            exit_costs,
            entries + self._overlay_first[two],
            entry_costs,
            inner,
        )
        if found.cost == float("inf") and inner == float("inf"):
            return None
        return int(total + forward + back + found.settled)
