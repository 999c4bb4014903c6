"""Search inside one partition: to its overlay nodes, and between two of its nodes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array, UInt8Array
from planmesh.kernels import kernel
from planmesh.search.hierarchy import (
    PATH_ROOM,
    Hierarchy,
    PathSpace,
    SearchSpace,
    climb_all,
    end_path,
    expand_ascent,
    expand_descent,
    make_path,
    make_path_space,
    make_search_space,
    reset_search,
    start_path,
)
from planmesh.search.partition_index import OverlayShare, PartitionIndex
from planmesh.search.unpack import SegmentArrays, costs_of, meet_inside, short_segments, unpack

DOMINATED = -2
"""Stands in `parent_edge` of an overlay node that is reached more cheaply over another one."""

SEGMENTS_NODES_MAX = 1_024
"""Ways to overlay nodes are told with their distances as long as all of them together have no more nodes: whoever plans
then need not ask again for the one that is taken."""


class LocalLabels(NamedTuple):
    """What a search to the overlay found.

    `nodes` int32[k] are overlay numbers, `distances` float64[k] theirs, `settled` the number of nodes settled.
    `segments` are k segments, from the node to each overlay node or backward from each to it; None when they are long.
    """

    nodes: Int32Array
    distances: Float64Array
    settled: int
    segments: SegmentArrays | None


@kernel
def _mark_dominated(share: OverlayShare, space: SearchSpace, numbers: Int32Array, backward: bool) -> None:
    """Mark labelled overlay nodes that an edge from the label of another one betters: no best path enters there."""
    for position in range(len(numbers)):
        number = numbers[position]
        node = share.node[number]
        for edge in range(share.first_out[number], share.first_out[number + 1]):
            other = share.node[share.head[edge]]
            if backward:
                if space.distance[other] + share.weight[edge] < space.distance[node]:
                    space.parent_edge[node] = DOMINATED
            elif space.distance[node] + share.weight[edge] < space.distance[other]:
                space.parent_edge[other] = DOMINATED


@kernel
def _expand_segments(
    hierarchy: Hierarchy,
    space: SearchSpace,
    paths: PathSpace,
    node: int,
    tops: Int32Array,
    backward: bool,
    segments_nodes_max: int,
    path_room: int,
) -> tuple[Int32Array, Float64Array, Int32Array]:
    """Return the SegmentArrays between `node` and `tops`, for which it has labels; no lengths when they are long."""
    path = make_path(path_room)
    lengths = np.empty(len(tops), np.int32)
    end = 0
    for position in range(len(tops)):
        begin = end
        top = tops[position]
        path, end = start_path(path, paths, begin, top if backward else node)
        if backward:
            path, end = expand_descent(hierarchy, space, paths, path, end, top)
        else:
            path, end = expand_ascent(hierarchy, space, paths, path, end, top)
        end_path(path, paths, begin, end)
        lengths[position] = end - begin
        if end > segments_nodes_max:
            return np.empty(0, np.int32), np.empty(0, np.float64), np.empty(0, np.int32)
    return path.node[:end].copy(), costs_of(path, lengths), lengths


@kernel
def _search_to_overlay(
    hierarchy: Hierarchy,
    share: OverlayShare,
    space: SearchSpace,
    idle: SearchSpace,
    paths: PathSpace,
    node: int,
    backward: bool,
    segments_nodes_max: int,
    path_room: int,
) -> tuple[Int32Array, Float64Array, int, Int32Array, Float64Array, Int32Array]:
    touched_count, settled = climb_all(hierarchy, space, idle, node, backward)
    numbers = np.empty(touched_count, np.int32)
    count = 0
    for position in range(touched_count):
        number = share.number[space.touched[position]]
        if number >= 0:
            numbers[count] = number
            count += 1
    numbers = numbers[:count]
    _mark_dominated(share, space, numbers, backward)
    nodes = np.empty(count, np.int32)
    tops = np.empty(count, np.int32)
    distances = np.empty(count, np.float64)
    kept = 0
    for position in range(count):
        label = share.node[numbers[position]]
        if space.parent_edge[label] != DOMINATED:
            nodes[kept] = numbers[position]
            tops[kept] = label
            distances[kept] = space.distance[label]
            kept += 1
    segment_nodes, segment_costs, segment_lengths = _expand_segments(
        hierarchy, space, paths, node, tops[:kept], backward, segments_nodes_max, path_room
    )
    reset_search(space, touched_count)
    return nodes[:kept], distances[:kept], settled, segment_nodes, segment_costs, segment_lengths


@kernel
def _meet(
    hierarchy: Hierarchy, forward: SearchSpace, backward: SearchSpace, start: int, goal: int
) -> tuple[float, int]:
    start_count, goal_count, best, _, settled = meet_inside(hierarchy, forward, backward, start, goal)
    reset_search(forward, start_count)
    reset_search(backward, goal_count)
    return best, settled


class LocalSearch:
    """Searches over indexes of any size with memory that is used again and again. One for each thread."""

    def __init__(self, segments_nodes_max: int = SEGMENTS_NODES_MAX, path_room: int = PATH_ROOM) -> None:
        """Take the bound of the segments that come with distances, and the room that a path has at first."""
        self._segments_nodes_max = segments_nodes_max
        self._path_room = path_room
        self._node_count = -1
        self._reserve(0)

    def search(self, index: PartitionIndex, node: int, backward: bool) -> LocalLabels:
        """Distances from local node `node` to overlay nodes, or backward from overlay nodes to it, and the segments.

        Overlay nodes that no cheapest path leaves the partition's interior at are left out; an overlay node's only
        answer is itself.
        """
        self._check(index, node)
        nodes, distances, settled, segment_nodes, segment_costs, segment_lengths = _search_to_overlay(
            index.hierarchy,
            index.overlay_share,
            self._forward,
            self._idle,
            self._paths,
            node,
            backward,
            self._segments_nodes_max,
            self._path_room,
        )
        segments = (
            SegmentArrays(segment_nodes, segment_costs, segment_lengths) if len(segment_lengths) == len(nodes) else None
        )
        return LocalLabels(nodes, distances, settled, segments)

    def meet(self, index: PartitionIndex, start: int, goal: int) -> tuple[float, int]:
        """Cost of the cheapest way from `start` to `goal` (another node) among contracted nodes, and the nodes settled.

        It may touch one overlay node where that is cheaper, but takes no overlay edge; infinite if there is no such
        way. What leads over overlay edges is the overlay search's to find.
        """
        self._check(index, start)
        self._check(index, goal)
        cost, settled = _meet(index.hierarchy, self._forward, self._backward, start, goal)
        return cost, settled

    def unpack(self, index: PartitionIndex, kinds: UInt8Array, first: Int32Array, second: Int32Array) -> SegmentArrays:
        """Expand segments of a path into the partition's edges; see `planmesh.search.unpack`.

        `kinds` uint8[k] are SegmentKinds, `first` and `second` int32[k] their ends: local nodes, but overlay numbers at
        the overlay's end. Raises ValueError if no way leads along one.
        """
        self._reserve(index.node_count)
        return unpack(
            index, kinds, first, second, (self._forward, self._backward, self._idle), self._paths, self._path_room
        )

    def short_segments(
        self, index: PartitionIndex, edges_max: int, total_max: int
    ) -> tuple[Int32Array, Float64Array, Int32Array]:
        """The segments of at most `edges_max` edges along the shortcuts between a partition's overlay nodes.

        Returns their nodes int32[] one after another (local numbers; the head included, the tail not), the costs
        float64[] of the edges that lead to them, and int32[m] how many are those of each overlay edge: 0 for edges of
        the graph and for longer segments. If all of them have more than `total_max` edges, none is returned.
        """
        self._reserve(index.node_count)
        return short_segments(index.hierarchy, index.overlay_share, self._paths, edges_max, total_max, self._path_room)

    def _check(self, index: PartitionIndex, node: int) -> None:
        if not 0 <= node < index.node_count:
            raise ValueError(f"expected a local node below {index.node_count}, got {node}")
        self._reserve(index.node_count)

    def _reserve(self, node_count: int) -> None:
        if node_count <= self._node_count:
            return
        self._node_count = node_count
        self._forward = make_search_space(node_count)
        self._backward = make_search_space(node_count)
        self._idle = make_search_space(node_count)
        self._paths = make_path_space(node_count)
