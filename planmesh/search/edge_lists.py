"""Adjacency lists that grow and shrink during contraction: one pool of edges, with a slice for each node.

A full slice moves to the end of the pool and doubles its room, so the edges of a node stay contiguous in memory, as
witness searches read them. The slice of a contracted node never changes again: it holds the node's edges in the
finished index.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array, Int64Array
from planmesh.kernels import kernel

SPARE_EDGES_PER_NODE = 4
"""Room after each node's initial edges, so that the first few shortcuts need no move."""


POOL_EDGES_MIN = 64
"""Extra room in the pool, for the smallest graphs. A larger pool replaces a full one."""


class EdgeLists(NamedTuple):
    """The edges at n nodes in one direction.

    The edges of node v are at positions `start[v]` to `start[v] + length[v]` of the pool, with room up to
    `start[v] + capacity[v]`. `head` is the other end and `middle` the contracted node that a shortcut passes through,
    or -1 - e for edge e of the graph. The pool is used up to `used[0]`.
    Dtypes: start, used int64; length, capacity, head, middle int32; weight float64.
    """

    start: Int64Array
    length: Int32Array
    capacity: Int32Array
    used: Int64Array
    head: Int32Array
    weight: Float64Array
    middle: Int32Array


@kernel
def make_edge_lists(first_out: Int64Array, head: Int32Array, weight: Float64Array, reverse: bool) -> EdgeLists:
    """Build the lists of a graph (int64[n + 1], int32[m], float64[m]) or of its reverse, without self-loops."""
    node_count = len(first_out) - 1
    length = np.zeros(node_count, np.int32)
    for tail in range(node_count):
        for edge in range(first_out[tail], first_out[tail + 1]):
            if head[edge] != tail:
                length[head[edge] if reverse else tail] += 1
    start = np.empty(node_count, np.int64)
    capacity = np.empty(node_count, np.int32)
    used = np.zeros(1, np.int64)
    for node in range(node_count):
        start[node] = used[0]
        capacity[node] = length[node] + SPARE_EDGES_PER_NODE
        used[0] += capacity[node]
        length[node] = 0
    pool_size = used[0] + used[0] // 2 + POOL_EDGES_MIN
    lists = EdgeLists(
        start,
        length,
        capacity,
        used,
        np.empty(pool_size, np.int32),
        np.empty(pool_size, np.float64),
        np.empty(pool_size, np.int32),
    )
    for tail in range(node_count):
        for edge in range(first_out[tail], first_out[tail + 1]):
            other = head[edge]
            if other == tail:
                continue
            if reverse:
                _append(lists, other, tail, weight[edge], -1 - edge)
            else:
                _append(lists, tail, other, weight[edge], -1 - edge)
    return lists


@kernel
def _append(lists: EdgeLists, node: int, head: int, weight: float, middle: int) -> None:
    edge = lists.start[node] + lists.length[node]
    lists.head[edge] = head
    lists.weight[edge] = weight
    lists.middle[edge] = middle
    lists.length[node] += 1


@kernel
def _grown(lists: EdgeLists, pool_size: int) -> EdgeLists:
    used = lists.used[0]
    head = np.empty(pool_size, np.int32)
    weight = np.empty(pool_size, np.float64)
    middle = np.empty(pool_size, np.int32)
    head[:used] = lists.head[:used]
    weight[:used] = lists.weight[:used]
    middle[:used] = lists.middle[:used]
    return EdgeLists(lists.start, lists.length, lists.capacity, lists.used, head, weight, middle)


@kernel
def _move(lists: EdgeLists, node: int) -> None:
    begin = lists.start[node]
    target = lists.used[0]
    for offset in range(lists.length[node]):
        lists.head[target + offset] = lists.head[begin + offset]
        lists.weight[target + offset] = lists.weight[begin + offset]
        lists.middle[target + offset] = lists.middle[begin + offset]
    lists.start[node] = target
    lists.capacity[node] = 2 * lists.capacity[node] + SPARE_EDGES_PER_NODE
    lists.used[0] += lists.capacity[node]


@kernel
def put_edge(lists: EdgeLists, node: int, head: int, weight: float, middle: int) -> EdgeLists:
    """Add an edge at a node, or lower the cost of the edge to the same head.

    A costlier edge than the existing one changes nothing. Returns the lists; their pool may be a new array.
    """
    begin = lists.start[node]
    end = begin + lists.length[node]
    for edge in range(begin, end):
        if lists.head[edge] == head:
            if weight < lists.weight[edge]:
                lists.weight[edge] = weight
                lists.middle[edge] = middle
            return lists
    if lists.length[node] == lists.capacity[node]:
        needed = lists.used[0] + 2 * lists.capacity[node] + SPARE_EDGES_PER_NODE
        if needed > len(lists.head):
            lists = _grown(lists, needed + needed // 2)
        _move(lists, node)
    _append(lists, node, head, weight, middle)
    return lists


@kernel
def remove_edge(lists: EdgeLists, node: int, head: int) -> None:
    """Remove the edge to `head` from a node's slice. The slice's last edge moves to its position.

    Raises AssertionError when the node has no such edge.
    """
    begin = lists.start[node]
    last = begin + lists.length[node] - 1
    for edge in range(begin, last + 1):
        if lists.head[edge] == head:
            lists.head[edge] = lists.head[last]
            lists.weight[edge] = lists.weight[last]
            lists.middle[edge] = lists.middle[last]
            lists.length[node] -= 1
            return
    raise AssertionError("an edge is in the lists of one direction only")


@kernel
def gather_edges(
    lists: EdgeLists, nodes: Int32Array, new_number: Int32Array
) -> tuple[Int32Array, Int32Array, Float64Array, Int32Array]:
    """Copy the edges at `nodes` (int32[k], -1 for a row without edges) into adjacency arrays.

    Each head becomes `new_number[head]`. Returns first int32[k + 1], head int32[m], weight float64[m], middle int32[m].
    """
    first = np.zeros(len(nodes) + 1, np.int32)
    for position in range(len(nodes)):
        first[position + 1] = first[position] + (lists.length[nodes[position]] if nodes[position] >= 0 else 0)
    edge_count = first[len(nodes)]
    head = np.empty(edge_count, np.int32)
    weight = np.empty(edge_count, np.float64)
    middle = np.empty(edge_count, np.int32)
    for position in range(len(nodes)):
        if nodes[position] < 0:
            continue
        source = lists.start[nodes[position]]
        target = first[position]
        for offset in range(lists.length[nodes[position]]):
            head[target + offset] = new_number[lists.head[source + offset]]
            weight[target + offset] = lists.weight[source + offset]
            middle[target + offset] = lists.middle[source + offset]
    return first, head, weight, middle
