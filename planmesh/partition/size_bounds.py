"""Groups that are no sensible partitions are split or merged to a size bound, and it is said with figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from planmesh.graph.model import PARTITIONS_MAX, BoolArray, Graph, Int32Array, Int64Array
from planmesh.kernels import kernel
from planmesh.partition.groups import Groups, unique
from planmesh.partition.mincut import cut_adjacency, induced, symmetrised
from planmesh.partition.quotient import Quotient, quotient_of

NODES_MAX_DEFAULT: Final = 16_384
"""Nodes of a partition: its index is then built in about a second and rebuilt as fast after a change."""

HALF_NODES_MIN: Final = 256
"""A group of half the graph is split only above so many nodes; below, cutting it up wins nothing."""

PARTITIONS_OF_SMALL: Final = 4_096
"""A group is small when more than so many of its size would fit into the graph ..."""

SMALL_NODES_MAX: Final = 256
"""... but one of so many nodes is not, unless the graph would then have too many partitions."""

MERGED_NODES: Final = 1_024
"""Size that small groups are merged to."""

FILL: Final = 0.75
"""Share of the bound that parts are cut to, so that METIS's imbalance stays under it."""

NAMED_MAX: Final = 5
"""Groups that a warning names; the others are counted."""


@dataclass(frozen=True, slots=True)
class SizeBounds:
    """How many nodes a partition may have.

    Groups below `nodes_min` are merged, towards `merged_nodes`; groups above `nodes_max` are split.
    """

    nodes_min: int
    nodes_max: int
    merged_nodes: int

    @classmethod
    def for_graph(cls, nodes: int) -> SizeBounds:
        """Return the bounds for a graph of so many nodes: 2 to 256 (more over 12 M nodes), and 16,384."""
        too_many = -(-nodes // (PARTITIONS_MAX // 2))
        nodes_min = max(2, min(nodes // PARTITIONS_OF_SMALL, SMALL_NODES_MAX), too_many)
        merged = max(nodes_min, min(MERGED_NODES, nodes // 16))
        return cls(nodes_min, max(NODES_MAX_DEFAULT, 4 * nodes_min), merged)


def split_large(graph: Graph, groups: Groups, nodes_max: int, kind: str) -> tuple[Groups, list[str]]:
    """Split every group of more than `nodes_max` nodes along few edges into parts within the bound."""
    size = groups.size()
    large = np.flatnonzero(size > nodes_max)
    if len(large) == 0:
        return groups, []
    first, neighbor = symmetrised(graph.first_out, graph.head)
    of = groups.of.copy()
    names, regions, told = list(groups.names), [], []
    local_number = np.full(graph.node_count, -1, np.int32)
    for group in large.tolist():
        nodes = np.flatnonzero(groups.of == group).astype(np.int32)
        inner_first, inner = induced(first, neighbor, nodes, local_number)
        partition_of = cut_to_bound(
            inner_first, inner, np.ones(len(nodes), np.int64), nodes_max, int(nodes_max * FILL) or 1
        )
        partitions = int(partition_of.max()) + 1
        of[nodes[partition_of > 0]] = len(names) + partition_of[partition_of > 0] - 1
        name = groups.names[group]
        names[group] = f"{name}.1"
        names.extend(f"{name}.{partition + 1}" for partition in range(1, partitions))
        regions.extend([group] * (partitions - 1))
        told.append(
            f"{kind} {name!r} has {len(nodes):,} of {graph.node_count:,} nodes ({len(nodes) / graph.node_count:.0%}), "
            f"over the bound of {nodes_max:,}: split into {partitions} partitions"
        )
    region = None
    if groups.region is not None:
        region = np.concatenate([groups.region, groups.region[np.asarray(regions, np.int64)]]).astype(np.int32)
    if len(told) > NAMED_MAX:
        told[NAMED_MAX:] = [
            f"{len(told) - NAMED_MAX} more {kind}s over the bound of {nodes_max:,} nodes were split too"
        ]
    return Groups(of, unique(names), region), told


def cut_to_bound(
    first: Int64Array, neighbor: Int32Array, weight: Int64Array, weight_max: int, weight_wanted: int
) -> Int32Array:
    """Cut a symmetric adjacency into parts of at most `weight_max`, about `weight_wanted`: int32[n], none empty.

    What METIS leaves over the bound is cut again; what it cannot cut is cut in order, so the bound always holds
    (no single weight may exceed it).
    """
    count = len(weight)
    partitions = min(count, max(1, -(-int(weight.sum()) // weight_wanted)))
    partition_of = cut_adjacency(first, neighbor, partitions, node_weight=weight)
    partition_weight = np.bincount(partition_of, weights=weight, minlength=partitions)
    for partition in np.flatnonzero(partition_weight > weight_max).tolist():
        nodes = np.flatnonzero(partition_of == partition).astype(np.int32)
        if len(nodes) == count:  # METIS found nothing to cut
            inner_partition = _in_order(weight, weight_max)
        else:
            inner_first, inner = induced(first, neighbor, nodes, np.full(count, -1, np.int32))
            inner_partition = cut_to_bound(inner_first, inner, weight[nodes], weight_max, weight_wanted)
        moved = inner_partition > 0
        partition_of[nodes[moved]] = partitions + inner_partition[moved] - 1
        partitions += int(inner_partition.max())
    return partition_of


def _in_order(weight: Int64Array, weight_max: int) -> Int32Array:
    partition_of = np.empty(len(weight), np.int32)
    partition, filled = 0, 0
    for i, one in enumerate(weight.tolist()):
        if filled and filled + one > weight_max:
            partition, filled = partition + 1, 0
        partition_of[i] = partition
        filled += one
    return partition_of


def merge_small(graph: Graph, groups: Groups, bounds: SizeBounds, kind: str) -> tuple[Groups, list[str]]:
    """Merge every group below `bounds.nodes_min` nodes, within its region where there are regions.

    One whose strongest neighbour is no small group joins it, as long as that one stays mostly itself. The others
    are put together, along few edges, into partitions of about `bounds.merged_nodes`, named "small.1" and so on.
    """
    size = groups.size()
    small = size < bounds.nodes_min
    if not small.any() or len(groups) == 1:
        return groups, []
    quotient = quotient_of(graph, groups.of, len(groups))
    region = np.zeros(len(groups), np.int32) if groups.region is None else groups.region
    joined = join_strongest(quotient.first, quotient.neighbor, quotient.edges, size, small, region, bounds.nodes_max)
    target = np.where(joined >= 0, joined, np.arange(len(groups))).astype(np.int32)
    pool = small & (joined < 0)
    names = list(groups.names)
    pools = [np.flatnonzero(pool & (region == one)).astype(np.int32) for one in np.unique(region[pool]).tolist()]
    alone = [members for members in pools if size[members].sum() < bounds.nodes_min]
    pools = [members for members in pools if size[members].sum() >= bounds.nodes_min]
    if alone and small.all():  # nothing larger to join
        pools.append(np.concatenate(alone))
    elif alone:
        _join_larger(target, np.concatenate(alone), quotient, small, region, bounds.nodes_max)
    pooled_partitions = 0
    for members in pools:
        partition_of = _cut_pool(quotient, members, size, bounds)
        for partition in range(int(partition_of.max()) + 1):
            pooled_partitions += 1
            same = members[partition_of == partition]
            target[same] = same[0]
            names[same[0]] = f"small.{pooled_partitions}"
    pooled = sum(len(members) for members in pools)
    joining = int(np.count_nonzero(small & ~small[target]))
    told = (
        f"{int(small.sum()):,} {kind}s of fewer than {bounds.nodes_min:,} nodes each "
        f"({int(size[small].sum()):,} nodes in all): {joining:,} joined a larger one, "
        f"{pooled:,} were merged into {pooled_partitions:,} partitions"
    )
    return _regrouped(groups, target, names), [told]


def _cut_pool(quotient: Quotient, members: Int32Array, size: Int64Array, bounds: SizeBounds) -> Int32Array:
    """Put the members of a pool together, along few edges, into parts of about `bounds.merged_nodes`."""
    first, neighbor = induced(quotient.first, quotient.neighbor, members, np.full(len(quotient), -1, np.int32))
    return cut_to_bound(first, neighbor, size[members], bounds.nodes_max, bounds.merged_nodes)


@kernel
def join_strongest(
    first: Int64Array,
    neighbor: Int32Array,
    edges: Int64Array,
    size: Int64Array,
    small: BoolArray,
    region: Int32Array,
    nodes_max: int,
) -> Int32Array:
    """Return for each small group the larger one that it joins, or -1: int32[k].

    That is the neighbour in its region with most edges to it. A group takes in at most as many nodes as it has, and
    stays within `nodes_max`.
    """
    joined = np.full(len(size), -1, np.int32)
    room = np.minimum(size, nodes_max - size)
    for group in range(len(size)):
        if not small[group]:
            continue
        strongest, most = -1, 0
        for i in range(first[group], first[group + 1]):
            if region[neighbor[i]] == region[group] and edges[i] > most:
                strongest, most = neighbor[i], edges[i]
        if strongest >= 0 and not small[strongest] and room[strongest] >= size[group]:
            joined[group] = strongest
            room[strongest] -= size[group]
    return joined


def _join_larger(
    target: Int32Array,
    members: Int32Array,
    quotient: Quotient,
    small: BoolArray,
    region: Int32Array,
    nodes_max: int,
) -> None:
    """Let the few nodes of a pool too small to stand alone join a larger group: a neighbour, or the smallest one.

    One of the same region is preferred. Where all are full, the small group stays.
    """
    size = np.bincount(target, weights=quotient.size, minlength=len(quotient)).astype(np.int64)
    larger = np.flatnonzero(~small).tolist()
    for member in members.tolist():
        own_size = int(quotient.size[member])
        around = slice(quotient.first[member], quotient.first[member + 1])
        borders = dict(zip(quotient.neighbor[around].tolist(), quotient.edges[around].tolist(), strict=True))
        choices = [
            (bool(region[other] != region[member]), -borders.get(other, 0), int(size[other]), other)
            for other in ([other for other in borders if not small[other]] or larger)
            if size[other] + own_size <= nodes_max
        ]
        if choices:
            target[member] = min(choices)[-1]
            size[target[member]] += own_size


def reduce_to(graph: Graph, groups: Groups, partitions: int, kind: str) -> tuple[Groups, list[str]]:
    """Merge groups along few edges until there are `partitions`; within regions while each region keeps one."""
    if partitions <= 0 or len(groups) <= partitions:
        return groups, []
    quotient = quotient_of(graph, groups.of, len(groups))
    regions = np.zeros(len(groups), np.int32) if groups.region is None else groups.region
    distinct = np.unique(regions)
    if len(distinct) > partitions:
        regions, distinct = np.zeros(len(groups), np.int32), np.zeros(1, np.int32)
    share = _shares([int((regions == region).sum()) for region in distinct.tolist()], partitions)
    target = np.arange(len(groups), dtype=np.int32)
    names = list(groups.names)
    for region, count in zip(distinct.tolist(), share, strict=True):
        members = np.flatnonzero(regions == region).astype(np.int32)
        first, neighbor, edges = _induced_with_edges(quotient, members)
        partition_of = cut_adjacency(first, neighbor, count, node_weight=quotient.size[members], edge_weight=edges)
        for partition in range(count):
            same = members[partition_of == partition]
            largest = int(same[np.argmax(quotient.size[same])])
            target[same] = largest
            if len(same) > 1:
                names[largest] = f"{groups.names[largest]}+{len(same) - 1}"
    told = f"{len(groups):,} {kind}s were merged into the {partitions:,} partitions asked for"
    return _regrouped(groups, target, names), [told]


def _induced_with_edges(quotient: Quotient, members: Int32Array) -> tuple[Int64Array, Int32Array, Int64Array]:
    local_number = np.full(len(quotient), -1, np.int32)
    first, neighbor = induced(quotient.first, quotient.neighbor, members, local_number)
    inside = np.zeros(len(quotient), np.bool_)
    inside[members] = True
    edges = [
        quotient.edges[quotient.first[one] : quotient.first[one + 1]][
            inside[quotient.neighbor[quotient.first[one] : quotient.first[one + 1]]]
        ]
        for one in members.tolist()
    ]
    return first, neighbor, np.concatenate(edges) if edges else np.zeros(0, np.int64)


def _shares(counts: Sequence[int], total: int) -> list[int]:
    """Share out `total` in proportion to the counts: at least 1 each, at most the count (largest remainder)."""
    exact = [count * total / sum(counts) for count in counts]
    share = [max(1, min(count, int(one))) for one, count in zip(exact, counts, strict=True)]
    while sum(share) > total:
        share[max(range(len(share)), key=lambda i: (share[i] > 1, share[i] - exact[i]))] -= 1
    while sum(share) < total:
        share[max(range(len(share)), key=lambda i: (share[i] < counts[i], exact[i] - share[i]))] += 1
    return share


def _regrouped(groups: Groups, target: Int32Array, names: Sequence[str]) -> Groups:
    """Make the groups that point to one target a group, called by the target's name."""
    assert np.array_equal(target[target], target), "a group that others join joins none itself"
    kept, number = np.unique(target, return_inverse=True)
    region = None if groups.region is None else groups.region[kept]
    return Groups(number.astype(np.int32)[groups.of], unique([names[group] for group in kept.tolist()]), region)
