"""Measures of a partitioning: sizes, cross edges, entries and exits, neighbours, and warnings about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from planmesh.graph.model import WHOLE_SUM_MAX, BoolArray, Graph, Int32Array, Int64Array
from planmesh.kernels import kernel

CROSS_EDGE_SHARE_POOR: Final = 0.20
"""Share of cross edges above which most nodes are boundary nodes, and partitions save little."""

TRIAL_BETTER_SHARE: Final = 0.8
"""A strategy is reported as better if it cuts at most this share of the edges that the chosen one cuts. A smaller
difference is not noticeable."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What another strategy cuts when it makes as many partitions of the same graph."""

    strategy: str
    cross_edge_share: float
    boundary_nodes: int


@dataclass(frozen=True, slots=True)
class PartitionReport:
    """Counts for each partition, int64[P], and a row for each pair of neighbours.

    An *exit* is a node that a cross edge leaves, an *entry* one where a cross edge arrives. `boundary` bool[n] marks
    both. The neighbours of partition p are the rows from `neighbor_first[p]` (int64[P + 1]) to `neighbor_first[p + 1]`,
    in ascending order of `neighbor`. Row i is about partition `neighbor[i]` (int32): `neighbor_out[i]` edges lead there
    from `neighbor_exits[i]` nodes of p, and `neighbor_in[i]` edges arrive from there at `neighbor_entries[i]` nodes of
    p.
    """

    nodes: Int64Array
    internal_edges: Int64Array
    cross_edges_out: Int64Array
    cross_edges_in: Int64Array
    entries: Int64Array
    exits: Int64Array
    boundary: BoolArray
    neighbor_first: Int64Array
    neighbor: Int32Array
    neighbor_out: Int64Array
    neighbor_in: Int64Array
    neighbor_exits: Int64Array
    neighbor_entries: Int64Array

    @property
    def cross_edges(self) -> int:
        """The number of edges between partitions."""
        return int(self.cross_edges_out.sum())

    @property
    def cross_edge_share(self) -> float:
        """The share of cross edges in all edges, 0 if there are no edges."""
        edges = self.cross_edges + int(self.internal_edges.sum())
        return self.cross_edges / edges if edges else 0.0

    @property
    def boundary_nodes(self) -> int:
        """The number of nodes that are ends of cross edges."""
        return int(np.count_nonzero(self.boundary))

    def strongest_neighbors(self, partition: int, count: int) -> Int64Array:
        """Return the rows of the `count` neighbours of a partition with the most cross edges, int64[k], most first."""
        rows = np.arange(self.neighbor_first[partition], self.neighbor_first[partition + 1])
        edges = self.neighbor_out[rows] + self.neighbor_in[rows]
        return rows[np.lexsort((rows, -edges))[:count]]


def report(graph: Graph, partition_first: Int32Array) -> PartitionReport:
    """Count a graph whose nodes are numbered by partition: p has partition_first[p] to partition_first[p + 1] - 1.

    `partition_first` is int32[P + 1]. Takes 16 bytes for each cross edge, and time to sort the cross edges.
    """
    partitions = len(partition_first) - 1
    partition_of = np.repeat(np.arange(partitions, dtype=np.int32), np.diff(partition_first))
    internal, cross_tail, cross_head = _split_edges(graph.first_out, graph.head, partition_of, partitions)
    exit_of, entry_of = partition_of[cross_tail], partition_of[cross_head]
    is_exit, is_entry = np.zeros(graph.node_count, np.bool_), np.zeros(graph.node_count, np.bool_)
    is_exit[cross_tail] = True
    is_entry[cross_head] = True
    out_pairs, out_edges, out_nodes = _count_pairs(exit_of, entry_of, cross_tail, partitions)
    in_pairs, in_edges, in_nodes = _count_pairs(entry_of, exit_of, cross_head, partitions)
    pairs = np.union1d(out_pairs, in_pairs)
    rows_out, rows_in = np.searchsorted(pairs, out_pairs), np.searchsorted(pairs, in_pairs)
    own, other = np.divmod(pairs, max(partitions, 1))
    neighbor_first = np.zeros(partitions + 1, np.int64)
    np.cumsum(np.bincount(own, minlength=partitions), out=neighbor_first[1:])
    return PartitionReport(
        nodes=np.diff(partition_first).astype(np.int64),
        internal_edges=internal,
        cross_edges_out=np.bincount(exit_of, minlength=partitions).astype(np.int64),
        cross_edges_in=np.bincount(entry_of, minlength=partitions).astype(np.int64),
        entries=np.bincount(partition_of[is_entry], minlength=partitions).astype(np.int64),
        exits=np.bincount(partition_of[is_exit], minlength=partitions).astype(np.int64),
        boundary=is_exit | is_entry,
        neighbor_first=neighbor_first,
        neighbor=other.astype(np.int32),
        neighbor_out=_placed(rows_out, out_edges, len(pairs)),
        neighbor_in=_placed(rows_in, in_edges, len(pairs)),
        neighbor_exits=_placed(rows_out, out_nodes, len(pairs)),
        neighbor_entries=_placed(rows_in, in_nodes, len(pairs)),
    )


def warnings_of(graph: Graph, outcome: PartitionReport, trials: Sequence[Trial]) -> list[str]:
    """Return warnings to the user about a graph and its partitioning, with figures.

    `trials` are the outcomes of other strategies, tried because the partitioning is poor, the best first.
    """
    warnings = []
    share = outcome.cross_edge_share
    if share > CROSS_EDGE_SHARE_POOR and len(outcome.nodes) > 1:
        warnings.append(
            f"{share:.0%} of the edges cross partitions and {outcome.boundary_nodes:,} of {graph.node_count:,} nodes "
            f"are ends of such edges: plans stay exact, but take longer{_advice(share, trials)}"
        )
    if sum_may_round(graph):
        warnings.append(
            "the costs are whole numbers, but a path's could add up to more than 2^53: such a plan's cost is exact "
            "to a relative 1e-9, not to the last digit"
        )
    return warnings


def _advice(share: float, trials: Sequence[Trial]) -> str:
    if not trials:
        return ""
    best = trials[0]
    if best.cross_edge_share <= TRIAL_BETTER_SHARE * share:
        return (
            f"; strategy {best.strategy}, tried on this graph, cuts {best.cross_edge_share:.1%} into as many "
            f"partitions ({best.boundary_nodes:,} nodes are ends)"
        )
    tried = " and ".join(f"{trial.strategy} ({trial.cross_edge_share:.0%})" for trial in trials)
    return f"; {tried}, tried on this graph, cut hardly fewer into as many partitions"


def sum_may_round(graph: Graph) -> bool:
    """Return whether all costs are whole numbers, but those of a path of n - 1 edges could add up to more than 2^53."""
    if graph.edge_count == 0 or float(graph.weight.max()) * (graph.node_count - 1) <= WHOLE_SUM_MAX:
        return False
    return bool((np.floor(graph.weight) == graph.weight).all())


@kernel
def _split_edges(
    first_out: Int64Array, head: Int32Array, partition_of: Int32Array, partitions: int
) -> tuple[Int64Array, Int32Array, Int32Array]:
    internal = np.zeros(partitions, np.int64)
    crossing = 0
    for node in range(len(first_out) - 1):
        for edge in range(first_out[node], first_out[node + 1]):
            if partition_of[node] == partition_of[head[edge]]:
                internal[partition_of[node]] += 1
            else:
                crossing += 1
    cross_tail, cross_head = np.empty(crossing, np.int32), np.empty(crossing, np.int32)
    place = 0
    for node in range(len(first_out) - 1):
        for edge in range(first_out[node], first_out[node + 1]):
            if partition_of[node] != partition_of[head[edge]]:
                cross_tail[place], cross_head[place] = node, head[edge]
                place += 1
    return internal, cross_tail, cross_head


def _count_pairs(
    own: Int32Array, other: Int32Array, own_node: Int32Array, partitions: int
) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Return each pair of partitions (as own * P + other), its number of edges, and how many own nodes have one."""
    pair = own.astype(np.int64) * partitions + other
    by_pair = np.lexsort((own_node, pair))
    pair, node = pair[by_pair], own_node[by_pair]
    pair_starts = np.ones(len(pair), np.bool_)
    pair_starts[1:] = pair[1:] != pair[:-1]
    node_starts = pair_starts.copy()
    node_starts[1:] |= node[1:] != node[:-1]
    starts = np.flatnonzero(pair_starts)
    edges = np.diff(np.append(starts, len(pair)))
    nodes = np.add.reduceat(node_starts.astype(np.int64), starts) if len(starts) else np.zeros(0, np.int64)
    return pair[starts], edges.astype(np.int64), nodes


def _placed(rows: Int64Array, counts: Int64Array, size: int) -> Int64Array:
    placed = np.zeros(size, np.int64)
    placed[rows] = counts
    return placed
