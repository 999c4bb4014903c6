"""Partitions from one pass over a stream of nodes: LDG (Stanton and Kliot, 2012) and Fennel (Tsourakakis et al., 2014).

Each node arrives with its outgoing edges. It is assigned once, to the partition with the most of its neighbours, less a
penalty for size. The state is O(nodes + partitions), about 36 bytes a node: the order of the stream, the partition of
every node, and for each node not yet assigned a summary of the partitions from which edges lead to it (Misra and Gries,
1982), because its own row lacks these edges. The edges are read twice, in place: for the order and for the pass.

The order matters as much as the rule. docs/adr/0004-streaming-partitioner.md says why we use Fennel, depth first.
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
"""Partitions in the summary of the edges that lead to an unassigned node. Four, or all, would cut no fewer edges."""


class Rule(StrEnum):
    """The formula that weighs neighbours against size."""

    LDG = "ldg"
    FENNEL = "fennel"


class Order(StrEnum):
    """The order of the stream: by number, or as a search along the edges reaches the nodes."""

    GIVEN = "given"
    BREADTH_FIRST = "breadth-first"
    DEPTH_FIRST = "depth-first"


RULE_DEFAULT: Final = Rule.FENNEL
ORDER_DEFAULT: Final = Order.DEPTH_FIRST


def size_limits(nodes: int, partitions: int) -> tuple[int, int]:
    """Return the least and the most nodes of a partition: the mean minus and plus STREAM_SLACK, and at least 1."""
    mean = nodes / partitions
    least, most = math.floor(mean * (1 - STREAM_SLACK)), math.floor(mean * (1 + STREAM_SLACK))
    return max(1, least), max(math.ceil(mean), most)


def stream(graph: Graph, partitions: int, rule: Rule = RULE_DEFAULT, order: Order = ORDER_DEFAULT) -> Int32Array:
    """Return a partition for every node, int32[n], within `size_limits`. Equal inputs give equal outputs.

    `partitions` is from 1 to n. Costs are ignored. Releases the interpreter lock.
    """
    nodes = graph.node_count
    assert 1 <= partitions <= max(nodes, 1), "no partition is empty"
    least, most = size_limits(nodes, partitions)
    sequence = stream_order(graph, order)
    by_size = _ldg_factor(most) if rule is Rule.LDG else _fennel_penalty(graph, partitions, most)
    return _stream(graph.first_out, graph.head, sequence, partitions, least, rule is Rule.LDG, by_size)


def stream_order(graph: Graph, order: Order) -> Int32Array:
    """Return the nodes in the order of the stream, int32[n]."""
    if order is Order.GIVEN:
        return np.arange(graph.node_count, dtype=np.int32)
    if order is Order.BREADTH_FIRST:
        return _breadth_first(graph.first_out, graph.head)
    return _depth_first(graph.first_out, graph.head)


def _ldg_factor(most: int) -> Float64Array:
    """Return the factor for the neighbours in a partition of each size, float64[most + 1]."""
    return 1.0 - np.arange(most + 1, dtype=np.float64) / most


def _fennel_penalty(graph: Graph, partitions: int, most: int) -> Float64Array:
    """Return the penalty for adding a node to a partition of each size, float64[most + 1].

    It is alpha * gamma * size^(gamma - 1).
    """
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
    """Assign every node. `by_size`, float64[most + 1], is the factor or the penalty of a partition of each size."""
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
        # When the nodes left just suffice to fill partitions to their least size, only partitions below it get them.
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
    """Add the edges between a node and each partition to `neighbors`; list the k partitions in `near` and return k."""
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
    """Return the partition with the best score of those below `limit` nodes; of several, the smallest, then the first.

    Of the partitions without a neighbour of the node, a smallest one scores best, so only one of these is a candidate.
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
    """Return a smallest partition after `last`, the smallest so far, has grown by one. All before it are as large."""
    for partition in range(last + 1, len(size)):
        if size[partition] < size[last]:
            return partition
    for partition in range(last):
        if size[partition] == size[last]:
            return partition
    return last


@kernel
def _remember(seen_partition: Int32Array, seen_edges: Int32Array, partition: int) -> None:
    """Count an edge from a partition to an unassigned node in its slots; with none free, subtract one from each."""
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
