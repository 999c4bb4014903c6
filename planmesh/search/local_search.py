"""Search inside one partition: to its overlay nodes, and between two of its nodes."""

from __future__ import annotations

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array, UInt8Array
from planmesh.kernels import kernel
from planmesh.search.hierarchy import (
    Hierarchy,
    SearchSpace,
    climb_all,
    make_path_space,
    make_search_space,
    reset_search,
)
from planmesh.search.partition_index import OverlayPart, PartitionIndex
from planmesh.search.unpack import meet_inside, unpack

DOMINATED = -2
"""Stands in `parent_edge` of an overlay node that is reached more cheaply over another one."""


@kernel
def _mark_dominated(part: OverlayPart, space: SearchSpace, numbers: Int32Array, backward: bool) -> None:
    """Mark labelled overlay nodes that an edge from the label of another one betters: no best path enters there."""
    for position in range(len(numbers)):
        number = numbers[position]
        node = part.node[number]
        for edge in range(part.first_out[number], part.first_out[number + 1]):
            other = part.node[part.head[edge]]
            if backward:
                if space.distance[other] + part.weight[edge] < space.distance[node]:
                    space.parent_edge[node] = DOMINATED
            elif space.distance[node] + part.weight[edge] < space.distance[other]:
                space.parent_edge[other] = DOMINATED


@kernel
def _search_to_overlay(
    hierarchy: Hierarchy, part: OverlayPart, space: SearchSpace, idle: SearchSpace, node: int, backward: bool
) -> tuple[Int32Array, Float64Array, int]:
    touched_count, settled = climb_all(hierarchy, space, idle, node, backward)
    numbers = np.empty(touched_count, np.int32)
    count = 0
    for position in range(touched_count):
        number = part.number[space.touched[position]]
        if number >= 0:
            numbers[count] = number
            count += 1
    numbers = numbers[:count]
    _mark_dominated(part, space, numbers, backward)
    nodes = np.empty(count, np.int32)
    distances = np.empty(count, np.float64)
    kept = 0
    for position in range(count):
        label = part.node[numbers[position]]
        if space.parent_edge[label] != DOMINATED:
            nodes[kept] = numbers[position]
            distances[kept] = space.distance[label]
            kept += 1
    reset_search(space, touched_count)
    return nodes[:kept], distances[:kept], settled


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

    def __init__(self) -> None:
        self._node_count = -1
        self._reserve(0)

    def search(self, index: PartitionIndex, node: int, backward: bool) -> tuple[Int32Array, Float64Array, int]:
        """Distances from local node `node` to overlay nodes, or backward from overlay nodes to it.

        Returns overlay numbers int32[k], distances float64[k] and the number of nodes settled. Overlay nodes that no
        cheapest path leaves the partition's interior at are left out; an overlay node's only answer is itself.
        """
        self._check(index, node)
        nodes, distances, settled = _search_to_overlay(
            index.hierarchy, index.overlay_part, self._forward, self._idle, node, backward
        )
        return nodes, distances, settled

    def meet(self, index: PartitionIndex, start: int, goal: int) -> tuple[float, int]:
        """Cost of the cheapest way from `start` to `goal` (another node) among contracted nodes, and the nodes settled.

        It may touch one overlay node where that is cheaper, but takes no overlay edge; infinite if there is no such
        way. What leads over overlay edges is the overlay search's to find.
        """
        self._check(index, start)
        self._check(index, goal)
        cost, settled = _meet(index.hierarchy, self._forward, self._backward, start, goal)
        return cost, settled

    def unpack(
        self, index: PartitionIndex, kinds: UInt8Array, first: Int32Array, second: Int32Array
    ) -> tuple[Int32Array, Float64Array, Int32Array]:
        """Expand stretches of a path into the partition's edges; see `planmesh.search.unpack`.

        `kinds` uint8[k] are SegmentKinds, `first` and `second` int32[k] their ends: local nodes, but overlay numbers at
        the overlay's end. Returns nodes int32[sum of lengths] (local numbers, both ends of each stretch included),
        costs float64[sum of (length - 1)] of the edges, lengths int32[k]. Raises ValueError if no way leads along one.
        """
        self._reserve(index.node_count)
        return unpack(index, kinds, first, second, (self._forward, self._backward, self._idle), self._paths)

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
