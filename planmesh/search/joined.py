"""All indexes of a graph joined into one hierarchy: the search of a process that holds the whole graph.

The top core comes first, the overlay's levels below it, the contracted nodes of partitions last, each before those that
were contracted earlier, so that the few nodes which most searches climb to lie side by side. Every shortcut knows the
two edges that it stands for. What the mesh does in two local searches, one of the overlay and the unpacking at workers
is here one search and one expansion, over the same edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from planmesh.graph.model import INF_COST, INVALID_ID, Float64Array, Int32Array, Int64Array
from planmesh.search.hierarchy import (
    Hierarchy,
    SearchSpace,
    make_search_space,
    reset_search,
)
from planmesh.search.overlay import Overlay
from planmesh.search.overlay_search import find_meeting
from planmesh.search.partition_index import PartitionIndex
from planmesh.search.read_only import read_only


class Parts(NamedTuple):
    """The two edges that each shortcut stands for, -1 for an edge of the graph.

    `up_lower` and `down_lower` int32 are positions of the first one among the `down` edges, `up_upper` and `down_upper`
    of the second among the `up` edges, both edges of the shortcut's middle.
    """

    up_lower: Int32Array
    up_upper: Int32Array
    down_lower: Int32Array
    down_upper: Int32Array


class JoinedIndex(NamedTuple):
    """The joined hierarchy of n nodes; `number` int32[n] is its number of each node, `node` int32[n] the inverse."""

    hierarchy: Hierarchy
    parts: Parts
    number: Int32Array
    node: Int32Array


class Scratch(NamedTuple):
    """The path that is put together, and what that takes; between uses `place` is -1 throughout."""

    node: Int32Array
    cost: Float64Array
    place: Int32Array
    stack_edge: Int32Array
    stack_head: Int32Array
    chain: Int32Array


def _make_scratch(node_count: int) -> Scratch:
    """Memory for paths over up to n nodes. A stack holds at most one entry for each rank, and one more."""
    return Scratch(
        np.empty(node_count, np.int32),
        np.empty(node_count, np.float64),
        np.full(node_count, -1, np.int32),
        np.empty(node_count + 2, np.int32),
        np.empty(node_count + 2, np.int32),
        np.empty(node_count + 1, np.int32),
    )


def join(
    indexes: Sequence[PartitionIndex],
    partition_first: Int32Array | Int64Array,
    overlay: Overlay,
    overlay_global: Int32Array,
) -> JoinedIndex:
    """Join the indexes of all partitions and their overlay.

    The nodes of partition p are `partition_first[p]` (int32 or int64[P + 1]) and following; `overlay_global` (int32[k])
    is the number of each overlay node among them.
    """
    first = np.asarray(partition_first, np.int64)
    shortcuts = _LevelOneShortcuts(indexes, first)
    rank = np.concatenate([np.empty(0, np.int32), *(index.rank for index in indexes)])
    above = int(rank.max(initial=INVALID_ID)) + 1
    core = above + int(overlay.rank.max(initial=INVALID_ID)) + 1
    rank[overlay_global] = np.where(overlay.rank == INVALID_ID, core, overlay.rank + above)
    node = np.argsort(-rank, kind="stable").astype(np.int32)
    number = np.empty_like(node)
    number[node] = np.arange(len(node), dtype=np.int32)
    rank = rank[node]
    rank[rank == core] = INVALID_ID
    sides = []
    for side, end in (("up", "head"), ("down", "tail")):
        lower = _lower_edges(indexes, first, side, end)
        upper = _upper_edges(overlay, overlay_global, side, end, shortcuts)
        sides.append(_sorted(number, lower, upper))
    hierarchy = Hierarchy(read_only(rank, np.int32), *sides[0], *sides[1])
    return JoinedIndex(hierarchy, Parts(*(read_only(part, np.int32) for part in _find_parts(hierarchy))), number, node)


class _Edges(NamedTuple):
    """Edges of nodes: the node that each belongs to, its other end, its weight, its middle."""

    owner: Int32Array
    end: Int32Array
    weight: Float64Array
    middle: Int32Array


def _joined(parts: Sequence[_Edges]) -> _Edges:
    columns: list[Any] = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return _Edges(*columns)


def _lower_edges(indexes: Sequence[PartitionIndex], first: Int64Array, side: str, end: str) -> _Edges:
    """The edges of all contracted nodes of partitions."""
    none = np.empty(0, np.int32)
    parts = [_Edges(none, none, np.empty(0, np.float64), none)]
    for index, base in zip(indexes, first[:-1].astype(np.int32), strict=True):
        middle = getattr(index, f"{side}_middle")
        counts = np.diff(getattr(index, f"{side}_first"))
        owner = np.repeat(np.arange(index.node_count, dtype=np.int32), counts) + base
        end_node = getattr(index, f"{side}_{end}") + base
        over = np.where(middle == INVALID_ID, np.int32(INVALID_ID), middle + base)
        parts.append(_Edges(owner, end_node, getattr(index, f"{side}_weight"), over))
    return _joined(parts)


def _upper_edges(
    overlay: Overlay, overlay_global: Int32Array, side: str, end: str, shortcuts: _LevelOneShortcuts
) -> _Edges:
    """The edges of overlay nodes; those of level 1 get the middle that they have in their partition."""
    owner = np.repeat(overlay_global, np.diff(getattr(overlay, f"{side}_first")))
    end_node = overlay_global[getattr(overlay, f"{side}_{end}")]
    over = getattr(overlay, f"{side}_middle")
    middle = overlay_global[over]
    level_one = np.flatnonzero(over == INVALID_ID)
    ends = owner[level_one], end_node[level_one]
    middle[level_one] = shortcuts.middles(*(ends if side == "up" else ends[::-1]))
    return _Edges(owner, end_node, getattr(overlay, f"{side}_weight"), middle)


def _sorted(
    number: Int32Array, lower: _Edges, upper: _Edges
) -> tuple[Int32Array, Int32Array, Float64Array, Int32Array]:
    """First, ends, weights and middles of all edges, in the joined numbers."""
    edges = _joined([lower, upper])
    if len(edges.owner) >= 2**31:
        raise ValueError(f"expected fewer than 2^31 edges in a joined index, got {len(edges.owner)}")
    owner = number[edges.owner]
    order = np.argsort(owner, kind="stable")
    first = np.zeros(len(number) + 1, np.int32)
    np.cumsum(np.bincount(owner, minlength=len(number)), out=first[1:])
    middle = edges.middle[order]
    return (
        read_only(first, np.int32),
        read_only(number[edges.end[order]], np.int32),
        read_only(edges.weight[order], np.float64),
        read_only(np.where(middle == INVALID_ID, np.int32(INVALID_ID), number[middle]), np.int32),
    )


class _LevelOneShortcuts:
    """Looks up which shortcut of a partition an edge of level 1 is."""

    def __init__(self, indexes: Sequence[PartitionIndex], first: Int64Array) -> None:
        self._node_count = int(first[-1])
        keys, middles = [np.empty(0, np.int64)], [np.empty(0, np.int32)]
        for index, base in zip(indexes, first[:-1], strict=True):
            part = index.overlay_part
            is_shortcut = part.middle != INVALID_ID
            tails = np.repeat(part.node, np.diff(part.first_out))[is_shortcut] + base
            heads = part.node[part.head[is_shortcut]] + base
            keys.append(tails * self._node_count + heads)
            middles.append((part.middle[is_shortcut] + base).astype(np.int32))
        key = np.concatenate(keys)
        order = np.argsort(key)
        self._key = key[order]
        self._middle = np.concatenate(middles)[order]

    def middles(self, tails: Int32Array, heads: Int32Array) -> Int32Array:
        """The middle of each edge, -1 of one that is no partition's shortcut."""
        wanted = tails.astype(np.int64) * self._node_count + heads
        found = np.full(len(wanted), INVALID_ID, np.int32)
        if len(self._key):
            place = np.minimum(np.searchsorted(self._key, wanted), len(self._key) - 1)
            same = self._key[place] == wanted
            found[same] = self._middle[place[same]]
        return found


@njit(nogil=True, cache=True)
def _find_parts(hierarchy: Hierarchy) -> tuple[Int32Array, Int32Array, Int32Array, Int32Array]:
    """The arrays of `Parts`."""
    up_count, down_count = len(hierarchy.up_head), len(hierarchy.down_tail)
    up_lower, up_upper = np.full(up_count, -1, np.int32), np.full(up_count, -1, np.int32)
    down_lower, down_upper = np.full(down_count, -1, np.int32), np.full(down_count, -1, np.int32)
    for node in range(len(hierarchy.rank)):
        for edge in range(hierarchy.up_first[node], hierarchy.up_first[node + 1]):
            middle = hierarchy.up_middle[edge]
            if middle >= 0:
                up_lower[edge] = _position(hierarchy.down_first, hierarchy.down_tail, middle, node)
                up_upper[edge] = _position(hierarchy.up_first, hierarchy.up_head, middle, hierarchy.up_head[edge])
        for edge in range(hierarchy.down_first[node], hierarchy.down_first[node + 1]):
            middle = hierarchy.down_middle[edge]
            if middle >= 0:
                down_lower[edge] = _position(
                    hierarchy.down_first, hierarchy.down_tail, middle, hierarchy.down_tail[edge]
                )
                down_upper[edge] = _position(hierarchy.up_first, hierarchy.up_head, middle, node)
    return up_lower, up_upper, down_lower, down_upper


@njit(nogil=True, cache=True)
def _position(first: Int32Array, ends: Int32Array, node: int, end: int) -> int:
    for edge in range(first[node], first[node + 1]):
        if ends[edge] == end:
            return edge
    raise AssertionError("a shortcut's middle has lost one of its edges")


@njit(nogil=True, cache=True)
def _expand(hierarchy: Hierarchy, parts: Parts, scratch: Scratch, end: int, edge: int, head: int) -> int:
    """Append the edges of the graph that an edge to `head` stands for; the path's new end.

    An `up` edge is given as its position, a `down` edge as -1 - its position. Where the path has been at a node before,
    the (free) loop since then is cut.
    """
    stack_edge, stack_head, place = scratch.stack_edge, scratch.stack_head, scratch.place
    path_node, path_cost = scratch.node, scratch.cost
    up_lower, up_upper, up_middle, up_weight = parts.up_lower, parts.up_upper, hierarchy.up_middle, hierarchy.up_weight
    down_lower, down_upper = parts.down_lower, parts.down_upper
    down_middle, down_weight = hierarchy.down_middle, hierarchy.down_weight
    stack_edge[0] = edge
    stack_head[0] = head
    depth = 1
    while depth > 0:
        depth -= 1
        edge = stack_edge[depth]
        if edge >= 0:
            lower, upper, middle, weight = up_lower[edge], up_upper[edge], up_middle[edge], up_weight[edge]
        else:
            edge = -1 - edge
            lower, upper, middle, weight = down_lower[edge], down_upper[edge], down_middle[edge], down_weight[edge]
        if lower >= 0:
            stack_edge[depth] = upper
            stack_edge[depth + 1] = -1 - lower
            stack_head[depth + 1] = middle
            depth += 2
            continue
        node = stack_head[depth]
        before = place[node]
        if before >= 0:
            for position in range(before + 1, end):
                place[path_node[position]] = -1
            end = before + 1
        else:
            path_node[end] = node
            path_cost[end] = weight
            place[node] = end
            end += 1
    return end


@njit(nogil=True, cache=True)
def _path_over(
    hierarchy: Hierarchy, parts: Parts, forward: SearchSpace, backward: SearchSpace, scratch: Scratch, meeting: int
) -> int:
    """Put the way over the node where both searches met into `scratch`; returns its length."""
    count = 0
    node = meeting
    while forward.parent[node] >= 0:
        scratch.chain[count] = node
        count += 1
        node = forward.parent[node]
    scratch.node[0] = node
    scratch.place[node] = 0
    end = 1
    for position in range(count - 1, -1, -1):
        node = scratch.chain[position]
        end = _expand(hierarchy, parts, scratch, end, forward.parent_edge[node], node)
    node = meeting
    while backward.parent[node] >= 0:
        edge = backward.parent_edge[node]
        node = backward.parent[node]
        end = _expand(hierarchy, parts, scratch, end, -1 - edge, node)
    for position in range(end):
        scratch.place[scratch.node[position]] = -1
    return end


@njit(nogil=True, cache=True)
def _path(
    index: JoinedIndex, forward: SearchSpace, backward: SearchSpace, scratch: Scratch, start: int, goal: int
) -> tuple[Int32Array, Float64Array]:
    from_start, from_goal, distance = np.empty(1, np.int32), np.empty(1, np.int32), np.zeros(1, np.float64)
    from_start[0] = index.number[start]
    from_goal[0] = index.number[goal]
    start_count, goal_count, _, meeting, _ = find_meeting(
        index.hierarchy, forward, backward, from_start, distance, from_goal, distance, float(INF_COST)
    )
    nodes, costs = np.empty(0, np.int32), np.empty(0, np.float64)
    if meeting >= 0:
        end = _path_over(index.hierarchy, index.parts, forward, backward, scratch, meeting)
        nodes = index.node[scratch.node[:end]]
        costs = scratch.cost[1:end].copy()
    reset_search(forward, start_count)
    reset_search(backward, goal_count)
    return nodes, costs


class JoinedSearch:
    """Searches in a joined index, with memory that is used again and again. One for each thread."""

    def __init__(self, index: JoinedIndex) -> None:
        self._index = index
        self._node_count = len(index.node)
        self._forward = make_search_space(self._node_count)
        self._backward = make_search_space(self._node_count)
        self._scratch = _make_scratch(self._node_count)

    def path(self, start: int, goal: int) -> tuple[Int32Array, Float64Array]:
        """Return the nodes int32[k] of a cheapest path and the costs float64[k - 1] of its edges.

        Both are empty when there is no path; from a node to itself it is that node. Raises ValueError for a node that
        is not there.
        """
        if not (0 <= start < self._node_count and 0 <= goal < self._node_count):
            raise ValueError(f"expected nodes below {self._node_count}, got {start} and {goal}")
        nodes, costs = _path(self._index, self._forward, self._backward, self._scratch, start, goal)
        return nodes, costs
