"""The inner loops of contraction: witness searches, the queue of nodes by importance, the contraction itself."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from planmesh.graph.model import Float64Array, Int8Array, Int32Array
from planmesh.kernels import kernel
from planmesh.search.binary_heap import heap_drop_least, heap_push
from planmesh.search.distance_table import TIE_TOLERANCE, DistanceTable
from planmesh.search.edge_lists import EdgeLists, put_edge, remove_edge
from planmesh.search.node_queue import NodeQueue, least_key, queue_pop, queue_put

WITNESS_HEAP_MAX = 8192
"""Entries in the queue of one witness search; beyond it nodes are not followed, which only costs a shortcut."""

SHORTCUTS_MAX = 65_536
"""Shortcuts of one contraction; a node that needs more stays in the core."""

EDGES_PER_SETTLED_MAX = 24
"""Edges that a witness search follows for each node that it may settle; a hub beyond that is not worth its edges."""

PAIRS_MAX = 10_000
"""Edges in times edges out of a node: with more, a look at them all costs more than contraction gains, and it stays."""

RETRY_AFTER = 8
"""Neighbours of a node that the stop rule kept which have to go before it is looked at again."""

TOO_DEAR = 1e9
"""Added to the importance of a node that the stop rule keeps: it comes last."""


class WitnessSpace(NamedTuple):
    """Scratch memory of contraction over n nodes: reset by every function that writes it."""

    distance: Float64Array  # [n], infinite where not reached
    target_limit: Float64Array  # [n], cost of the way over the node in question, -1 where none is sought
    touched: Int32Array
    heap_key: Float64Array
    heap_node: Int32Array
    source: Int32Array  # shortcuts found, one after another
    target: Int32Array
    cost: Float64Array


class Limits(NamedTuple):
    """ContractionLimits as the kernels take them."""

    settle_simulated: int
    settle_contracted: int
    growth_factor: float
    growth_slack: int


@kernel
def make_witness_space(node_count: int) -> WitnessSpace:
    """Scratch memory for a graph of n nodes."""
    heap_max = min(WITNESS_HEAP_MAX, 64 + 64 * node_count)
    shortcuts_max = min(SHORTCUTS_MAX, 64 + 8 * node_count)
    return WitnessSpace(
        np.full(node_count, np.inf),
        np.full(node_count, -1.0),
        np.empty(heap_max + 1, np.int32),
        np.empty(heap_max + 1, np.float64),
        np.empty(heap_max + 1, np.int32),
        np.empty(shortcuts_max + 1, np.int32),
        np.empty(shortcuts_max + 1, np.int32),
        np.empty(shortcuts_max + 1, np.float64),
    )


@kernel
def _find_witnesses(
    lists: EdgeLists, source: int, skipped: int, bound: float, sought: int, settle_max: int, space: WitnessSpace
) -> None:
    """Dijkstra from `source` around `skipped`: clears `target_limit` of the targets that it reaches as cheaply."""
    distance, target_limit, touched = space.distance, space.target_limit, space.touched
    heap_key, heap_node = space.heap_key, space.heap_node
    heap_max = len(heap_key) - 1
    distance[source] = 0.0
    touched[0] = source
    touched_count = 1
    size = heap_push(heap_key, heap_node, 0, 0.0, source)
    settled = 0
    edges_left = settle_max * EDGES_PER_SETTLED_MAX
    while size > 0 and sought > 0 and settled < settle_max:
        key = heap_key[0]
        node = heap_node[0]
        size = heap_drop_least(heap_key, heap_node, size)
        if key > distance[node]:
            continue
        settled += 1
        if lists.length[node] > edges_left and node != source:
            continue
        edges_left -= lists.length[node]
        begin = lists.start[node]
        for edge in range(begin, begin + lists.length[node]):
            head = lists.head[edge]
            reached = key + lists.weight[edge]
            if reached > bound or reached >= distance[head] or head == skipped:
                continue
            if target_limit[head] >= reached:
                target_limit[head] = -1.0
                sought -= 1
                if sought == 0:
                    break
            if size < heap_max and touched_count < heap_max:
                if distance[head] == np.inf:
                    touched[touched_count] = head
                    touched_count += 1
                distance[head] = reached
                size = heap_push(heap_key, heap_node, size, reached, head)
    for position in range(touched_count):
        distance[touched[position]] = np.inf


@kernel
def find_shortcuts(
    out: EdgeLists,
    into: EdgeLists,
    node: int,
    settle_max: int,
    count_max: int,
    space: WitnessSpace,
    table: DistanceTable,
) -> int:
    """Shortcuts that the contraction of `node` needs, left in `space`; stops at `count_max` + 1 of them."""
    count = 0
    use_table = len(table.distance) > 0
    out_begin = out.start[node]
    out_end = out_begin + out.length[node]
    into_begin = into.start[node]
    for into_edge in range(into_begin, into_begin + into.length[node]):
        source = into.head[into_edge]
        to_node = into.weight[into_edge]
        row = table.number[source] if use_table else 0
        bound = -1.0
        sought = 0
        for edge in range(out_begin, out_end):
            if out.head[edge] != source:
                limit = to_node + out.weight[edge]
                if use_table and limit > table.distance[row, table.number[out.head[edge]]] * (1.0 + TIE_TOLERANCE):
                    continue
                space.target_limit[out.head[edge]] = limit
                bound = max(bound, limit)
                sought += 1
        if sought == 0:
            continue
        _find_witnesses(out, source, node, bound, sought, settle_max, space)
        for edge in range(out_begin, out_end):
            head = out.head[edge]
            if space.target_limit[head] >= 0.0 and head != source:
                space.target_limit[head] = -1.0
                if count <= count_max:
                    space.source[count] = source
                    space.target[count] = head
                    space.cost[count] = to_node + out.weight[edge]
                    count += 1
        if count > count_max:
            break
    return count


@kernel
def _growth_allowed(out: EdgeLists, into: EdgeLists, node: int, limits: Limits, space: WitnessSpace) -> int:
    """How many shortcuts the stop rule grants this node."""
    removed = out.length[node] + into.length[node]
    return min(int(limits.growth_factor * removed) + limits.growth_slack, len(space.source) - 1)


@kernel
def _importance(
    out: EdgeLists,
    into: EdgeLists,
    node: int,
    level: Int32Array,
    limits: Limits,
    space: WitnessSpace,
    table: DistanceTable,
) -> float:
    removed: int = out.length[node] + into.length[node]
    if out.length[node] * into.length[node] > PAIRS_MAX:
        return TOO_DEAR + removed
    allowed = _growth_allowed(out, into, node, limits, space)
    added = find_shortcuts(out, into, node, limits.settle_simulated, allowed, space, table)
    if added > allowed:
        return TOO_DEAR + removed
    key: float = level[node] + 2.0 * added / max(removed, 1)
    return key


@kernel
def _contract_node(
    out: EdgeLists, into: EdgeLists, node: int, count: int, space: WitnessSpace
) -> tuple[EdgeLists, EdgeLists]:
    """Take the node out of its neighbours' edges and put in the `count` shortcuts that `space` holds."""
    begin = out.start[node]
    for edge in range(begin, begin + out.length[node]):
        remove_edge(into, out.head[edge], node)
    begin = into.start[node]
    for edge in range(begin, begin + into.length[node]):
        remove_edge(out, into.head[edge], node)
    for position in range(count):
        source = space.source[position]
        target = space.target[position]
        cost = space.cost[position]
        out = put_edge(out, source, target, cost, node)
        into = put_edge(into, target, source, cost, node)
    return out, into


@kernel
def _raise_neighbours(lists: EdgeLists, node: int, level: Int32Array, waiting: Int8Array, queue: NodeQueue) -> None:
    """Lift the level of the nodes at the edges of a contracted node."""
    begin = lists.start[node]
    for edge in range(begin, begin + lists.length[node]):
        other = lists.head[edge]
        level[other] = max(level[other], level[node] + 1)
        if waiting[other] and queue.place[other] < 0:
            waiting[other] += 1
            if waiting[other] > RETRY_AFTER:
                waiting[other] = 1
                queue_put(queue, other, float(level[other]))


@kernel
def contract_nodes(
    out: EdgeLists,
    into: EdgeLists,
    nodes: Int32Array,
    level: Int32Array,
    waiting: Int8Array,
    rank: Int32Array,
    next_rank: int,
    queue: NodeQueue,
    limits: Limits,
    space: WitnessSpace,
    table: DistanceTable,
) -> tuple[EdgeLists, EdgeLists, int]:
    """Contract those of `nodes` that the stop rule allows, in order of importance.

    `rank[node]` becomes the order of contraction. Returns both lists (their pools may be new) and the next rank.
    """
    for position in range(len(nodes)):
        node = nodes[position]
        waiting[node] = 1
        queue_put(queue, node, _importance(out, into, node, level, limits, space, table))
    while queue.size[0] > 0:
        node = queue_pop(queue)
        key = _importance(out, into, node, level, limits, space, table)
        if key > least_key(queue):
            queue_put(queue, node, key)
            continue
        if key >= TOO_DEAR:
            continue
        allowed = _growth_allowed(out, into, node, limits, space)
        count = find_shortcuts(out, into, node, limits.settle_contracted, allowed, space, table)
        out, into = _contract_node(out, into, node, count, space)
        rank[node] = next_rank
        next_rank += 1
        waiting[node] = 0
        _raise_neighbours(out, node, level, waiting, queue)
        _raise_neighbours(into, node, level, waiting, queue)
    for position in range(len(nodes)):
        waiting[nodes[position]] = 0
    return out, into, next_rank
