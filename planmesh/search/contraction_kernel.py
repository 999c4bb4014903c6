"""The inner loops of contraction: witness searches, the queue of nodes by importance, the contraction itself."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array, Int64Array
from planmesh.kernels import kernel
from planmesh.search.binary_heap import heap_pop, heap_push
from planmesh.search.distance_table import DistanceTable
from planmesh.search.edge_lists import EdgeLists, put_edge, remove_edge
from planmesh.search.node_queue import NodeQueue, least_key, queue_pop, queue_put

TOO_DEAR = 1e9
"""Added to the importance of a node that the stop rule keeps: it comes last."""


class Bound(IntEnum):
    """Bounds of contraction, as positions in `WitnessSpace.reached`, which counts how often each was reached.

    ARCHITECTURE.md has a table of what happens at each; ContractionLimits has their values.
    """

    SETTLE = 0
    """A witness search ended because it had settled as many nodes as it may."""
    EDGES_PER_SETTLED = 1
    """A witness search did not follow the edges of a node that has more of them than it may still look at."""
    WITNESS_HEAP = 2
    """A witness search did not follow a node because its queue was full."""
    SHORTCUTS = 3
    """The buffer of shortcuts, not the stop rule, decided how many a node may add."""
    GROWTH_SIMULATED = 4
    """A node would have added more shortcuts than the stop rule grants, as far as its short witness searches knew."""
    GROWTH_CONTRACTED = 5
    """The same, found when the node was about to be contracted, by its longer witness searches."""
    PAIRS = 6
    """A node had too many pairs of edges to look at."""
    RETRY_AFTER = 7
    """A node that the stop rule had kept was looked at again, because enough of its neighbours had gone."""
    TABLE_NODES = 8
    """Too many nodes were left for a table of their distances."""
    TIE_TOLERANCE = 9
    """Two costs were too close to each other for the table to decide."""


BOUND_COUNT = len(Bound)
# Numba compiles integers, not members of an enumeration.
SETTLE, EDGES_PER_SETTLED, WITNESS_HEAP, SHORTCUTS = (int(bound) for bound in list(Bound)[:4])
GROWTH_SIMULATED, GROWTH_CONTRACTED, PAIRS, RETRY_AFTER = (int(bound) for bound in list(Bound)[4:8])
TIE_TOLERANCE = int(Bound.TIE_TOLERANCE)


class WitnessSpace(NamedTuple):
    """Scratch memory of contraction over n nodes: reset by every function that writes it."""

    distance: Float64Array  # [n], infinite where not reached
    target_limit: Float64Array  # [n], cost of the path over the node in question, -1 where none is sought
    touched: Int32Array
    heap_key: Float64Array
    heap_node: Int32Array
    source: Int32Array  # shortcuts found, one after another
    target: Int32Array
    cost: Float64Array
    reached: Int64Array  # [BOUND_COUNT], how often each bound was reached; only ever grows


class Limits(NamedTuple):
    """One round's share of ContractionLimits, as the kernels take it."""

    settle_simulated_max: int
    settle_contracted_max: int
    edges_per_settled_max: int
    pairs_max: int
    growth_factor: float
    growth_slack: int
    retry_after: int
    tie_tolerance: float


@kernel
def make_witness_space(node_count: int, heap_max: int, shortcuts_max: int) -> WitnessSpace:
    """Scratch memory for a graph of n nodes; a queue and a buffer of at most `heap_max` and `shortcuts_max` entries."""
    return WitnessSpace(
        np.full(node_count, np.inf),
        np.full(node_count, -1.0),
        np.empty(heap_max + 1, np.int32),
        np.empty(heap_max + 1, np.float64),
        np.empty(heap_max + 1, np.int32),
        np.empty(shortcuts_max + 1, np.int32),
        np.empty(shortcuts_max + 1, np.int32),
        np.empty(shortcuts_max + 1, np.float64),
        np.zeros(BOUND_COUNT, np.int64),
    )


@kernel
def _find_witnesses(
    lists: EdgeLists,
    source: int,
    skipped: int,
    bound: float,
    sought: int,
    settle_max: int,
    edges_per_settled_max: int,
    space: WitnessSpace,
) -> None:
    """Dijkstra from `source` around `skipped`: clears `target_limit` of the targets that it reaches as cheaply.

    Whatever bound ends it early, each target that it clears has a path; a target that it misses only costs a shortcut
    that is not needed. A longer search need not find all that a shorter one finds: it may spend its edges on a hub
    that the shorter one passes over.
    """
    distance, target_limit, touched = space.distance, space.target_limit, space.touched
    heap_key, heap_node, reached_count = space.heap_key, space.heap_node, space.reached
    heap_max = len(heap_key) - 1
    distance[source] = 0.0
    touched[0] = source
    touched_count = 1
    size = heap_push(heap_key, heap_node, 0, 0.0, source)
    settled = 0
    edges_left = settle_max * edges_per_settled_max
    while size > 0 and sought > 0 and settled < settle_max:
        key = heap_key[0]
        node = heap_node[0]
        size = heap_pop(heap_key, heap_node, size)
        if key > distance[node]:
            continue
        settled += 1
        if lists.length[node] > edges_left and node != source:
            reached_count[EDGES_PER_SETTLED] += 1
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
            else:
                reached_count[WITNESS_HEAP] += 1
    if settled == settle_max and size > 0 and sought > 0:
        reached_count[SETTLE] += 1
    for position in range(touched_count):
        distance[touched[position]] = np.inf


@kernel
def find_shortcuts(
    out: EdgeLists,
    into: EdgeLists,
    node: int,
    settle_max: int,
    count_max: int,
    limits: Limits,
    space: WitnessSpace,
    table: DistanceTable,
) -> int:
    """Shortcuts that the contraction of `node` needs, left in `space`.

    It stops at `count_max` + 1 of them. Then the set is not whole, and the node must not be contracted with it.
    """
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
                if use_table:
                    known = table.distance[row, table.number[out.head[edge]]]
                    if limit > known * (1.0 + limits.tie_tolerance):
                        continue
                    if limit > known:
                        space.reached[TIE_TOLERANCE] += 1
                space.target_limit[out.head[edge]] = limit
                bound = max(bound, limit)
                sought += 1
        if sought == 0:
            continue
        _find_witnesses(out, source, node, bound, sought, settle_max, limits.edges_per_settled_max, space)
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
    """How many shortcuts the stop rule grants this node; no more than there is room for, and one."""
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
    if out.length[node] * into.length[node] > limits.pairs_max:
        space.reached[PAIRS] += 1
        return TOO_DEAR + removed
    allowed = _growth_allowed(out, into, node, limits, space)
    added = find_shortcuts(out, into, node, limits.settle_simulated_max, allowed, limits, space, table)
    if added > allowed:
        space.reached[SHORTCUTS if allowed == len(space.source) - 1 else GROWTH_SIMULATED] += 1
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
def _raise_neighbours(
    lists: EdgeLists,
    node: int,
    level: Int32Array,
    waiting: Int32Array,
    retry_after: int,
    queue: NodeQueue,
    space: WitnessSpace,
) -> None:
    """Lift the level of the nodes at the edges of a contracted node, and give those that were kept another chance."""
    begin = lists.start[node]
    for edge in range(begin, begin + lists.length[node]):
        other = lists.head[edge]
        level[other] = max(level[other], level[node] + 1)
        if waiting[other] and queue.place[other] < 0:
            waiting[other] += 1
            if waiting[other] > retry_after:
                waiting[other] = 1
                space.reached[RETRY_AFTER] += 1
                queue_put(queue, other, float(level[other]))


@kernel
def contract_nodes(
    out: EdgeLists,
    into: EdgeLists,
    nodes: Int32Array,
    level: Int32Array,
    waiting: Int32Array,
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
        count = find_shortcuts(out, into, node, limits.settle_contracted_max, allowed, limits, space, table)
        if count > allowed:
            # The search stopped there: what it found is not all that is needed, so the node stays.
            space.reached[SHORTCUTS if allowed == len(space.source) - 1 else GROWTH_CONTRACTED] += 1
            continue
        out, into = _contract_node(out, into, node, count, space)
        rank[node] = next_rank
        next_rank += 1
        waiting[node] = 0
        _raise_neighbours(out, node, level, waiting, limits.retry_after, queue, space)
        _raise_neighbours(into, node, level, waiting, limits.retry_after, queue, space)
    for position in range(len(nodes)):
        waiting[nodes[position]] = 0
    return out, into, next_rank
