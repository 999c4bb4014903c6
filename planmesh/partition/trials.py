"""When a partitioning cuts much: whether another strategy cuts less, by trying it on the same graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from planmesh.graph.model import BoolArray, Graph, Int32Array, Int64Array
from planmesh.kernels import kernel
from planmesh.partition.report import CROSS_EDGE_SHARE_POOR, Trial
from planmesh.partition.strategies import Partitioning, Strategy, partition

MINCUT_TRIAL_EDGES_MAX: Final = 1_000_000
"""Edges up to which mincut is tried: some seconds, during which METIS holds the interpreter lock. Stream is always
tried: it reads a million edges in a tenth of a second and holds no lock."""


@dataclass(frozen=True, slots=True)
class CutFacts:
    """What a partition of the nodes cuts."""

    cross_edges: int
    boundary_nodes: int


def count_cut(graph: Graph, partition_of: Int32Array) -> CutFacts:
    """Return the edges between partitions, and how many nodes are their ends; `partition_of` is int32[n]."""
    cross_edges, boundary = _count_cut(graph.first_out, graph.head, partition_of)
    return CutFacts(int(cross_edges), int(np.count_nonzero(boundary)))


@kernel
def _count_cut(first_out: Int64Array, head: Int32Array, partition_of: Int32Array) -> tuple[int, BoolArray]:
    boundary = np.zeros(len(first_out) - 1, np.bool_)
    cross_edges = 0
    for node in range(len(first_out) - 1):
        for edge in range(first_out[node], first_out[node + 1]):
            if partition_of[node] != partition_of[head[edge]]:
                cross_edges += 1
                boundary[node] = True
                boundary[head[edge]] = True
    return cross_edges, boundary


def try_others(graph: Graph, parted: Partitioning) -> list[Trial]:
    """Return what stream, and on a graph that is not too large mincut, cut into as many partitions, the best first.

    Empty when the partitioning is not poor (CROSS_EDGE_SHARE_POOR): then nothing is tried.
    """
    count = parted.partition_count
    if count < 2 or count_cut(graph, parted.partition_of).cross_edges <= CROSS_EDGE_SHARE_POOR * graph.edge_count:
        return []
    return try_strategies(graph, count, parted.strategy)


def try_strategies(graph: Graph, count: int, taken: Strategy | None) -> list[Trial]:
    """Return what those strategies cut into `count` partitions, the best first, without the one that is `taken`."""
    others = [Strategy.STREAM]
    if graph.edge_count <= MINCUT_TRIAL_EDGES_MAX:
        others.append(Strategy.MINCUT)
    trials = []
    for strategy in others:
        if strategy is not taken:
            facts = count_cut(graph, partition(graph, strategy, partitions=count).partition_of)
            trials.append(Trial(str(strategy), facts.cross_edges / graph.edge_count, facts.boundary_nodes))
    return sorted(trials, key=lambda trial: trial.cross_edge_share)
