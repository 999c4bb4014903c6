"""Expansion of segments inside one partition into the edges of the graph."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array, Int64Array, UInt8Array
from planmesh.kernels import kernel
from planmesh.search.hierarchy import (
    Hierarchy,
    Path,
    PathSpace,
    SearchSpace,
    climb_both,
    climb_to,
    end_path,
    expand_ascent,
    expand_descent,
    expand_edge,
    make_path,
    reset_search,
    seed,
    start_path,
)
from planmesh.search.index_list import IndexList
from planmesh.search.partition_index import OverlayShare
from planmesh.search.read_only import read_only


class SegmentArrays(NamedTuple):
    """k segments of paths, one after another.

    `lengths` int32[k] is the number of nodes of each. `nodes` int32[sum of lengths] are local numbers, both ends of
    each segment included. `costs` float64[sum of (length - 1)] are the costs of the edges.
    """

    nodes: Int32Array
    costs: Float64Array
    lengths: Int32Array


class SegmentKind(IntEnum):
    """The kind of a segment. The numbers are those of planmesh.internal.v1.SegmentKind."""

    START = 1
    """From a local node up to an overlay node."""
    GOAL = 2
    """From an overlay node down to a local node."""
    INNER = 3
    """From a local node to a local node, without overlay edges."""
    EDGE = 4
    """The edge from an overlay node to an overlay node."""


START, GOAL, INNER, EDGE = (int(kind) for kind in SegmentKind)


@kernel
def meet_inside(
    hierarchy: Hierarchy, forward: SearchSpace, backward: SearchSpace, start: int, goal: int
) -> tuple[int, int, float, int, int]:
    """Search upward from both ends among contracted nodes. The labels stay. Returns what `climb_both` returns."""
    start_count = seed(forward, hierarchy.rank, 0, start, 0.0)
    goal_count = seed(backward, hierarchy.rank, 0, goal, 0.0)
    return climb_both(hierarchy, forward, backward, start_count, goal_count, np.inf, -1)


@kernel
def _unpack_climbed(
    hierarchy: Hierarchy,
    spaces: tuple[SearchSpace, SearchSpace, SearchSpace],
    paths: PathSpace,
    path: Path,
    begin: int,
    start: int,
    goal: int,
    top: int,
) -> tuple[Path, int]:
    """Expand the segment from `start` up to `top` and down to `goal`. -1 as `top`: the node where the searches meet.

    Returns the path and its new end, which is `begin` if there is no such path.
    """
    forward, backward, idle = spaces
    start_count = 0
    goal_count = 0
    if top < 0:
        start_count, goal_count, _, top, _ = meet_inside(hierarchy, forward, backward, start, goal)
    else:
        if top != start:
            start_count = climb_to(hierarchy, forward, idle, start, False, top)
        if top != goal:
            goal_count = climb_to(hierarchy, backward, idle, goal, True, top)
    end = begin
    if (
        top >= 0
        and (top == start or forward.distance[top] < np.inf)
        and (top == goal or backward.distance[top] < np.inf)
    ):
        path, end = start_path(path, paths, begin, start)
        if top != start:
            path, end = expand_ascent(hierarchy, forward, paths, path, end, top)
        if top != goal:
            path, end = expand_descent(hierarchy, backward, paths, path, end, top)
        end_path(path, paths, begin, end)
    reset_search(forward, start_count)
    reset_search(backward, goal_count)
    return path, end


@kernel
def _expand_overlay_edge(
    hierarchy: Hierarchy, share: OverlayShare, paths: PathSpace, path: Path, begin: int, tail: int, edge: int
) -> tuple[Path, int]:
    """Expand an overlay edge whose tail has the overlay number `tail`; return the path and its new end."""
    node = share.node[tail]
    path, end = start_path(path, paths, begin, node)
    path, end = expand_edge(
        hierarchy, paths, path, end, node, share.node[share.head[edge]], share.middle[edge], share.weight[edge]
    )
    end_path(path, paths, begin, end)
    return path, end


@kernel
def _unpack_edge(
    hierarchy: Hierarchy, share: OverlayShare, paths: PathSpace, path: Path, begin: int, tail: int, head: int
) -> tuple[Path, int]:
    """Expand the edge between two overlay numbers; return the path and its new end, `begin` if there is no edge."""
    for edge in range(share.first_out[tail], share.first_out[tail + 1]):
        if share.head[edge] == head:
            return _expand_overlay_edge(hierarchy, share, paths, path, begin, tail, edge)
    return path, begin


@kernel
def short_segments(
    hierarchy: Hierarchy, share: OverlayShare, paths: PathSpace, edges_max: int, total_max: int, path_room: int
) -> tuple[Int32Array, Float64Array, Int32Array]:
    """Expand a partition's short shortcuts; see `LocalSearch.short_segments`."""
    path = make_path(path_room)
    lengths = np.zeros(len(share.head), np.int32)
    end = 0
    for tail in range(len(share.first_out) - 1):
        for edge in range(share.first_out[tail], share.first_out[tail + 1]):
            if share.middle[edge] < 0:
                continue
            begin = end
            path, end = _expand_overlay_edge(hierarchy, share, paths, path, begin, tail, edge)
            if end - begin - 1 > edges_max:
                end = begin
                continue
            # The segment is stored without its tail: the nodes after it move up by one.
            end -= 1
            lengths[edge] = end - begin
            for place in range(begin, end):
                path.node[place] = path.node[place + 1]
                path.cost[place] = path.cost[place + 1]
            if end > total_max:
                return np.empty(0, np.int32), np.empty(0, np.float64), np.zeros(len(share.head), np.int32)
    return path.node[:end].copy(), path.cost[:end].copy(), lengths


@kernel
def costs_of(path: Path, lengths: Int32Array) -> Float64Array:
    """Return the costs of the edges of segments that follow one another in a path, float64[sum of (length - 1)]."""
    costs = np.empty(lengths.sum() - len(lengths), np.float64)
    count = 0
    begin = 0
    for length in lengths:
        for place in range(begin + 1, begin + length):
            costs[count] = path.cost[place]
            count += 1
        begin += length
    return costs


@kernel
def _unpack_segment(
    hierarchy: Hierarchy,
    share: OverlayShare,
    spaces: tuple[SearchSpace, SearchSpace, SearchSpace],
    paths: PathSpace,
    path: Path,
    begin: int,
    kind: int,
    one: int,
    two: int,
) -> tuple[Path, int]:
    """Expand a segment between two ends; return the path and its new end, which is `begin` if there is no such path."""
    if kind == START:
        top = share.node[two]
        return _unpack_climbed(hierarchy, spaces, paths, path, begin, one, top, top)
    if kind == GOAL:
        top = share.node[one]
        return _unpack_climbed(hierarchy, spaces, paths, path, begin, top, two, top)
    if kind == INNER:
        return _unpack_climbed(hierarchy, spaces, paths, path, begin, one, two, -1)
    return _unpack_edge(hierarchy, share, paths, path, begin, one, two)


@kernel
def _unpack_segments(
    items: Any,
    places: Int64Array,
    spaces: tuple[SearchSpace, SearchSpace, SearchSpace],
    paths: PathSpace,
    kinds: UInt8Array,
    first: Int32Array,
    second: Int32Array,
    path_room: int,
) -> tuple[Int32Array, Float64Array, Int32Array, int]:
    """Expand segments; see `unpack`. Stops at a segment without a path: the last result is the number expanded."""
    path = make_path(path_room)
    lengths = np.zeros(len(kinds), np.int32)
    end = 0
    done = 0
    for position in range(len(kinds)):
        begin = end
        hierarchy, share = items[places[position]]
        path, end = _unpack_segment(
            hierarchy, share, spaces, paths, path, begin, kinds[position], first[position], second[position]
        )
        if end == begin:
            break
        lengths[position] = end - begin
        done += 1
    return path.node[:end].copy(), costs_of(path, lengths[:done]), lengths, done


def unpack(
    indexes: IndexList,
    places: Int64Array,
    kinds: UInt8Array,
    first: Int32Array,
    second: Int32Array,
    spaces: tuple[SearchSpace, SearchSpace, SearchSpace],
    paths: PathSpace,
    path_room: int,
) -> SegmentArrays:
    """Expand segments of paths into the partitions' edges; see `BatchLocalSearch.unpack_many`.

    `spaces` (forward, backward, and one that stays empty) and `paths` have room for the largest partition's nodes.
    `path_room` is the initial room of a path, in nodes.
    """
    kinds = read_only(kinds, np.uint8)
    first = read_only(first, np.int32)
    second = read_only(second, np.int32)
    _check_ends(indexes, places, kinds, first, second)
    if not len(kinds):
        return SegmentArrays(np.empty(0, np.int32), np.empty(0), np.empty(0, np.int32))
    nodes, costs, lengths, done = _unpack_segments(
        indexes.items, places, spaces, paths, kinds, first, second, path_room
    )
    if done < len(kinds):
        raise ValueError(
            f"expected a path along segment {done}, got none: kind {kinds[done]}, from {first[done]} to {second[done]}"
        )
    return SegmentArrays(nodes, costs, lengths)


def _check_ends(
    indexes: IndexList, places: Int64Array, kinds: UInt8Array, first: Int32Array, second: Int32Array
) -> None:
    """Raise ValueError for arrays of different lengths, an unknown kind of segment, or an end out of range."""
    if not len(kinds) == len(first) == len(second) == len(places):
        raise ValueError(f"expected as many kinds as ends, got {len(kinds)}, {len(first)} and {len(second)}")
    node_counts, overlay_counts = indexes.node_counts(places), indexes.overlay_counts(places)
    is_edge = kinds == EDGE
    first_bound = np.where(is_edge | (kinds == GOAL), overlay_counts, node_counts)
    second_bound = np.where(is_edge | (kinds == START), overlay_counts, node_counts)
    fine = (kinds >= START) & (kinds <= EDGE)
    fine &= (first >= 0) & (first < first_bound) & (second >= 0) & (second < second_bound)
    if fine.all():
        return
    bad = int(np.flatnonzero(~fine)[0])
    if not START <= kinds[bad] <= EDGE:
        raise ValueError(f"expected segment kinds from {START} to {EDGE}, got {kinds[bad]} at segment {bad}")
    raise ValueError(
        f"expected ends among {node_counts[bad]} nodes and {overlay_counts[bad]} overlay nodes, got {first[bad]} and "
        f"{second[bad]} at segment {bad} of kind {kinds[bad]}"
    )
