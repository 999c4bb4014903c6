"""Tries other strategies on the same graph when a partitioning cuts many edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from planmesh.graph.model import BoolArray, Graph, Int32Array, Int64Array
from planmesh.kernels import kernel
from planmesh.partition.report import CROSS_EDGE_SHARE_POOR, Trial
from planmesh.partition.strategies import Partitioning, Strategy, partition

MINCUT_TRIAL_EDGES_MAX: Final = 1_000_000
"""Most edges of a graph on which mincut is tried. It takes some seconds, while METIS holds the interpreter lock. Stream
is always tried: it reads a million edges in a tenth of a second without the lock."""


@dataclass(frozen=True, slots=True)
class CutFacts:
    """The cut of a partitioning: its cross edges and boundary nodes."""

    cross_edges: int
    boundary_nodes: int


def count_cut(graph: Graph, partition_of: Int32Array) -> CutFacts:
    """Count the edges between partitions and the nodes that are their ends. `partition_of` is int32[n]."""
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


def try_others(graph: Graph, partitioning: Partitioning) -> list[Trial]:
    """Return the cuts of other strategies with as many partitions if the partitioning is poor, else none; best first.

    See CROSS_EDGE_SHARE_POOR and `try_strategies`.
    """
    count = partitioning.partition_count
    if count < 2 or count_cut(graph, partitioning.partition_of).cross_edges <= CROSS_EDGE_SHARE_POOR * graph.edge_count:
        return []
    return try_strategies(graph, count, partitioning.strategy)


def try_strategies(graph: Graph, count: int, taken: Strategy | None) -> list[Trial]:
    """Return the cuts of stream and, if the graph is not too large, mincut with `count` partitions, the best first.

    The strategy `taken` is not tried.
    """
    others = [Strategy.STREAM]
    if graph.edge_count <= MINCUT_TRIAL_EDGES_MAX:
        others.append(Strategy.MINCUT)
    trials = []
    for strategy in others:
        if strategy is not taken:
            facts = count_cut(graph, partition(graph, strategy, partitions=count).partition_of)
            trials.append(Trial(str(strategy), facts.cross_edges / graph.edge_count, facts.boundary_nodes))
    return sorted(trials, key=lambda trial: trial.cross_edge_share)
