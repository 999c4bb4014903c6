"""Search in a joined index: up from both ends, then across the top core, and the path in edges of the graph.

Memory, not arithmetic, decides how long this takes, so what is read together lies together: both labels of a node in
32 bytes, the edges up and down from it one after another.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from planmesh.graph.model import Float64Array, Int32Array, Int64Array
from planmesh.kernels import kernel
from planmesh.search.binary_heap import heap_pop, heap_push
from planmesh.search.joined import JoinedIndex, LinkArray

LABEL = np.dtype([("distance", np.float64), ("parent", np.int32), ("link", np.int32)])
"""How a search has come to a node: at what cost, from which node, by which link."""

LabelArray = npt.NDArray[np.void]

HEAP_SLACK_MIN = 64
"""Entries that a queue has room for beyond one for each node, in the smallest graphs; in others, as many as nodes. A
queue that is full drops the entries that were overtaken, which leaves at most one for each node."""

FORWARD = 0
BACKWARD = 1


class _Queue(NamedTuple):
    """A binary heap of (cost, node); it has an entry for every time that the label of a node became cheaper.

    `dropped` int64[1] counts how often it was full, and lost the entries that were overtaken.
    """

    key: Float64Array
    node: Int32Array
    dropped: Int64Array


class _Space(NamedTuple):
    """Labels LABEL[n, 2] of both searches, infinite between searches; the nodes that have some int32[n] each."""

    label: LabelArray
    touched_forward: Int32Array
    touched_backward: Int32Array


class _PathSpace(NamedTuple):
    """The path that is put together, and what that takes; between uses `place` is -1 throughout."""

    node: Int32Array
    cost: Float64Array
    place: Int32Array
    stack_link: Int32Array
    stack_head: Int32Array
    chain: Int32Array


def _make_queue(node_count: int, slack: int) -> _Queue:
    room = node_count + slack
    return _Queue(np.empty(room, np.float64), np.empty(room, np.int32), np.zeros(1, np.int64))


def _make_space(node_count: int) -> _Space:
    label = np.zeros((node_count, 2), LABEL)
    label["distance"] = np.inf
    return _Space(label, np.empty(node_count, np.int32), np.empty(node_count, np.int32))


def _make_path_space(node_count: int) -> _PathSpace:
    """Memory for paths over up to n nodes. A stack holds at most one entry for each rank, and one more."""
    return _PathSpace(
        np.empty(node_count, np.int32),
        np.empty(node_count, np.float64),
        np.full(node_count, -1, np.int32),
        np.empty(node_count + 2, np.int32),
        np.empty(node_count + 2, np.int32),
        np.empty(node_count + 1, np.int32),
    )


@kernel
def drop_overtaken(queue: _Queue, size: int, label: LabelArray, side: int) -> int:
    """Take the entries out of a queue that a cheaper label has overtaken; its new size, at most one for each node."""
    kept = 0
    queue.dropped[0] += 1
    for position in range(size):
        key, node = queue.key[position], queue.node[position]
        if key == label[node, side]["distance"]:
            kept = heap_push(queue.key, queue.node, kept, key, node)
    return kept


@kernel(inline=True)
def _relax(
    links: LinkArray,
    begin: int,
    end: int,
    label: LabelArray,
    side: int,
    touched: Int32Array,
    touched_count: int,
    queue: _Queue,
    size: int,
    node: int,
    key: float,
    core_count: int,
    best: float,
    meeting: int,
    in_core: bool,
) -> tuple[int, int, float, int]:
    """Label the other ends of a node's links; nodes of the core are queued once the search is in it."""
    for link in range(begin, end):
        reached = key + links[link]["weight"]
        above = links[link]["end"]
        if reached < best and reached < label[above, side]["distance"]:
            if label[above, side]["distance"] == np.inf:
                touched[touched_count] = above
                touched_count += 1
            label[above, side]["distance"] = reached
            label[above, side]["parent"] = node
            label[above, side]["link"] = link
            if above >= core_count or in_core:
                if size == len(queue.key):
                    size = drop_overtaken(queue, size, label, side)
                size = heap_push(queue.key, queue.node, size, reached, above)
            both = reached + label[above, 1 - side]["distance"]
            if both < best:
                best = both
                meeting = above
    return touched_count, size, best, meeting


@kernel(inline=True)
def _is_stalled(links: LinkArray, begin: int, end: int, label: LabelArray, side: int, key: float) -> bool:
    """Whether a node above, which has a label, leads to this one more cheaply."""
    for link in range(begin, end):  # noqa: SIM110 - a kernel has no generators
        if label[links[link]["end"], side]["distance"] + links[link]["weight"] < key:
            return True
    return False


@kernel
def _climb(
    index: JoinedIndex, space: _Space, ahead: _Queue, behind: _Queue, start: int, goal: int
) -> tuple[int, int, float, int]:
    """Dijkstra upward from both ends, by turns, below the core; how many nodes have labels, the best cost, where."""
    first, links, core_count, label = index.first, index.links, index.core_count, space.label
    label[start, FORWARD]["distance"] = 0.0
    label[start, FORWARD]["parent"] = -1
    label[goal, BACKWARD]["distance"] = 0.0
    label[goal, BACKWARD]["parent"] = -1
    space.touched_forward[0] = start
    space.touched_backward[0] = goal
    start_count = goal_count = 1
    best, meeting = (0.0, start) if start == goal else (np.inf, -1)
    ahead_size = heap_push(ahead.key, ahead.node, 0, 0.0, start) if start >= core_count else 0
    behind_size = heap_push(behind.key, behind.node, 0, 0.0, goal) if goal >= core_count else 0
    while True:
        ahead_key = ahead.key[0] if ahead_size else np.inf
        behind_key = behind.key[0] if behind_size else np.inf
        key = min(ahead_key, behind_key)
        if key >= best or key == np.inf:
            return start_count, goal_count, best, meeting
        if ahead_key <= behind_key:
            node = ahead.node[0]
            ahead_size = heap_pop(ahead.key, ahead.node, ahead_size)
            up, down, end = first[2 * node], first[2 * node + 1], first[2 * node + 2]
            if key == label[node, FORWARD]["distance"] and not _is_stalled(links, down, end, label, FORWARD, key):
                start_count, ahead_size, best, meeting = _relax(
                    links, up, down, label, FORWARD, space.touched_forward, start_count,
                    ahead, ahead_size, node, key, core_count, best, meeting, False,
                )  # fmt: skip
        else:
            node = behind.node[0]
            behind_size = heap_pop(behind.key, behind.node, behind_size)
            up, down, end = first[2 * node], first[2 * node + 1], first[2 * node + 2]
            if key == label[node, BACKWARD]["distance"] and not _is_stalled(links, up, down, label, BACKWARD, key):
                goal_count, behind_size, best, meeting = _relax(
                    links, down, end, label, BACKWARD, space.touched_backward, goal_count,
                    behind, behind_size, node, key, core_count, best, meeting, False,
                )  # fmt: skip


@kernel
def _queue_core(queue: _Queue, label: LabelArray, side: int, touched: Int32Array, count: int, core_count: int) -> int:
    """Queue the nodes of the core that have a label; the queue's size."""
    size = 0
    for position in range(count):
        node = touched[position]
        if node < core_count:
            size = heap_push(queue.key, queue.node, size, label[node, side]["distance"], node)
    return size


@kernel
def _cross_core(
    index: JoinedIndex,
    space: _Space,
    ahead: _Queue,
    behind: _Queue,
    start_count: int,
    goal_count: int,
    best: float,
    meeting: int,
) -> tuple[int, int, float, int]:
    """Bidirectional Dijkstra across the core; ends when the least keys of both queues add up to the best cost."""
    first, links, core_count, label = index.first, index.links, index.core_count, space.label
    ahead_size = _queue_core(ahead, label, FORWARD, space.touched_forward, start_count, core_count)
    behind_size = _queue_core(behind, label, BACKWARD, space.touched_backward, goal_count, core_count)
    while ahead_size and behind_size and ahead.key[0] + behind.key[0] < best:
        if ahead_size <= behind_size:
            key, node = ahead.key[0], ahead.node[0]
            ahead_size = heap_pop(ahead.key, ahead.node, ahead_size)
            if key == label[node, FORWARD]["distance"]:
                start_count, ahead_size, best, meeting = _relax(
                    links, first[2 * node], first[2 * node + 1], label, FORWARD, space.touched_forward, start_count,
                    ahead, ahead_size, node, key, core_count, best, meeting, True,
                )  # fmt: skip
        else:
            key, node = behind.key[0], behind.node[0]
            behind_size = heap_pop(behind.key, behind.node, behind_size)
            if key == label[node, BACKWARD]["distance"]:
                goal_count, behind_size, best, meeting = _relax(
                    links, first[2 * node + 1], first[2 * node + 2], label, BACKWARD, space.touched_backward,
                    goal_count, behind, behind_size, node, key, core_count, best, meeting, True,
                )  # fmt: skip
    return start_count, goal_count, best, meeting


@kernel
def _expand(index: JoinedIndex, paths: _PathSpace, end: int, link: int, head: int) -> int:
    """Append the edges of the graph that a link to `head` stands for; the path's new end.

    Where the path has been at a node before, the (free) loop since then is cut.
    """
    links, halves = index.links, index.halves
    stack_link, stack_head, place = paths.stack_link, paths.stack_head, paths.place
    path_node, path_cost = paths.node, paths.cost
    stack_link[0] = link
    stack_head[0] = head
    depth = 1
    while depth > 0:
        depth -= 1
        link = stack_link[depth]
        middle = links[link]["middle"]
        if middle >= 0:
            stack_link[depth] = halves[link, 1]
            stack_link[depth + 1] = halves[link, 0]
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
            path_cost[end] = links[link]["weight"]
            place[node] = end
            end += 1
    return end


@kernel
def _path_over(index: JoinedIndex, label: LabelArray, paths: _PathSpace, meeting: int) -> int:
    """Put the way over the node where both searches met into `paths`; its length."""
    count = 0
    node = meeting
    while label[node, FORWARD]["parent"] >= 0:
        paths.chain[count] = node
        count += 1
        node = label[node, FORWARD]["parent"]
    paths.node[0] = node
    paths.place[node] = 0
    end = 1
    for position in range(count - 1, -1, -1):
        node = paths.chain[position]
        end = _expand(index, paths, end, label[node, FORWARD]["link"], node)
    node = meeting
    while label[node, BACKWARD]["parent"] >= 0:
        link = label[node, BACKWARD]["link"]
        node = label[node, BACKWARD]["parent"]
        end = _expand(index, paths, end, link, node)
    for position in range(end):
        paths.place[paths.node[position]] = -1
    return end


@kernel
def _path(
    index: JoinedIndex, space: _Space, ahead: _Queue, behind: _Queue, paths: _PathSpace, start: int, goal: int
) -> tuple[Int32Array, Float64Array]:
    start_count, goal_count, best, meeting = _climb(
        index, space, ahead, behind, index.number[start], index.number[goal]
    )
    start_count, goal_count, best, meeting = _cross_core(
        index, space, ahead, behind, start_count, goal_count, best, meeting
    )
    end = _path_over(index, space.label, paths, meeting) if meeting >= 0 else 0
    for position in range(start_count):
        space.label[space.touched_forward[position], FORWARD]["distance"] = np.inf
    for position in range(goal_count):
        space.label[space.touched_backward[position], BACKWARD]["distance"] = np.inf
    return index.node[paths.node[:end]], paths.cost[1 : max(end, 1)].copy()


class JoinedSearch:
    """Searches in a joined index, with memory that is used again and again. One for each thread."""

    def __init__(self, index: JoinedIndex, queue_slack: int | None = None) -> None:
        """Take an index; a queue has room for one entry a node and `queue_slack` (at least 1) more."""
        self._index = index
        self._node_count = len(index.node)
        self._space = _make_space(self._node_count)
        slack = self._node_count + HEAP_SLACK_MIN if queue_slack is None else queue_slack
        self._ahead, self._behind = _make_queue(self._node_count, slack), _make_queue(self._node_count, slack)
        self._paths = _make_path_space(self._node_count)

    @property
    def full_count(self) -> int:
        """How often a queue was full so far."""
        return int(self._ahead.dropped[0] + self._behind.dropped[0])

    def path(self, start: int, goal: int) -> tuple[Int32Array, Float64Array]:
        """Return the nodes int32[k] of a cheapest path and the costs float64[k - 1] of its edges.

        Both are empty when there is no path; from a node to itself it is that node. Raises ValueError for a node that
        is not there.
        """
        if not (0 <= start < self._node_count and 0 <= goal < self._node_count):
            raise ValueError(f"expected nodes below {self._node_count}, got {start} and {goal}")
        nodes, costs = _path(self._index, self._space, self._ahead, self._behind, self._paths, start, goal)
        return nodes, costs
