"""All distances among the last nodes of a contraction.

Contraction keeps the distances between the nodes that remain, so a table of them, once made, stays right while more
nodes go. With it a shortcut is known to be needless by one look instead of a witness search, and edges that are dearer
than a way around them can be left out. It pays when few nodes are left with many edges each.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array
from planmesh.kernels import kernel
from planmesh.search.binary_heap import heap_pop, heap_push
from planmesh.search.edge_lists import EdgeLists, remove_edge


class DistanceTable(NamedTuple):
    """Distances among r nodes: `distance` float64[r, r] in numbers of `number` int32[n]. An empty one knows nothing."""

    number: Int32Array
    distance: Float64Array


@kernel
def make_distance_table(out: EdgeLists, nodes: Int32Array) -> DistanceTable:
    """Distances among `nodes` (int32[r]), which must be all that remain: one Dijkstra search from each."""
    node_count = len(out.start)
    count = len(nodes)
    number = np.full(node_count, -1, np.int32)
    first = np.zeros(count + 1, np.int64)
    for position in range(count):
        number[nodes[position]] = position
        first[position + 1] = first[position] + out.length[nodes[position]]
    head = np.empty(first[count], np.int32)
    weight = np.empty(first[count], np.float64)
    for position in range(count):
        source = out.start[nodes[position]]
        for edge in range(first[position], first[position + 1]):
            head[edge] = number[out.head[source + edge - first[position]]]
            weight[edge] = out.weight[source + edge - first[position]]
    distance = np.full((count, count), np.inf)
    heap_key = np.empty(first[count] + 2, np.float64)
    heap_node = np.empty(first[count] + 2, np.int32)
    for source in range(count):
        row = distance[source]
        row[source] = 0.0
        size = heap_push(heap_key, heap_node, 0, 0.0, source)
        while size > 0:
            key = heap_key[0]
            node = heap_node[0]
            size = heap_pop(heap_key, heap_node, size)
            if key > row[node]:
                continue
            for edge in range(first[node], first[node + 1]):
                reached = key + weight[edge]
                if reached < row[head[edge]]:
                    row[head[edge]] = reached
                    size = heap_push(heap_key, heap_node, size, reached, head[edge])
    return DistanceTable(number, distance)


@kernel
def _is_needless(
    out: EdgeLists, table: DistanceTable, tail: int, head: int, weight: float, tie_tolerance: float
) -> bool:
    """Whether an edge is dearer than a path around it, or as dear as one over edges that are all cheaper than it.

    Many edges may go at once: what replaces each is cheaper than it by more than `tie_tolerance`, down to edges that
    stay. Without that margin two edges could each rule out the other: the table may be older than the edges, whose
    costs were since added up in another order.
    """
    column = table.number[head]
    margin = 1.0 + tie_tolerance
    if weight > table.distance[table.number[tail], column] * margin:
        return True
    begin = out.start[tail]
    for edge in range(begin, begin + out.length[tail]):
        step = out.weight[edge]
        if step * margin < weight:
            rest = table.distance[table.number[out.head[edge]], column]
            if rest * margin < weight and step + rest <= weight:
                return True
    return False


@kernel
def drop_needless_edges(
    out: EdgeLists, into: EdgeLists, nodes: Int32Array, table: DistanceTable, tie_tolerance: float
) -> int:
    """Remove the edges at `nodes` (int32[r]) that no distance among them needs; returns how many."""
    dropped = 0
    for position in range(len(nodes)):
        node = nodes[position]
        offset = 0
        while offset < out.length[node]:
            edge = out.start[node] + offset
            head = out.head[edge]
            if _is_needless(out, table, node, head, out.weight[edge], tie_tolerance):
                remove_edge(out, node, head)
                remove_edge(into, head, node)
                dropped += 1
            else:
                offset += 1
    return dropped
