"""Building adjacency arrays from rows of edges, reversing them, and renumbering their nodes."""

from __future__ import annotations

import numpy as np

from planmesh.graph.model import Float64Array, Graph, Int32Array, Int64Array
from planmesh.kernels import kernel

_INSERTION_MAX = 48
"""Longest row of a node that is sorted by insertion."""


def build_graph(node_count: int, tails: Int32Array, heads: Int32Array, costs: Float64Array) -> tuple[Graph, int, int]:
    """Build a Graph of directed edges; return it, the number of parallel edges and the number of self-loops.

    `tails` and `heads` are int32[m] from 0 to node_count - 1, `costs` float64[m], finite and not negative. Self-loops
    are dropped. Of parallel edges the cheapest stays, and the others are counted. The edges of a node are in ascending
    order of their heads, so the result does not depend on the order of the rows. Takes linear time except to sort long
    rows, and 12 bytes an edge in addition to its input.
    """
    assert len(tails) == len(heads) == len(costs), "a row has a tail, a head and a cost"
    first_out, head, weight, self_loops = _bucket_by_tail(node_count, tails, heads, costs)
    bucketed = len(head)
    first_out, kept = _sort_and_merge_rows(first_out, head, weight)
    if kept < bucketed:
        head, weight = head[:kept].copy(), weight[:kept].copy()
    return Graph(first_out, head, weight), bucketed - kept, int(self_loops)


def reverse(graph: Graph) -> Graph:
    """Return the graph with every edge reversed. The edges of a node are in ascending order of their heads."""
    first_out, head, weight = _reverse(graph.first_out, graph.head, graph.weight)
    return Graph(first_out, head, weight)


def renumber(graph: Graph, new_number: Int32Array) -> Graph:
    """Return the graph in which node v has the number `new_number[v]`, a permutation, int32[n].

    The edges of a node are in ascending order of their heads.
    """
    assert len(new_number) == graph.node_count, "a permutation names every node"
    first_out, head, weight = _renumber(graph.first_out, graph.head, graph.weight, new_number)
    return Graph(first_out, head, weight)


@kernel
def edge_tails(first_out: Int64Array) -> Int32Array:
    """Return the tail of each edge, int32[m]."""
    tails = np.empty(first_out[-1], np.int32)
    for node in range(len(first_out) - 1):
        for edge in range(first_out[node], first_out[node + 1]):
            tails[edge] = node
    return tails


@kernel
def _bucket_by_tail(
    node_count: int, tails: Int32Array, heads: Int32Array, costs: Float64Array
) -> tuple[Int64Array, Int32Array, Float64Array, int]:
    first_out = np.zeros(node_count + 1, np.int64)
    self_loops = 0
    for i in range(len(tails)):
        if tails[i] == heads[i]:
            self_loops += 1
        else:
            first_out[tails[i] + 1] += 1
    for node in range(node_count):
        first_out[node + 1] += first_out[node]
    head = np.empty(first_out[node_count], np.int32)
    weight = np.empty(first_out[node_count], np.float64)
    place = first_out[:-1].copy()
    for i in range(len(tails)):
        tail = tails[i]
        if tail != heads[i]:
            head[place[tail]] = heads[i]
            weight[place[tail]] = costs[i]
            place[tail] += 1
    return first_out, head, weight, self_loops


@kernel
def _sort_row(head: Int32Array, weight: Float64Array, first: int, last: int) -> None:
    """Sort the edges of one node by head, in place. Edges with equal heads are in any order."""
    if last - first > _INSERTION_MAX:
        order = np.argsort(head[first:last])
        head[first:last] = head[first:last][order]
        weight[first:last] = weight[first:last][order]
        return
    for i in range(first + 1, last):
        moving, cost = head[i], weight[i]
        j = i - 1
        while j >= first and head[j] > moving:
            head[j + 1], weight[j + 1] = head[j], weight[j]
            j -= 1
        head[j + 1], weight[j + 1] = moving, cost


@kernel
def _sort_and_merge_rows(first_out: Int64Array, head: Int32Array, weight: Float64Array) -> tuple[Int64Array, int]:
    """Sort every row and keep the cheapest of equal heads, in place; return the new firsts and the number of edges."""
    new_first_out = np.zeros(len(first_out), np.int64)
    kept = 0
    for node in range(len(first_out) - 1):
        first, last = first_out[node], first_out[node + 1]
        _sort_row(head, weight, first, last)
        row_start = kept
        for edge in range(first, last):
            if kept > row_start and head[kept - 1] == head[edge]:
                weight[kept - 1] = min(weight[kept - 1], weight[edge])
            else:
                head[kept] = head[edge]
                weight[kept] = weight[edge]
                kept += 1
        new_first_out[node + 1] = kept
    return new_first_out, kept


@kernel
def _reverse(
    first_out: Int64Array, head: Int32Array, weight: Float64Array
) -> tuple[Int64Array, Int32Array, Float64Array]:
    count = len(first_out) - 1
    first_in = np.zeros(count + 1, np.int64)
    for edge in range(len(head)):
        first_in[head[edge] + 1] += 1
    for node in range(count):
        first_in[node + 1] += first_in[node]
    tail = np.empty(len(head), np.int32)
    cost = np.empty(len(head), np.float64)
    place = first_in[:-1].copy()
    for node in range(count):
        for edge in range(first_out[node], first_out[node + 1]):
            target = head[edge]
            tail[place[target]] = node
            cost[place[target]] = weight[edge]
            place[target] += 1
    return first_in, tail, cost


@kernel
def _renumber(
    first_out: Int64Array, head: Int32Array, weight: Float64Array, new_number: Int32Array
) -> tuple[Int64Array, Int32Array, Float64Array]:
    count = len(first_out) - 1
    new_first_out = np.zeros(count + 1, np.int64)
    for node in range(count):
        new_first_out[new_number[node] + 1] = first_out[node + 1] - first_out[node]
    for node in range(count):
        new_first_out[node + 1] += new_first_out[node]
    new_head = np.empty(len(head), np.int32)
    new_weight = np.empty(len(head), np.float64)
    for node in range(count):
        place = new_first_out[new_number[node]]
        for edge in range(first_out[node], first_out[node + 1]):
            new_head[place] = new_number[head[edge]]
            new_weight[place] = weight[edge]
            place += 1
    for node in range(count):
        _sort_row(new_head, new_weight, new_first_out[node], new_first_out[node + 1])
    return new_first_out, new_head, new_weight
