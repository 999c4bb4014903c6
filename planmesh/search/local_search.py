"""Search inside one partition: from a node to its overlay nodes and back, and between two of its nodes."""

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
from planmesh.search.index_list import IndexList
from planmesh.search.partition_index import OverlayShare, PartitionIndex
from planmesh.search.unpack import SegmentArrays, costs_of, meet_inside, short_segments, unpack

DOMINATED = -2
"""The `parent_edge` of an overlay node that can be reached at less cost through another overlay node."""

SEGMENTS_NODES_MAX = 1_024
"""Most nodes of all segments to overlay nodes together that are returned with the distances. The coordinator then needs
no second round trip for the segment that the plan uses."""

NO_SEGMENTS = -1
"""In place of that bound: no segment is expanded."""


class LocalLabels(NamedTuple):
    """The result of a search to the overlay.

    `nodes` int32[k] are overlay numbers with their `distances` float64[k]; `settled` is the number of settled nodes.
    `segments` are k segments: from the node to each overlay node, or, of a backward search, from each overlay node to
    the node. It is None when the segments together exceed their bound, or were left out.
    """

    nodes: Int32Array
    distances: Float64Array
    settled: int
    segments: SegmentArrays | None


@kernel
def mark_dominated(share: OverlayShare, space: SearchSpace, numbers: Int32Array, backward: bool) -> None:
    """Mark labelled overlay nodes that an overlay edge from another label reaches at less cost.

    No cheapest path enters the overlay there.
    """
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
    """Return the arrays of the segments between `node` and the labelled `tops`.

    All arrays are empty when the segments together have more than `segments_nodes_max` nodes.
    """
    if segments_nodes_max <= NO_SEGMENTS:
        return np.empty(0, np.int32), np.empty(0, np.float64), np.empty(0, np.int32)
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
def search_to_overlay(
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
    """Return overlay nodes, distances, the number of settled nodes, and segments; see `LocalSearch.search`."""
    touched_count, settled = climb_all(hierarchy, space, idle, node, backward)
    numbers = np.empty(touched_count, np.int32)
    count = 0
    for position in range(touched_count):
        number = share.number[space.touched[position]]
        if number >= 0:
            numbers[count] = number
            count += 1
    numbers = numbers[:count]
    mark_dominated(share, space, numbers, backward)
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
def meet(hierarchy: Hierarchy, forward: SearchSpace, backward: SearchSpace, start: int, goal: int) -> tuple[float, int]:
    """Return the cost of the cheapest path between two nodes, and the nodes settled; see `LocalSearch.meet`."""
    start_count, goal_count, best, _, settled = meet_inside(hierarchy, forward, backward, start, goal)
    reset_search(forward, start_count)
    reset_search(backward, goal_count)
    return best, settled


class LocalSearch:
    """Searches in indexes of any size. Searches reuse its memory, so each thread needs its own.

    The memory grows with the largest index searched so far, and is never released.
    """

    def __init__(self, segments_nodes_max: int = SEGMENTS_NODES_MAX, path_room: int = PATH_ROOM) -> None:
        """Take the bound on the segments that are returned with distances, and the initial room of a path in nodes."""
        self._segments_nodes_max = segments_nodes_max
        self.path_room = path_room
        self._node_count = -1
        self.reserve(0)

    def search(self, index: PartitionIndex, node: int, backward: bool, *, with_segments: bool = True) -> LocalLabels:
        """Return distances and segments from local node `node` to overlay nodes, or backward from overlay nodes to it.

        Overlay nodes where no cheapest path enters (backward: leaves) the overlay are left out. The result for an
        overlay node is that node alone. Unless `with_segments`, no segment is expanded. Raises ValueError for a number
        that is not a node's.
        """
        self._check(index, node)
        nodes, distances, settled, segment_nodes, segment_costs, segment_lengths = search_to_overlay(
            index.hierarchy,
            index.overlay_share,
            self._forward,
            self._idle,
            self._paths,
            node,
            backward,
            self._segments_nodes_max if with_segments else NO_SEGMENTS,
            self.path_room,
        )
        whole = with_segments and len(segment_lengths) == len(nodes)
        segments = SegmentArrays(segment_nodes, segment_costs, segment_lengths) if whole else None
        return LocalLabels(nodes, distances, settled, segments)

    def meet(self, index: PartitionIndex, start: int, goal: int) -> tuple[float, int]:
        """Return the cost of the cheapest path from `start` to `goal` without overlay edges, and the nodes settled.

        `start` and `goal` are different local nodes. The path may pass through one overlay node. The cost is infinite
        if there is no such path; the overlay search finds the paths along overlay edges. Raises ValueError for a number
        that is not a node's.
        """
        self._check(index, start)
        self._check(index, goal)
        cost, settled = meet(index.hierarchy, self._forward, self._backward, start, goal)
        return cost, settled

    def unpack(self, index: PartitionIndex, kinds: UInt8Array, first: Int32Array, second: Int32Array) -> SegmentArrays:
        """Expand segments of a path into the partition's edges.

        `kinds` uint8[k] are SegmentKinds. `first` and `second` int32[k] are the ends of each segment: overlay numbers
        where the kind says overlay node, else local numbers. Raises ValueError for a segment without a path, an unknown
        kind, or an end out of range.
        """
        indexes = IndexList(1)
        places = indexes.places(np.zeros(len(kinds), np.int32), lambda _: index)
        self.reserve(index.node_count)
        spaces = (self._forward, self._backward, self._idle)
        return unpack(indexes, places, kinds, first, second, spaces, self._paths, self.path_room)

    def short_segments(
        self, index: PartitionIndex, edges_max: int, total_max: int
    ) -> tuple[Int32Array, Float64Array, Int32Array]:
        """Expand the shortcuts between a partition's overlay nodes that have at most `edges_max` edges.

        Returns the nodes of the segments one after another, int32[k] (local numbers, each head included and each tail
        not), the costs of the edges to these nodes, float64[k], and the number of nodes of each overlay edge, int32[m]:
        0 for an edge of the graph and for a longer segment. If all segments together have more than `total_max` edges,
        none is returned.
        """
        self.reserve(index.node_count)
        return short_segments(index.hierarchy, index.overlay_share, self._paths, edges_max, total_max, self.path_room)

    def _check(self, index: PartitionIndex, node: int) -> None:
        if not 0 <= node < index.node_count:
            raise ValueError(f"expected a local node below {index.node_count}, got {node}")
        self.reserve(index.node_count)

    @property
    def memory(self) -> tuple[SearchSpace, SearchSpace, SearchSpace, PathSpace]:
        """The labels of a forward and of a backward search, labels that stay empty, and scratch memory for paths."""
        return self._forward, self._backward, self._idle, self._paths

    def reserve(self, node_count: int) -> None:
        """Make room for an index of `node_count` nodes."""
        if node_count <= self._node_count:
            return
        self._node_count = node_count
        self._forward = make_search_space(node_count)
        self._backward = make_search_space(node_count)
        self._idle = make_search_space(node_count)
        self._paths = make_path_space(node_count)
