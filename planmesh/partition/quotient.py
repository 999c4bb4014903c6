"""The quotient graph of groups of nodes: which groups border on each other, and how many edges connect them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from planmesh.graph.model import Graph, Int32Array, Int64Array
from planmesh.kernels import kernel
from planmesh.partition.mincut import cut_adjacency

GROUPS_PER_BLOCK: Final = 4
"""Mean number of groups in a block of METIS, which the order keeps together."""


@dataclass(frozen=True, slots=True)
class Quotient:
    """Group g borders on `neighbor[first[g]:first[g + 1]]`, ascending, over `edges` edges each in either direction.

    Shapes and dtypes: `first` int64[k + 1], `neighbor` int32[e], `edges` int64[e], `size` int64[k] (nodes).
    """

    first: Int64Array
    neighbor: Int32Array
    edges: Int64Array
    size: Int64Array

    def __len__(self) -> int:
        return len(self.size)


def quotient_of(graph: Graph, group_of: Int32Array, groups: int) -> Quotient:
    """Build the quotient of a graph by `group_of`, int32[n] from 0 to groups - 1."""
    first, neighbor, edges, kept = _count_borders(graph.first_out, graph.head, group_of, groups)
    size = np.bincount(group_of, minlength=groups).astype(np.int64)
    return Quotient(first, neighbor[:kept].copy(), edges[:kept].copy(), size)


@kernel
def _count_borders(
    first_out: Int64Array, head: Int32Array, group_of: Int32Array, groups: int
) -> tuple[Int64Array, Int32Array, Int64Array, int]:
    bounds = np.zeros(groups + 1, np.int64)
    for node in range(len(first_out) - 1):
        for edge in range(first_out[node], first_out[node + 1]):
            here, there = group_of[node], group_of[head[edge]]
            if here != there:
                bounds[here + 1] += 1
                bounds[there + 1] += 1
    for group in range(groups):
        bounds[group + 1] += bounds[group]
    found = np.empty(bounds[groups], np.int32)
    place = bounds[:-1].copy()
    for node in range(len(first_out) - 1):
        for edge in range(first_out[node], first_out[node + 1]):
            here, there = group_of[node], group_of[head[edge]]
            if here != there:
                found[place[here]] = there
                place[here] += 1
                found[place[there]] = here
                place[there] += 1
    first = np.zeros(groups + 1, np.int64)
    edges = np.empty(len(found), np.int64)
    kept = 0
    for group in range(groups):
        row = np.sort(found[bounds[group] : bounds[group + 1]])
        for i in range(len(row)):
            if i > 0 and row[i] == row[i - 1]:
                edges[kept - 1] += 1
            else:
                found[kept] = row[i]
                edges[kept] = 1
                kept += 1
        first[group + 1] = kept
    return first, found, edges, kept


def order_by_locality(quotient: Quotient, region_of: Int32Array | None = None) -> Int32Array:
    """Return the groups in an order that keeps neighbours close to each other, int32[k].

    Contiguous ranges of partitions become shards and groups of the overlay, so each range should cover few areas of the
    graph. METIS bisects the quotient recursively, and its block numbers are such an order. With `region_of`, int32[k],
    the groups of a region stay together, and regions are ordered by the mean block of their groups.
    """
    groups = len(quotient)
    blocks = max(1, groups // GROUPS_PER_BLOCK)
    if blocks > 1:
        block_of = cut_adjacency(
            quotient.first,
            quotient.neighbor,
            blocks,
            node_weight=np.maximum(quotient.size, 1),
            edge_weight=quotient.edges,
            recursive=True,
        )
    else:
        block_of = np.zeros(groups, np.int32)
    number = np.arange(groups)
    if region_of is None:
        return np.lexsort((number, block_of)).astype(np.int32)
    regions = int(region_of.max()) + 1 if groups else 0
    counts = np.bincount(region_of, minlength=regions)
    mean_block = np.bincount(region_of, weights=block_of, minlength=regions) / np.maximum(counts, 1)
    return np.lexsort((number, block_of, region_of, mean_block[region_of])).astype(np.int32)
