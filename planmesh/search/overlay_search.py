"""The coordinator's search of the overlay: up its levels from both sides, then across the top core."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from planmesh.graph.model import INF_COST, Float64Array, Int32Array, Int64Array
from planmesh.kernels import kernel
from planmesh.search.hierarchy import (
    PATH_ROOM,
    Hierarchy,
    PathSpace,
    SearchSpace,
    climb_both,
    end_path,
    expand_ascent,
    expand_descent,
    make_path,
    make_path_space,
    make_search_space,
    reset_search,
    seed,
    set_label,
    start_path,
)
from planmesh.search.node_queue import clear_queue, queue_pop, queue_put
from planmesh.search.overlay import Overlay
from planmesh.search.read_only import read_only


@dataclass(frozen=True, slots=True)
class OverlayPath:
    """The result of an overlay search.

    `cost` is infinite if no path costs less than the bound. `nodes` int32[k] are the path's overlay nodes on level 1,
    from the start's side to the goal's. `settled` is the number of settled nodes.
    """

    cost: float
    nodes: Int32Array
    settled: int


class OverlayLabels(NamedTuple):
    """Results of k local searches: overlay nodes with their distances from the start, or to the goal.

    Result i has the positions `first[i]` to `first[i + 1]` - 1 of `node` (int32) and `distance` (float64). `first` is
    int64[k + 1].
    """

    first: Int64Array
    node: Int32Array
    distance: Float64Array


class OverlayPaths(NamedTuple):
    """The results of q overlay searches.

    `cost` float64[q] is infinite where no path costs less than its bound. Path i has the positions `first[i]` to
    `first[i + 1]` - 1 of `node` (int32, level 1, from start to goal); `first` is int64[q + 1]. `settled` int64[q] is
    the number of settled nodes.
    """

    cost: Float64Array
    first: Int64Array
    node: Int32Array
    settled: Int64Array


@kernel
def _seed_all(space: SearchSpace, rank: Int32Array, nodes: Int32Array, distances: Float64Array) -> int:
    touched_count = 0
    for position in range(len(nodes)):
        touched_count = seed(space, rank, touched_count, nodes[position], distances[position])
    return touched_count


@kernel
def _enter_core(
    rank: Int32Array, space: SearchSpace, other: SearchSpace, touched_count: int, best: float, meeting: int
) -> tuple[float, int]:
    """Queue the labelled nodes of the top core; return the best cost and meeting, updated where both sides have labels.

    Drops what the queue held before.
    """
    queue = space.queue
    clear_queue(queue)
    for position in range(touched_count):
        node = space.touched[position]
        if rank[node] < 0:
            queue_put(queue, node, space.distance[node])
            if space.distance[node] + other.distance[node] < best:
                best = space.distance[node] + other.distance[node]
                meeting = node
    return best, meeting


@kernel(inline=True)
def _settle_next(
    first: Int32Array,
    head: Int32Array,
    weight: Float64Array,
    space: SearchSpace,
    other: SearchSpace,
    touched_count: int,
    best: float,
    meeting: int,
) -> tuple[int, float, int]:
    """Settle one node of the top core and label its neighbours in the core."""
    distance, other_distance = space.distance, other.distance
    node = queue_pop(space.queue)
    key = distance[node]
    for edge in range(first[node], first[node + 1]):
        above = head[edge]
        reached = key + weight[edge]
        if reached < distance[above] and reached < best:
            touched_count = set_label(space, touched_count, above, reached, node, edge)
            queue_put(space.queue, above, reached)
            if reached + other_distance[above] < best:
                best = reached + other_distance[above]
                meeting = above
    return touched_count, best, meeting


@kernel
def _search(
    hierarchy: Hierarchy,
    forward: SearchSpace,
    backward: SearchSpace,
    paths: PathSpace,
    start_nodes: Int32Array,
    start_distances: Float64Array,
    goal_nodes: Int32Array,
    goal_distances: Float64Array,
    bound: float,
    path_room: int,
) -> tuple[float, Int32Array, int]:
    rank = hierarchy.rank
    start_count = _seed_all(forward, rank, start_nodes, start_distances)
    goal_count = _seed_all(backward, rank, goal_nodes, goal_distances)
    start_count, goal_count, best, meeting, settled = climb_both(
        hierarchy, forward, backward, start_count, goal_count, bound, -1
    )
    best, meeting = _enter_core(rank, forward, backward, start_count, best, meeting)
    best, meeting = _enter_core(rank, backward, forward, goal_count, best, meeting)
    ahead, behind = forward.queue, backward.queue
    while ahead.size[0] > 0 and behind.size[0] > 0:
        if ahead.key[0] + behind.key[0] >= best:
            break
        settled += 1
        if ahead.size[0] <= behind.size[0]:
            start_count, best, meeting = _settle_next(
                hierarchy.up_first,
                hierarchy.up_head,
                hierarchy.up_weight,
                forward,
                backward,
                start_count,
                best,
                meeting,
            )
        else:
            goal_count, best, meeting = _settle_next(
                hierarchy.down_first,
                hierarchy.down_tail,
                hierarchy.down_weight,
                backward,
                forward,
                goal_count,
                best,
                meeting,
            )
    nodes = np.empty(0, np.int32)
    if meeting >= 0:
        nodes = _overlay_path(hierarchy, forward, backward, paths, meeting, path_room)
    else:
        best = np.inf
    reset_search(forward, start_count)
    reset_search(backward, goal_count)
    return best, nodes, settled


@kernel
def _overlay_path(
    hierarchy: Hierarchy, forward: SearchSpace, backward: SearchSpace, paths: PathSpace, meeting: int, path_room: int
) -> Int32Array:
    """Return the level-1 nodes, int32[k], of the path through the node where the searches meet."""
    node = meeting
    while forward.parent[node] >= 0:
        node = forward.parent[node]
    path = make_path(path_room)
    path, end = start_path(path, paths, 0, node)
    path, end = expand_ascent(hierarchy, forward, paths, path, end, meeting)
    path, end = expand_descent(hierarchy, backward, paths, path, end, meeting)
    end_path(path, paths, 0, end)
    return path.node[:end].copy()


@kernel
def _search_many(
    hierarchy: Hierarchy,
    forward: SearchSpace,
    backward: SearchSpace,
    paths: PathSpace,
    label_first: Int64Array,
    label_node: Int32Array,
    label_distance: Float64Array,
    start: Int32Array,
    goal: Int32Array,
    bound: Float64Array,
    path_room: int,
) -> tuple[Float64Array, Int64Array, Int32Array, Int64Array]:
    count = len(start)
    costs = np.empty(count, np.float64)
    settled = np.empty(count, np.int64)
    path_first = np.zeros(count + 1, np.int64)
    nodes = np.empty(max(count * path_room, 1), np.int32)
    end = 0
    for query in range(count):
        one, two = start[query], goal[query]
        costs[query], path, settled[query] = _search(
            hierarchy,
            forward,
            backward,
            paths,
            label_node[label_first[one] : label_first[one + 1]],
            label_distance[label_first[one] : label_first[one + 1]],
            label_node[label_first[two] : label_first[two + 1]],
            label_distance[label_first[two] : label_first[two + 1]],
            bound[query],
            path_room,
        )
        if end + len(path) > len(nodes):
            longer = np.empty(2 * (end + len(path)), np.int32)
            longer[:end] = nodes[:end]
            nodes = longer
        nodes[end : end + len(path)] = path
        end += len(path)
        path_first[query + 1] = end
    return costs, path_first, nodes[:end].copy(), settled


class OverlaySearch:
    """Searches in overlays of any size. Searches reuse its memory, so each thread needs its own.

    The memory grows with the largest overlay searched so far, and is never released.
    """

    def __init__(self, path_room: int = PATH_ROOM) -> None:
        """Take the initial room of a path, in nodes."""
        self._path_room = path_room
        self._node_count = -1
        self._reserve(0)

    def search(
        self,
        overlay: Overlay,
        start_nodes: Int32Array,
        start_distances: Float64Array,
        goal_nodes: Int32Array,
        goal_distances: Float64Array,
        bound: float = float(INF_COST),
    ) -> OverlayPath:
        """Find the cheapest path from any start node to any goal node (int32[k] overlay nodes, float64[k] distances).

        The bidirectional Dijkstra search of the top core ends when the least keys of both queues add up to the best
        cost found. Paths that cost `bound` or more are ignored; the cost is infinite if there are no others.
        """
        self._reserve(overlay.node_count)
        cost, nodes, settled = _search(
            overlay.hierarchy,
            self._forward,
            self._backward,
            self._paths,
            read_only(start_nodes, np.int32),
            read_only(start_distances, np.float64),
            read_only(goal_nodes, np.int32),
            read_only(goal_distances, np.float64),
            float(bound),
            self._path_room,
        )
        return OverlayPath(cost, nodes, settled)

    def search_many(
        self, overlay: Overlay, labels: OverlayLabels, start: Int32Array, goal: Int32Array, bound: Float64Array
    ) -> OverlayPaths:
        """Find q cheapest paths, each as `search` does, in one call.

        `start` and `goal` int32[q] are positions in `labels`; `bound` is float64[q].
        """
        self._reserve(overlay.node_count)
        return OverlayPaths(
            *_search_many(
                overlay.hierarchy,
                self._forward,
                self._backward,
                self._paths,
                read_only(labels.first, np.int64),
                read_only(labels.node, np.int32),
                read_only(labels.distance, np.float64),
                read_only(start, np.int32),
                read_only(goal, np.int32),
                read_only(bound, np.float64),
                self._path_room,
            )
        )

    def _reserve(self, node_count: int) -> None:
        if node_count <= self._node_count:
            return
        self._node_count = node_count
        self._forward = make_search_space(node_count)
        self._backward = make_search_space(node_count)
        self._paths = make_path_space(node_count)
