"""A binary heap of (cost, node) in two arrays, least cost first; entries are never changed, only overtaken."""

from __future__ import annotations

from planmesh.graph.model import Float64Array, Int32Array
from planmesh.kernels import kernel


@kernel
def heap_push(heap_key: Float64Array, heap_node: Int32Array, size: int, key: float, node: int) -> int:
    """Put (key, node) on a binary heap in two arrays; returns its new size."""
    position = size
    while position > 0:
        above = (position - 1) >> 1
        if heap_key[above] <= key:
            break
        heap_key[position] = heap_key[above]
        heap_node[position] = heap_node[above]
        position = above
    heap_key[position] = key
    heap_node[position] = node
    return size + 1


@kernel
def heap_pop(heap_key: Float64Array, heap_node: Int32Array, size: int) -> int:
    """Take the first entry off a binary heap (read it before); returns its new size."""
    size -= 1
    key = heap_key[size]
    node = heap_node[size]
    position = 0
    child = 1
    while child < size:
        if child + 1 < size and heap_key[child + 1] < heap_key[child]:
            child += 1
        if heap_key[child] >= key:
            break
        heap_key[position] = heap_key[child]
        heap_node[position] = heap_node[child]
        position = child
        child = 2 * position + 1
    heap_key[position] = key
    heap_node[position] = node
    return size
