"""A priority queue of nodes whose keys may change: a binary heap that records the position of each node.

Nodes with equal keys leave the queue in ascending order of their numbers, so results do not depend on the order in
which nodes were added.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array
from planmesh.kernels import kernel


class NodeQueue(NamedTuple):
    """A binary heap of (key, node), least first. `place` is the position of each node in the heap, -1 for none."""

    key: Float64Array
    node: Int32Array
    place: Int32Array
    size: Int32Array  # [1]


@kernel
def make_node_queue(node_count: int) -> NodeQueue:
    """Allocate an empty queue for nodes below n: 16 bytes a node."""
    return NodeQueue(
        np.empty(node_count, np.float64),
        np.empty(node_count, np.int32),
        np.full(node_count, -1, np.int32),
        np.zeros(1, np.int32),
    )


@kernel(inline=True)
def least_key(queue: NodeQueue) -> float:
    """Return the key of the next node, infinite when the queue is empty."""
    return queue.key[0] if queue.size[0] > 0 else np.inf


@kernel
def clear_queue(queue: NodeQueue) -> None:
    """Remove all nodes. The cost is proportional to their number."""
    for position in range(queue.size[0]):
        queue.place[queue.node[position]] = -1
    queue.size[0] = 0


@kernel(inline=True)
def _sift_up(queue: NodeQueue, position: int, node: int, key: float) -> None:
    """Place a node at the free `position` or above it."""
    keys, nodes, place = queue.key, queue.node, queue.place
    while position > 0:
        above = (position - 1) >> 1
        other = nodes[above]
        other_key = keys[above]
        if other_key < key or (other_key == key and other < node):
            break
        keys[position] = other_key
        nodes[position] = other
        place[other] = position
        position = above
    keys[position] = key
    nodes[position] = node
    place[node] = position


@kernel(inline=True)
def _sift_down(queue: NodeQueue, position: int, node: int, key: float) -> None:
    """Place a node at the free `position` or below it."""
    keys, nodes, place = queue.key, queue.node, queue.place
    size = queue.size[0]
    child = 2 * position + 1
    while child < size:
        other = nodes[child]
        other_key = keys[child]
        if child + 1 < size:
            right_key = keys[child + 1]
            if right_key < other_key or (right_key == other_key and nodes[child + 1] < other):
                child += 1
                other = nodes[child]
                other_key = right_key
        if key < other_key or (key == other_key and node < other):
            break
        keys[position] = other_key
        nodes[position] = other
        place[other] = position
        position = child
        child = 2 * position + 1
    keys[position] = key
    nodes[position] = node
    place[node] = position


@kernel(inline=True)
def queue_put(queue: NodeQueue, node: int, key: float) -> None:
    """Add a node, or change its key, to a lower or a higher one, if it is queued already."""
    position = queue.place[node]
    if position < 0:
        position = queue.size[0]
        queue.size[0] += 1
        _sift_up(queue, position, node, key)
    elif key < queue.key[position]:
        _sift_up(queue, position, node, key)
    else:
        _sift_down(queue, position, node, key)


@kernel(inline=True)
def queue_pop(queue: NodeQueue) -> int:
    """Remove and return the node with the least key. The queue must not be empty."""
    node: int = queue.node[0]
    queue.place[node] = -1
    size = queue.size[0] - 1
    queue.size[0] = size
    if size > 0:
        _sift_down(queue, 0, queue.node[size], queue.key[size])
    return node
