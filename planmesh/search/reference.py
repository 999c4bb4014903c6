"""Plain searches of the whole graph, slow but simple. Tests compare all other searches with them."""

from __future__ import annotations

import numpy as np

from planmesh.graph.model import Float64Array, Graph, Int32Array, Int64Array
from planmesh.kernels import kernel
from planmesh.search.hierarchy import SearchSpace, make_search_space, reset_search
from planmesh.search.node_queue import make_node_queue, queue_pop, queue_put
from planmesh.search.read_only import read_only


@kernel
def _dijkstra(
    first_out: Int64Array, head: Int32Array, weight: Float64Array, source: int
) -> tuple[Float64Array, Int32Array, int]:
    node_count = len(first_out) - 1
    distance = np.full(node_count, np.inf)
    parent = np.full(node_count, -1, np.int32)
    queue = make_node_queue(node_count)
    distance[source] = 0.0
    queue_put(queue, source, 0.0)
    settled = 0
    while queue.size[0] > 0:
        node = queue_pop(queue)
        settled += 1
        for edge in range(first_out[node], first_out[node + 1]):
            reached = distance[node] + weight[edge]
            if reached < distance[head[edge]]:
                distance[head[edge]] = reached
                parent[head[edge]] = node
                queue_put(queue, head[edge], reached)
    return distance, parent, settled


def dijkstra(
    first_out: Int32Array | Int64Array, head: Int32Array, weight: Float64Array, source: int
) -> tuple[Float64Array, Int32Array, int]:
    """Compute the distances from one node to all (Dijkstra 1959).

    The graph: first_out int32 or int64[n + 1], head int32[m], weight float64[m]. Returns distances float64[n], infinite
    where there is no path; parents int32[n], -1 at the source and where there is no path; and the number of settled
    nodes. Raises ValueError for a source that is not a node.
    """
    if not 0 <= source < len(first_out) - 1:
        raise ValueError(f"expected a node below {len(first_out) - 1}, got {source}")
    return _dijkstra(read_only(first_out, np.int64), read_only(head, np.int32), read_only(weight, np.float64), source)


@kernel
def _reversed_edges(
    first_out: Int64Array, head: Int32Array, weight: Float64Array
) -> tuple[Int64Array, Int32Array, Float64Array]:
    node_count = len(first_out) - 1
    first = np.zeros(node_count + 2, np.int64)
    for edge in range(len(head)):
        first[head[edge] + 2] += 1
    for node in range(node_count):
        first[node + 2] += first[node + 1]
    tail = np.empty(len(head), np.int32)
    cost = np.empty(len(head), np.float64)
    for node in range(node_count):
        for edge in range(first_out[node], first_out[node + 1]):
            place = first[head[edge] + 1]
            first[head[edge] + 1] += 1
            tail[place] = node
            cost[place] = weight[edge]
    return first[: node_count + 1].copy(), tail, cost


@kernel(inline=True)
def _settle(
    first_out: Int64Array,
    head: Int32Array,
    weight: Float64Array,
    space: SearchSpace,
    other: SearchSpace,
    touched_count: int,
    best: float,
    meeting: int,
) -> tuple[int, float, int]:
    node = queue_pop(space.queue)
    for edge in range(first_out[node], first_out[node + 1]):
        above = head[edge]
        reached = space.distance[node] + weight[edge]
        if reached < space.distance[above]:
            if space.distance[above] == np.inf:
                space.touched[touched_count] = above
                touched_count += 1
            space.distance[above] = reached
            space.parent[above] = node
            queue_put(space.queue, above, reached)
            if reached + other.distance[above] < best:
                best = reached + other.distance[above]
                meeting = above
    return touched_count, best, meeting


@kernel
def _begin(space: SearchSpace, node: int) -> None:
    space.touched[0] = node
    space.distance[node] = 0.0
    space.parent[node] = -1
    queue_put(space.queue, node, 0.0)


@kernel
def _bidirectional(
    first_out: Int64Array,
    head: Int32Array,
    weight: Float64Array,
    first_in: Int64Array,
    tail: Int32Array,
    weight_in: Float64Array,
    forward: SearchSpace,
    backward: SearchSpace,
    start: int,
    goal: int,
) -> tuple[float, Int32Array, int]:
    _begin(forward, start)
    _begin(backward, goal)
    start_count, goal_count = 1, 1
    best, meeting, settled = np.inf, -1, 0
    if start == goal:
        best, meeting = 0.0, start
    ahead, behind = forward.queue, backward.queue
    while ahead.size[0] > 0 and behind.size[0] > 0:
        if ahead.key[0] + behind.key[0] >= best:
            break
        settled += 1
        if ahead.size[0] <= behind.size[0]:
            start_count, best, meeting = _settle(first_out, head, weight, forward, backward, start_count, best, meeting)
        else:
            goal_count, best, meeting = _settle(first_in, tail, weight_in, backward, forward, goal_count, best, meeting)
    path = np.empty(0, np.int32)
    if meeting >= 0:
        before, after = 1, 0
        node = meeting
        while forward.parent[node] >= 0:
            node = forward.parent[node]
            before += 1
        node = meeting
        while backward.parent[node] >= 0:
            node = backward.parent[node]
            after += 1
        path = np.empty(before + after, np.int32)
        node = meeting
        for position in range(before - 1, -1, -1):
            path[position] = node
            node = forward.parent[node]
        node = meeting
        for position in range(before, before + after):
            node = backward.parent[node]
            path[position] = node
    reset_search(forward, start_count)
    reset_search(backward, goal_count)
    return best, path, settled


class BidirectionalDijkstra:
    """Cheapest paths on one graph, without an index. It is not thread-safe."""

    def __init__(self, graph: Graph) -> None:
        """Take a graph and build its reverse: 12 bytes an edge, and 80 bytes a node for labels and firsts."""
        edges = (
            read_only(graph.first_out, np.int64),
            read_only(graph.head, np.int32),
            read_only(graph.weight, np.float64),
        )
        reverse = _reversed_edges(*edges)
        self._edges = (
            *edges,
            read_only(reverse[0], np.int64),
            read_only(reverse[1], np.int32),
            read_only(reverse[2], np.float64),
        )
        self._node_count = graph.node_count
        self._forward = make_search_space(graph.node_count)
        self._backward = make_search_space(graph.node_count)

    def cost(self, start: int, goal: int) -> float:
        """Return the cost of the cheapest path, infinite if there is none. Raises ValueError for an unknown node."""
        return self.path(start, goal)[0]

    def path(self, start: int, goal: int) -> tuple[float, Int32Array]:
        """Return cost and nodes (int32[k], both ends included) of a cheapest path; infinite and none if there is none.

        Raises ValueError for a number that is not a node's.
        """
        for node in (start, goal):
            if not 0 <= node < self._node_count:
                raise ValueError(f"expected a node below {self._node_count}, got {node}")
        cost, path, _ = _bidirectional(*self._edges, self._forward, self._backward, start, goal)
        return cost, path
