"""Checks of the structure of indexes and overlays. An index or overlay that passes is safe to search and expand.

Kernels do not check bounds, so data that may be damaged is checked here first. The checks raise nothing; they return
Faults. `planmesh.search.index_proof` checks the distances.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from planmesh.graph.model import INVALID_ID, BoolArray, Float64Array, Int32Array, Int64Array
from planmesh.search.certificate import RELATIVE_TOLERANCE
from planmesh.search.hierarchy import Hierarchy
from planmesh.search.overlay import Overlay
from planmesh.search.partition_index import PartitionIndex
from planmesh.search.verification_kernels import sums_of_halves


class Fault(NamedTuple):
    """All faults that one check found in one place.

    `times` is their number. `expected`, `found` and `nodes` describe the first; `nodes` use the numbering of the
    checked arrays.
    """

    check: str
    expected: str
    found: str
    times: int = 1
    nodes: tuple[int, ...] = ()


class EdgeList(NamedTuple):
    """Edges in any order: `tail`, `head`, `middle` int32[m], `weight` float64[m]; middle -1 is an edge of the graph."""

    tail: Int32Array
    head: Int32Array
    weight: Float64Array
    middle: Int32Array


def adjacency_faults(
    name: str, first: Int32Array | Int64Array, end: Int32Array, weight: Float64Array, node_count: int
) -> list[Fault]:
    """Check firsts, ends and costs of an adjacency array whose ends are nodes below `node_count`.

    Shapes and dtypes: first int32 or int64[n + 1], end int32[m], weight float64[m].
    """
    if len(end) != len(weight):
        return [Fault("shape", f"{name}: as many costs as ends", f"{len(end)} ends and {len(weight)} costs")]
    if len(first) == 0 or first[0] != 0 or first[-1] != len(end) or bool(np.any(first[1:] < first[:-1])):
        return [Fault("firsts", f"{name}: firsts that ascend from 0 to {len(end)}", "others")]
    outside = (end < 0) | (end >= node_count)
    wrong = ~(np.isfinite(weight) & (weight >= 0.0))
    return [
        *_faults("range", outside, lambda at: (f"{name}: ends below {node_count}", str(end[at]))),
        *_faults("costs", wrong, lambda at: (f"{name}: costs that are finite and not negative", str(weight[at]))),
    ]


def ascending_rows_faults(name: str, first: Int32Array | Int64Array, head: Int32Array) -> list[Fault]:
    """Check that the heads of each node's edges are strictly ascending.

    The array has passed `adjacency_faults`. A fault names the tail.
    """
    tail = owners(first)
    return _faults(
        "rows",
        (tail[1:] == tail[:-1]) & (head[1:] <= head[:-1]),
        lambda at: (f"{name}: heads of each node in ascending order", f"{head[at]} before {head[at + 1]}"),
        lambda at: (int(tail[at]),),
    )


def rank_faults(rank: Int32Array) -> list[Fault]:
    """Check that the ranks of k contracted nodes are 0 to k - 1, each once, and those of the others -1."""
    order = np.sort(rank[rank != INVALID_ID])
    wrong = order != np.arange(len(order), dtype=np.int32)
    return _faults("rank", wrong, lambda at: (f"the rank {at} once, or -1", f"{order[at]} in its place"))


def hierarchy_faults(hierarchy: Hierarchy, *, core_edges: bool) -> list[Fault]:
    """Check a hierarchy of n nodes: firsts, ends, costs, ranks, directions, middles, and the halves of every shortcut.

    `core_edges` permits edges between nodes that were not contracted, as in an overlay.
    """
    node_count = len(hierarchy.rank)
    faults = rank_faults(hierarchy.rank)
    for name, first, end, weight, middle in (
        ("up", hierarchy.up_first, hierarchy.up_head, hierarchy.up_weight, hierarchy.up_middle),
        ("down", hierarchy.down_first, hierarchy.down_tail, hierarchy.down_weight, hierarchy.down_middle),
    ):
        if len(first) != node_count + 1 or len(middle) != len(end):
            faults.append(Fault("shape", f"{name}: {node_count + 1} firsts and a middle for each end", "others"))
            continue
        faults += adjacency_faults(name, first, end, weight, node_count)
        faults += _middle_range_faults(name, middle, node_count)
    if faults:
        return faults
    for name, edges in (("up", up_edges(hierarchy)), ("down", down_edges(hierarchy))):
        faults += _direction_faults(name, hierarchy.rank, edges, is_up=name == "up", core_edges=core_edges)
        faults += shortcut_faults(name, hierarchy, edges)
    return faults


def shortcut_faults(name: str, hierarchy: Hierarchy, edges: EdgeList) -> list[Fault]:
    """Check that the middle of every shortcut was contracted before both ends, and that its halves add up to its cost.

    Ends and middles of `edges` and of the hierarchy are in range.
    """
    rank = hierarchy.rank
    over = np.flatnonzero(edges.middle != INVALID_ID)
    tail, head, middle, weight = edges.tail[over], edges.head[over], edges.middle[over], edges.weight[over]
    height = np.where(rank == INVALID_ID, np.int64(len(rank)), rank.astype(np.int64))
    late = (rank[middle] == INVALID_ID) | (height[middle] >= height[tail]) | (height[middle] >= height[head])

    def nodes(at: int) -> tuple[int, ...]:
        return int(tail[at]), int(middle[at]), int(head[at])

    def late_texts(at: int) -> tuple[str, str]:
        return f"{name}: a middle contracted before both ends", f"the rank {rank[middle[at]]}"

    def missing_texts(_: int) -> tuple[str, str]:
        return f"{name}: both halves of a shortcut at its middle", "one half or none"

    def wrong_texts(at: int) -> tuple[str, str]:
        return f"{name}: the sum of the halves of a shortcut, {float(sums[at])!r}", repr(float(weight[at]))

    sums = sums_of_halves(hierarchy, tail, head, middle, weight)
    missing = sums < 0.0
    wrong = ~missing & (np.abs(sums - weight) > RELATIVE_TOLERANCE * sums)
    return [
        *_faults("middle", late, late_texts, nodes),
        *_faults("halves", missing, missing_texts, nodes),
        *_faults("sum", wrong, wrong_texts, nodes),
    ]


def original_faults(
    name: str, edges: EdgeList, first: Int32Array | Int64Array, head: Int32Array, weight: Float64Array
) -> list[Fault]:
    """Check that every edge without a middle is an edge of the graph and has its cost.

    The graph: first int32 or int64[n + 1], head int32[m], weight float64[m], heads of each node ascending.
    """
    node_count = np.int64(max(len(first) - 1, 1))
    keys = owners(first).astype(np.int64) * node_count + head
    own = np.flatnonzero(edges.middle == INVALID_ID)
    tail, end, cost = edges.tail[own], edges.head[own], edges.weight[own]
    wanted = tail.astype(np.int64) * node_count + end
    if len(keys) == 0:
        exists = np.zeros(len(wanted), np.bool_)
        costs = np.zeros(len(wanted))
    else:
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        exists = keys[place] == wanted
        costs = weight[place]

    def nodes(at: int) -> tuple[int, ...]:
        return int(tail[at]), int(end[at])

    def missing_texts(_: int) -> tuple[str, str]:
        return f"{name}: an edge of the graph", "none between these nodes"

    def wrong_texts(at: int) -> tuple[str, str]:
        return f"{name}: the cost of the graph's edge, {float(costs[at])!r}", repr(float(cost[at]))

    return [
        *_faults("edge", ~exists, missing_texts, nodes),
        *_faults("edge cost", exists & (costs != cost), wrong_texts, nodes),
    ]


def index_faults(
    index: PartitionIndex, first: Int32Array | Int64Array, head: Int32Array, weight: Float64Array
) -> list[Fault]:
    """Check the index of a partition of n nodes against the partition's internal edges.

    The edges: first int32 or int64[n + 1], head int32[m], weight float64[m], in local numbers, already checked. If
    there is no fault, searches and expansions of the index terminate and stay inside its arrays.
    """
    faults = _numbering_faults(index)
    if len(index.rank) != len(first) - 1 or index.node_count != len(first) - 1:
        faults.append(Fault("shape", f"an index of {len(first) - 1} nodes", f"one of {len(index.rank)}"))
    if faults:
        return faults
    count = index.overlay_count
    if len(index.overlay_middle) != len(index.overlay_head):
        faults.append(Fault("shape", "overlay: a middle for each end", f"{len(index.overlay_middle)}"))
    faults += adjacency_faults("overlay", index.overlay_first_out, index.overlay_head, index.overlay_weight, count)
    faults += _middle_range_faults("overlay", index.overlay_middle, index.node_count)
    if faults:
        return faults
    faults = hierarchy_faults(index.hierarchy, core_edges=False)
    if any(fault.check in {"shape", "firsts", "range", "rank"} for fault in faults):
        return faults
    remaining = remaining_edges(index)
    faults += shortcut_faults("overlay", index.hierarchy, remaining)
    for name, edges in (
        ("up", up_edges(index.hierarchy)),
        ("down", down_edges(index.hierarchy)),
        ("overlay", remaining),
    ):
        faults += original_faults(name, edges, first, head, weight)
    return faults


def overlay_faults(overlay: Overlay) -> list[Fault]:
    """Check level 1 of an overlay, and the other levels against it.

    If there is no fault, searches and expansions of the overlay terminate and stay inside its arrays.
    """
    count = overlay.node_count
    faults = adjacency_faults("level 1", overlay.first_out, overlay.head, overlay.weight, count)
    if not faults:
        faults = ascending_rows_faults("level 1", overlay.first_out, overlay.head)
    faults += hierarchy_faults(overlay.hierarchy, core_edges=True)
    if faults:
        return faults
    for name, edges in (("up", up_edges(overlay.hierarchy)), ("down", down_edges(overlay.hierarchy))):
        faults += original_faults(name, edges, overlay.first_out, overlay.head, overlay.weight)
    return faults


def owners(first: Int32Array | Int64Array) -> Int32Array:
    """Return the node that each edge of an adjacency array belongs to, int32[m]."""
    return np.repeat(np.arange(len(first) - 1, dtype=np.int32), np.diff(first))


def up_edges(hierarchy: Hierarchy) -> EdgeList:
    """Return the edges that lead upward, and those of `up_*` between nodes that were not contracted."""
    return EdgeList(owners(hierarchy.up_first), hierarchy.up_head, hierarchy.up_weight, hierarchy.up_middle)


def down_edges(hierarchy: Hierarchy) -> EdgeList:
    """Return the edges that lead downward, and those of `down_*` between nodes that were not contracted."""
    return EdgeList(hierarchy.down_tail, owners(hierarchy.down_first), hierarchy.down_weight, hierarchy.down_middle)


def remaining_edges(index: PartitionIndex) -> EdgeList:
    """Return the edges between the overlay nodes of a partition, in local numbers."""
    tail = index.overlay_node[owners(index.overlay_first_out)]
    return EdgeList(tail, index.overlay_node[index.overlay_head], index.overlay_weight, index.overlay_middle)


def _numbering_faults(index: PartitionIndex) -> list[Fault]:
    """Check that `overlay_node` and `overlay_number` are inverses, and that exactly the other nodes have a rank."""
    node, number, count = index.overlay_node, index.overlay_number, index.overlay_count
    if bool(np.any((node < 0) | (node >= len(number)))) or bool(np.any(node[1:] <= node[:-1])):
        return [Fault("numbers", f"overlay nodes that ascend below {len(number)}", "others")]
    wanted = np.full(len(number), INVALID_ID, np.int32)
    wanted[node] = np.arange(count, dtype=np.int32)
    faults = _faults(
        "numbers", number != wanted, lambda at: (f"overlay number {wanted[at]}", str(number[at])), lambda at: (at,)
    )
    if faults:
        return faults
    if len(index.rank) != len(number):
        return [Fault("shape", f"a rank for each of {len(number)} nodes", f"{len(index.rank)}")]
    return _faults(
        "rank",
        (index.rank == INVALID_ID) != (number != INVALID_ID),
        lambda at: ("-1 for overlay nodes and a rank for all others", str(index.rank[at])),
        lambda at: (at,),
    )


def _direction_faults(name: str, rank: Int32Array, edges: EdgeList, *, is_up: bool, core_edges: bool) -> list[Fault]:
    """Check that each edge connects the node that it belongs to with a node contracted later or not at all."""
    own, other = (edges.tail, edges.head) if is_up else (edges.head, edges.tail)
    of_core = rank[own] == INVALID_ID
    above = rank[other] == INVALID_ID
    wrong = np.where(of_core, ~above | (not core_edges), ~above & (rank[other] <= rank[own]))
    return _faults(
        "direction",
        wrong,
        lambda at: (f"{name}: an end contracted after rank {rank[own[at]]}", f"one of rank {rank[other[at]]}"),
        lambda at: (int(edges.tail[at]), int(edges.head[at])),
    )


def _middle_range_faults(name: str, middle: Int32Array, node_count: int) -> list[Fault]:
    outside = (middle < INVALID_ID) | (middle >= node_count)
    return _faults("range", outside, lambda at: (f"{name}: middles below {node_count}, or -1", str(middle[at])))


def _faults(
    check: str,
    wrong: BoolArray,
    texts: Callable[[int], tuple[str, str]],
    nodes: Callable[[int], tuple[int, ...]] = lambda _: (),
) -> list[Fault]:
    """Return one fault for all positions that are `wrong` (bool[m]), described at the first; none if there are none.

    `texts` returns what was expected at a position and what was found, `nodes` the nodes concerned.
    """
    if not wrong.any():
        return []
    at = int(np.argmax(wrong))
    return [Fault(check, *texts(at), int(np.count_nonzero(wrong)), nodes(at))]
