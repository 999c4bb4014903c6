"""Searching a contraction hierarchy upward and expanding its shortcuts, for partitions and for the overlay."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array
from planmesh.kernels import kernel
from planmesh.search.node_queue import NodeQueue, clear_queue, least_key, make_node_queue, queue_pop, queue_put


class Hierarchy(NamedTuple):
    """Edges of n nodes by order of contraction.

    `rank` int32[n] is the order of contraction, -1 for nodes that were not contracted. `up_*` are the edges of a node
    to nodes contracted later or not at all, `down_*` the edges into it from such nodes: `*_first` int32[n + 1],
    `up_head` and `down_tail` int32, `*_weight` float64, `*_middle` int32 (the contracted node that a shortcut passes
    through, -1 for an original edge).
    """

    rank: Int32Array
    up_first: Int32Array
    up_head: Int32Array
    up_weight: Float64Array
    up_middle: Int32Array
    down_first: Int32Array
    down_tail: Int32Array
    down_weight: Float64Array
    down_middle: Int32Array


class SearchSpace(NamedTuple):
    """Labels of one search over up to n nodes. Between searches every distance is infinite and the queue is empty.

    `touched` lists the labelled nodes; the caller keeps their number. `parent_edge` is a position in the up edges
    (forward) or the down edges (backward). `parent` and `parent_edge` are -1 at seeds.
    """

    distance: Float64Array
    parent: Int32Array
    parent_edge: Int32Array
    touched: Int32Array
    queue: NodeQueue


class PathSpace(NamedTuple):
    """Scratch memory for expanding paths over up to n nodes. Between uses every `place` is -1."""

    place: Int32Array
    stack_tail: Int32Array
    stack_head: Int32Array
    stack_middle: Int32Array
    stack_weight: Float64Array
    chain: Int32Array


PATH_ROOM = 256
"""Nodes that a path initially has room for. A full path doubles its room."""


class Path(NamedTuple):
    """A growing path: `node` int32, and `cost` float64 of the edge to the node. Both have spare room at the end."""

    node: Int32Array
    cost: Float64Array


@kernel
def make_search_space(node_count: int) -> SearchSpace:
    """Allocate labels for searches over up to n nodes: 36 bytes a node."""
    return SearchSpace(
        np.full(node_count, np.inf),
        np.empty(node_count, np.int32),
        np.empty(node_count, np.int32),
        np.empty(node_count, np.int32),
        make_node_queue(node_count),
    )


@kernel
def make_path_space(node_count: int) -> PathSpace:
    """Allocate scratch memory for paths over up to n nodes. A stack has at most one entry for each rank, plus one."""
    return PathSpace(
        np.full(node_count, -1, np.int32),
        np.empty(node_count + 2, np.int32),
        np.empty(node_count + 2, np.int32),
        np.empty(node_count + 2, np.int32),
        np.empty(node_count + 2, np.float64),
        np.empty(node_count + 1, np.int32),
    )


@kernel
def reset_search(space: SearchSpace, touched_count: int) -> None:
    """Clear the labels of the `touched_count` labelled nodes, and the queue."""
    for position in range(touched_count):
        space.distance[space.touched[position]] = np.inf
    clear_queue(space.queue)


@kernel(inline=True)
def set_label(space: SearchSpace, touched_count: int, node: int, distance: float, parent: int, parent_edge: int) -> int:
    """Set or replace a node's label; return the number of labelled nodes."""
    if space.distance[node] == np.inf:
        space.touched[touched_count] = node
        touched_count += 1
    space.distance[node] = distance
    space.parent[node] = parent
    space.parent_edge[node] = parent_edge
    return touched_count


@kernel
def seed(space: SearchSpace, rank: Int32Array, touched_count: int, node: int, distance: float) -> int:
    """Label a node from which a search starts, and queue it if it is contracted.

    A label that is not cheaper than the node's present one changes nothing. Returns the number of labelled nodes.
    """
    if distance >= space.distance[node]:
        return touched_count
    touched_count = set_label(space, touched_count, node, distance, -1, -1)
    if rank[node] >= 0:
        queue_put(space.queue, node, distance)
    return touched_count


@kernel(inline=True)
def _climb_step(
    hierarchy: Hierarchy,
    space: SearchSpace,
    other: SearchSpace,
    touched_count: int,
    backward: bool,
    best: float,
    meeting: int,
) -> tuple[int, float, int]:
    """Settle the next contracted node and label the nodes above it.

    A backward search follows edges against their direction. A node is not expanded if a labelled node above it reaches
    it at less cost (stall-on-demand). A node that also has a label in `other`, the search from the other side, gives a
    path. Of the paths that cost less than `best`, the cheapest is kept, as its cost and the node where the searches
    meet. Returns the number of labelled nodes, best and meeting.
    """
    if backward:
        first, head, weight = hierarchy.down_first, hierarchy.down_tail, hierarchy.down_weight
        stall_first, stall_head, stall_weight = hierarchy.up_first, hierarchy.up_head, hierarchy.up_weight
    else:
        first, head, weight = hierarchy.up_first, hierarchy.up_head, hierarchy.up_weight
        stall_first, stall_head, stall_weight = hierarchy.down_first, hierarchy.down_tail, hierarchy.down_weight
    distance = space.distance
    node = queue_pop(space.queue)
    key = distance[node]
    if key + other.distance[node] < best:
        best = key + other.distance[node]
        meeting = node
    for edge in range(stall_first[node], stall_first[node + 1]):
        if distance[stall_head[edge]] + stall_weight[edge] < key:
            return touched_count, best, meeting
    for edge in range(first[node], first[node + 1]):
        above = head[edge]
        reached = key + weight[edge]
        if reached < distance[above] and reached < best:
            touched_count = set_label(space, touched_count, above, reached, node, edge)
            if hierarchy.rank[above] >= 0:
                queue_put(space.queue, above, reached)
            elif reached + other.distance[above] < best:
                best = reached + other.distance[above]
                meeting = above
    return touched_count, best, meeting


@kernel
def climb_all(
    hierarchy: Hierarchy, space: SearchSpace, idle: SearchSpace, node: int, backward: bool
) -> tuple[int, int]:
    """Run Dijkstra's search upward from one node through all contracted nodes above it.

    Nodes that were not contracted get labels and are not expanded. `idle` is a search without labels. Returns the
    numbers of labelled and of settled nodes.
    """
    touched_count = seed(space, hierarchy.rank, 0, node, 0.0)
    settled = 0
    while space.queue.size[0] > 0:
        settled += 1
        touched_count, _, _ = _climb_step(hierarchy, space, idle, touched_count, backward, np.inf, -1)
    return touched_count, settled


@kernel
def climb_to(hierarchy: Hierarchy, space: SearchSpace, idle: SearchSpace, node: int, backward: bool, top: int) -> int:
    """Run `climb_all` until the label of `top` is final: no queued node is nearer. Returns the number of labels."""
    touched_count = seed(space, hierarchy.rank, 0, node, 0.0)
    while least_key(space.queue) < space.distance[top]:
        touched_count, _, _ = _climb_step(hierarchy, space, idle, touched_count, backward, np.inf, -1)
    return touched_count


@kernel
def climb_both(
    hierarchy: Hierarchy,
    forward: SearchSpace,
    backward: SearchSpace,
    start_count: int,
    goal_count: int,
    best: float,
    meeting: int,
) -> tuple[int, int, float, int, int]:
    """Run Dijkstra's search upward from the seeds of both sides, while a path that costs less than `best` is possible.

    The side with the lower next key continues. Returns the numbers of labelled nodes of either side, the best cost, the
    node where the searches meet (-1 for none) and the number of settled nodes.
    """
    settled = 0
    while True:
        ahead = least_key(forward.queue)
        behind = least_key(backward.queue)
        if min(ahead, behind) >= best or min(ahead, behind) == np.inf:
            return start_count, goal_count, best, meeting, settled
        settled += 1
        if ahead <= behind:
            start_count, best, meeting = _climb_step(hierarchy, forward, backward, start_count, False, best, meeting)
        else:
            goal_count, best, meeting = _climb_step(hierarchy, backward, forward, goal_count, True, best, meeting)


@kernel
def make_path(room: int) -> Path:
    """Return an empty path with room for `room` nodes (at least 1)."""
    return Path(np.empty(room, np.int32), np.empty(room, np.float64))


@kernel
def _with_room(path: Path, end: int) -> Path:
    """Return the path with room for a node at `end`, copied if it was full."""
    if end < len(path.node):
        return path
    node = np.empty(2 * end, np.int32)
    cost = np.empty(2 * end, np.float64)
    node[:end] = path.node
    cost[:end] = path.cost
    return Path(node, cost)


@kernel
def start_path(path: Path, paths: PathSpace, begin: int, node: int) -> tuple[Path, int]:
    """Start a segment of a path with `node` at position `begin`; return the path and the next position."""
    path = _with_room(path, begin)
    path.node[begin] = node
    path.cost[begin] = 0.0
    paths.place[node] = begin
    return path, begin + 1


@kernel
def end_path(path: Path, paths: PathSpace, begin: int, end: int) -> None:
    """Clear the recorded positions of a segment's nodes, so that the next segment can pass them again."""
    for position in range(begin, end):
        paths.place[path.node[position]] = -1


@kernel
def _extend_path(path: Path, paths: PathSpace, end: int, node: int, cost: float) -> tuple[Path, int]:
    """Append a node to the segment. If the segment already contains it, remove the loop since then, which costs 0."""
    before = paths.place[node]
    if before >= 0:
        for position in range(before + 1, end):
            paths.place[path.node[position]] = -1
        return path, before + 1
    path = _with_room(path, end)
    path.node[end] = node
    path.cost[end] = cost
    paths.place[node] = end
    return path, end + 1


@kernel
def _find_edge(first: Int32Array, ends: Int32Array, node: int, end: int) -> int:
    for edge in range(first[node], first[node + 1]):
        if ends[edge] == end:
            return edge
    raise AssertionError("a shortcut's middle has lost one of its edges")


@kernel
def expand_edge(
    hierarchy: Hierarchy, paths: PathSpace, path: Path, end: int, tail: int, head: int, middle: int, weight: float
) -> tuple[Path, int]:
    """Append the original edges of an edge or shortcut to a path that ends at `tail`; return the path and its new end.

    Raises AssertionError when the hierarchy lacks a half of a shortcut, or nests shortcuts too deep.
    """
    paths.stack_tail[0] = tail
    paths.stack_head[0] = head
    paths.stack_middle[0] = middle
    paths.stack_weight[0] = weight
    depth = 1
    while depth > 0:
        depth -= 1
        middle = paths.stack_middle[depth]
        head = paths.stack_head[depth]
        if middle < 0:
            path, end = _extend_path(path, paths, end, head, paths.stack_weight[depth])
            continue
        if depth + 2 > len(paths.stack_tail):
            raise AssertionError("shortcuts nest deeper than there are nodes: the index is damaged")
        upper = _find_edge(hierarchy.up_first, hierarchy.up_head, middle, head)
        lower = _find_edge(hierarchy.down_first, hierarchy.down_tail, middle, paths.stack_tail[depth])
        paths.stack_tail[depth + 1] = paths.stack_tail[depth]
        paths.stack_head[depth + 1] = middle
        paths.stack_middle[depth + 1] = hierarchy.down_middle[lower]
        paths.stack_weight[depth + 1] = hierarchy.down_weight[lower]
        paths.stack_tail[depth] = middle
        paths.stack_middle[depth] = hierarchy.up_middle[upper]
        paths.stack_weight[depth] = hierarchy.up_weight[upper]
        depth += 2
    return path, end


@kernel
def expand_ascent(
    hierarchy: Hierarchy, space: SearchSpace, paths: PathSpace, path: Path, end: int, top: int
) -> tuple[Path, int]:
    """Append the segment of a forward search from its seed, where the path ends, to `top`."""
    count = 0
    node = top
    while space.parent[node] >= 0:
        paths.chain[count] = node
        count += 1
        node = space.parent[node]
    for position in range(count - 1, -1, -1):
        node = paths.chain[position]
        edge = space.parent_edge[node]
        path, end = expand_edge(
            hierarchy,
            paths,
            path,
            end,
            space.parent[node],
            node,
            hierarchy.up_middle[edge],
            hierarchy.up_weight[edge],
        )
    return path, end


@kernel
def expand_descent(
    hierarchy: Hierarchy, space: SearchSpace, paths: PathSpace, path: Path, end: int, top: int
) -> tuple[Path, int]:
    """Append the segment of a backward search from `top`, where the path ends, to its seed."""
    node = top
    while space.parent[node] >= 0:
        edge = space.parent_edge[node]
        path, end = expand_edge(
            hierarchy,
            paths,
            path,
            end,
            node,
            space.parent[node],
            hierarchy.down_middle[edge],
            hierarchy.down_weight[edge],
        )
        node = space.parent[node]
    return path, end
