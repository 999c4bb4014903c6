"""Partitions from one pass over a stream of nodes: LDG (Stanton and Kliot, 2012) and Fennel (Tsourakakis et al., 2014).

A node comes with its outgoing edges and is put, for good, where most of its neighbours are, less a penalty for size.
What is kept is O(nodes + partitions), about 36 bytes a node: the order of the stream, the partition of every node, and
for a node to come a summary of the partitions from which edges lead to it (Misra and Gries, 1982), since its own row of
edges does not show those. The edges themselves are read twice, in place: once for the order and once for the pass.

The order decides as much as the rule. Why it is Fennel, depth first: docs/adr/0004-streaming-partitioner.md.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Final

import numpy as np

from planmesh.graph.model import INVALID_ID, Float64Array, Graph, Int32Array, Int64Array
from planmesh.kernels import kernel

STREAM_SLACK: Final = 0.1
"""A partition has from 0.9 to 1.1 times the mean number of nodes (1.1 is the load limit of the Fennel paper)."""

FENNEL_GAMMA: Final = 1.5
"""Exponent of the cost of size, the choice of the Fennel paper; alpha follows from it, the nodes and the edges."""

INCOMING_SLOTS: Final = 2
"""Partitions remembered of the edges that lead to a node to come; four or all of them cut no fewer edges."""


class Rule(StrEnum):
    """How neighbours are weighed against size."""

    LDG = "ldg"
    FENNEL = "fennel"


class Order(StrEnum):
    """In which order nodes come: as they are numbered, or as a search along the edges comes upon them."""

    GIVEN = "given"
    BREADTH_FIRST = "breadth-first"
    DEPTH_FIRST = "depth-first"


RULE_DEFAULT: Final = Rule.FENNEL
ORDER_DEFAULT: Final = Order.DEPTH_FIRST


def size_limits(nodes: int, partitions: int) -> tuple[int, int]:
    """Return the least and the most nodes of a part: the mean less or more STREAM_SLACK, but none is empty."""
    mean = nodes / partitions
    least, most = math.floor(mean * (1 - STREAM_SLACK)), math.floor(mean * (1 + STREAM_SLACK))
    return max(1, least), max(math.ceil(mean), most)


def stream(graph: Graph, partitions: int, rule: Rule = RULE_DEFAULT, order: Order = ORDER_DEFAULT) -> Int32Array:
    """Return a part for every node, int32[n], within `size_limits`; the same input always gives the same output.

    `parts` is from 1 to n. Costs are ignored. Releases the interpreter lock.
    """
    nodes = graph.node_count
    assert 1 <= partitions <= max(nodes, 1), "no part is empty"
    least, most = size_limits(nodes, partitions)
    sequence = stream_order(graph, order)
    by_size = _ldg_factor(most) if rule is Rule.LDG else _fennel_penalty(graph, partitions, most)
    return _stream(graph.first_out, graph.head, sequence, partitions, least, rule is Rule.LDG, by_size)


def stream_order(graph: Graph, order: Order) -> Int32Array:
    """Return the nodes in the order in which they come, int32[n]."""
    if order is Order.GIVEN:
        return np.arange(graph.node_count, dtype=np.int32)
    if order is Order.BREADTH_FIRST:
        return _breadth_first(graph.first_out, graph.head)
    return _depth_first(graph.first_out, graph.head)


def _ldg_factor(most: int) -> Float64Array:
    """Return what a part of each size multiplies its neighbours by, float64[most + 1]."""
    return 1.0 - np.arange(most + 1, dtype=np.float64) / most


def _fennel_penalty(graph: Graph, partitions: int, most: int) -> Float64Array:
    """Return what a node more costs a part of each size, float64[most + 1]: alpha gamma size^(gamma - 1)."""
    alpha = graph.edge_count * partitions ** (FENNEL_GAMMA - 1) / max(graph.node_count, 1) ** FENNEL_GAMMA
    penalty: Float64Array = alpha * FENNEL_GAMMA * np.arange(most + 1, dtype=np.float64) ** (FENNEL_GAMMA - 1)
    return penalty


@kernel
def _breadth_first(first_out: Int64Array, head: Int32Array) -> Int32Array:
    count = len(first_out) - 1
    order = np.empty(count, np.int32)
    seen = np.zeros(count, np.bool_)
    taken, known = 0, 0
    for start in range(count):
        if seen[start]:
            continue
        seen[start] = True
        order[known] = start
        known += 1
        while taken < known:
            node = order[taken]
            taken += 1
            for edge in range(first_out[node], first_out[node + 1]):
                other = head[edge]
                if not seen[other]:
                    seen[other] = True
                    order[known] = other
                    known += 1
    return order


@kernel
def _depth_first(first_out: Int64Array, head: Int32Array) -> Int32Array:
    count = len(first_out) - 1
    order = np.empty(count, np.int32)
    seen = np.zeros(count, np.bool_)
    stack = np.empty(count, np.int32)
    passed = np.zeros(count, np.int32)
    known = 0
    for start in range(count):
        if seen[start]:
            continue
        seen[start] = True
        order[known] = start
        known += 1
        stack[0] = start
        depth = 1
        while depth > 0:
            node = stack[depth - 1]
            edge = first_out[node] + passed[node]
            if edge == first_out[node + 1]:
                depth -= 1
                continue
            passed[node] += 1
            other = head[edge]
            if not seen[other]:
                seen[other] = True
                order[known] = other
                known += 1
                stack[depth] = other
                depth += 1
    return order


@kernel
def _stream(
    first_out: Int64Array,
    head: Int32Array,
    order: Int32Array,
    partitions: int,
    least: int,
    is_ldg: bool,
    by_size: Float64Array,
) -> Int32Array:
    """Place every node; `by_size`, float64[most + 1], is the factor or the penalty of a part of each size."""
    count = len(first_out) - 1
    partition_of = np.full(count, INVALID_ID, np.int32)
    size = np.zeros(partitions, np.int64)
    neighbors = np.zeros(partitions, np.int64)
    near = np.empty(partitions, np.int32)
    seen_partition = np.full((count, INCOMING_SLOTS), INVALID_ID, np.int32)
    seen_edges = np.zeros((count, INCOMING_SLOTS), np.int32)
    smallest = 0
    lacking = partitions * least
    for place in range(count):
        node = order[place]
        found = _count_neighbors(first_out, head, node, partition_of, seen_partition, seen_edges, neighbors, near)
        # Once the nodes to come are no more than what parts lack of their least size, these alone get them.
        limit = least if lacking >= count - place else len(by_size) - 1
        partition = _choose(near[:found], neighbors, size, smallest, limit, is_ldg, by_size)
        for i in range(found):
            neighbors[near[i]] = 0
        partition_of[node] = partition
        if size[partition] < least:
            lacking -= 1
        size[partition] += 1
        if partition == smallest:
            smallest = _next_smallest(size, smallest)
        for edge in range(first_out[node], first_out[node + 1]):
            if partition_of[head[edge]] == INVALID_ID:
                _remember(seen_partition[head[edge]], seen_edges[head[edge]], partition)
    return partition_of


@kernel
def _count_neighbors(
    first_out: Int64Array,
    head: Int32Array,
    node: int,
    partition_of: Int32Array,
    seen_partition: Int32Array,
    seen_edges: Int32Array,
    neighbors: Int64Array,
    near: Int32Array,
) -> int:
    """Count the edges between a node and each part into `neighbors`; returns how many parts `near` then lists."""
    found = 0
    for edge in range(first_out[node], first_out[node + 1]):
        partition = partition_of[head[edge]]
        if partition != INVALID_ID:
            if neighbors[partition] == 0:
                near[found] = partition
                found += 1
            neighbors[partition] += 1
    for slot in range(INCOMING_SLOTS):
        if seen_edges[node, slot] > 0:
            partition = seen_partition[node, slot]
            if neighbors[partition] == 0:
                near[found] = partition
                found += 1
            neighbors[partition] += seen_edges[node, slot]
    return found


@kernel
def _choose(
    near: Int32Array,
    neighbors: Int64Array,
    size: Int64Array,
    smallest: int,
    limit: int,
    is_ldg: bool,
    by_size: Float64Array,
) -> int:
    """Return the part of the best score below `limit` nodes; of equals the smaller, then the one of lower number.

    Parts without a neighbour score best when they are small, so one of them, a smallest, stands for all.
    """
    best, best_score = smallest, -np.inf
    for i in range(-1, len(near)):
        partition = near[i] if i >= 0 else smallest
        if size[partition] >= limit:
            continue
        value = by_size[size[partition]]
        score = neighbors[partition] * value if is_ldg else neighbors[partition] - value
        if score > best_score or (
            score == best_score
            and (size[partition] < size[best] or (size[partition] == size[best] and partition < best))
        ):
            best, best_score = partition, score
    return best


@kernel
def _next_smallest(size: Int64Array, last: int) -> int:
    """Return a smallest part when `last`, the one so far, has grown by one. All before it are as large already."""
    for partition in range(last + 1, len(size)):
        if size[partition] < size[last]:
            return partition
    for partition in range(last):
        if size[partition] == size[last]:
            return partition
    return last


@kernel
def _remember(seen_partition: Int32Array, seen_edges: Int32Array, partition: int) -> None:
    """Count an edge from a part to a node to come, in its few slots; what has no slot takes one off every other."""
    empty = -1
    for slot in range(INCOMING_SLOTS):
        if seen_edges[slot] == 0:
            empty = slot
        elif seen_partition[slot] == partition:
            seen_edges[slot] += 1
            return
    if empty >= 0:
        seen_partition[empty] = partition
        seen_edges[empty] = 1
    else:
        seen_edges -= 1
