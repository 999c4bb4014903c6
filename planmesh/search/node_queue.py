"""A queue of nodes by key in which keys may change: a binary heap that knows where each node stands."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from planmesh.graph.model import Float64Array, Int32Array


class NodeQueue(NamedTuple):
    """Binary heap of nodes by (key, node), with each node's place in it (-1: not queued)."""

    key: Float64Array
    place: Int32Array
    heap: Int32Array
    size: Int32Array  # [1]


@njit(nogil=True, cache=True)
def make_node_queue(node_count: int) -> NodeQueue:
    """An empty queue for nodes below n."""
    return NodeQueue(
        np.zeros(node_count, np.float64),
        np.full(node_count, -1, np.int32),
        np.empty(node_count, np.int32),
        np.zeros(1, np.int32),
    )


@njit(nogil=True, cache=True)
def _sift_up(queue: NodeQueue, position: int) -> None:
    node = queue.heap[position]
    key = queue.key[node]
    while position > 0:
        above = (position - 1) // 2
        other = queue.heap[above]
        if queue.key[other] < key or (queue.key[other] == key and other < node):
            break
        queue.heap[position] = other
        queue.place[other] = position
        position = above
    queue.heap[position] = node
    queue.place[node] = position


@njit(nogil=True, cache=True)
def _sift_down(queue: NodeQueue, position: int) -> None:
    node = queue.heap[position]
    key = queue.key[node]
    size = queue.size[0]
    while True:
        child = 2 * position + 1
        if child >= size:
            break
        other = queue.heap[child]
        if child + 1 < size:
            right = queue.heap[child + 1]
            if queue.key[right] < queue.key[other] or (queue.key[right] == queue.key[other] and right < other):
                child += 1
                other = right
        if key < queue.key[other] or (key == queue.key[other] and node < other):
            break
        queue.heap[position] = other
        queue.place[other] = position
        position = child
    queue.heap[position] = node
    queue.place[node] = position


@njit(nogil=True, cache=True)
def queue_put(queue: NodeQueue, node: int, key: float) -> None:
    """Queue a node, or give it another key."""
    position = queue.place[node]
    if position < 0:
        position = queue.size[0]
        queue.size[0] += 1
        queue.heap[position] = node
        queue.place[node] = position
        queue.key[node] = key
        _sift_up(queue, position)
    elif key < queue.key[node]:
        queue.key[node] = key
        _sift_up(queue, position)
    else:
        queue.key[node] = key
        _sift_down(queue, position)


@njit(nogil=True, cache=True)
def queue_pop(queue: NodeQueue) -> int:
    """Take out the node of least key; the queue must not be empty."""
    node: int = queue.heap[0]
    queue.place[node] = -1
    queue.size[0] -= 1
    if queue.size[0] > 0:
        queue.heap[0] = queue.heap[queue.size[0]]
        queue.place[queue.heap[0]] = 0
        _sift_down(queue, 0)
    return node
