"""Joins the segments of many paths at once, and checks them."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array, Int64Array, UInt8Array
from planmesh.kernels import kernel
from planmesh.search.batch_segments import LOCAL, ORIGINAL, STORED, Ends, OverlayMap, Resolved, Segments
from planmesh.search.read_only import read_only

JOINED: Final = 0
BROKEN: Final = 1
WRONG_COST: Final = 2
LOOPS: Final = 3
"""State of an assembled path: correct; segments that do not join; a sum that is not the expected cost; correct, but a
node appears twice (on a cheapest path the loop costs 0)."""


class AssembledPaths(NamedTuple):
    """q paths: path i has the nodes `node[first[i]:first[i + 1]]` (int32, global numbers).

    The costs of its edges (float64) have the positions `first[i]` - i and following, one less than it has nodes.
    `total` float64[q] are their sums, added in order. `state` uint8[q] says whether the path is correct.
    """

    first: Int64Array
    node: Int32Array
    cost: Float64Array
    total: Float64Array
    state: UInt8Array


@kernel
def _longer_nodes(nodes: Int32Array, end: int, more: int) -> Int32Array:
    if end + more <= len(nodes):
        return nodes
    longer = np.empty(2 * (end + more), np.int32)
    longer[: len(nodes)] = nodes
    return longer


@kernel
def _longer_costs(costs: Float64Array, end: int, more: int) -> Float64Array:
    if end + more <= len(costs):
        return costs
    longer = np.empty(2 * (end + more), np.float64)
    longer[: len(costs)] = costs
    return longer


@kernel
def _has_twice(nodes: Int32Array, begin: int, end: int, table: Int32Array) -> tuple[bool, Int32Array]:
    """Return whether a node appears twice, and the hash table, made larger when it had too little room."""
    size = 16
    while size < 2 * (end - begin):
        size *= 2
    if size > len(table):
        table = np.empty(size, np.int32)
    table[:size] = -1
    for position in range(begin, end):
        node = nodes[position]
        slot = (node * 0x9E3779B1) & (size - 1)
        while table[slot] >= 0:
            if table[slot] == node:
                return True, table
            slot = (slot + 1) & (size - 1)
        table[slot] = node
    return False, table


@kernel
def _assemble(
    overlay: OverlayMap,
    start: Int32Array,
    goal: Int32Array,
    expected: Float64Array,
    tolerance: float,
    first: Int64Array,
    source: UInt8Array,
    place: Int64Array,
    tail: Int32Array,
    local: Segments,
    expanded: Segments,
    room: int,
) -> tuple[Int64Array, Int32Array, Float64Array, Float64Array, UInt8Array]:
    count = len(start)
    path_first = np.zeros(count + 1, np.int64)
    nodes = np.empty(max(count * room, 1), np.int32)
    costs = np.empty(max(count * room, 1), np.float64)
    totals = np.zeros(count, np.float64)
    state = np.zeros(count, np.uint8)
    table = np.empty(0, np.int32)
    end = 0
    for query in range(count):
        begin = end
        nodes = _longer_nodes(nodes, end, 1)
        nodes[end] = start[query]
        end += 1
        whole = True
        for segment in range(first[query], first[query + 1]):
            at = place[segment]
            # The nodes of the segment after its first one, and the costs of the edges to them.
            if source[segment] == ORIGINAL:
                whole = whole and nodes[end - 1] == tail[segment]
                more_nodes = overlay.number[overlay.head[at] : overlay.head[at] + 1]
                more_costs = overlay.weight[at : at + 1]
            elif source[segment] == STORED:
                whole = whole and nodes[end - 1] == tail[segment]
                more_nodes = overlay.stored_node[overlay.stored_first[at] : overlay.stored_first[at + 1]]
                more_costs = overlay.stored_cost[overlay.stored_first[at] : overlay.stored_first[at + 1]]
            else:
                among = local if source[segment] == LOCAL else expanded
                low, high = among.first[at], among.first[at + 1]
                whole = whole and high > low and nodes[end - 1] == among.node[low]
                if not whole:
                    break
                more_nodes = among.node[low + 1 : high]
                more_costs = among.cost[among.cost_first[at] : among.cost_first[at + 1]]
            nodes = _longer_nodes(nodes, end, len(more_nodes))
            costs = _longer_costs(costs, end, len(more_nodes))
            nodes[end : end + len(more_nodes)] = more_nodes
            costs[end - query - 1 : end - query - 1 + len(more_costs)] = more_costs
            end += len(more_nodes)
        path_first[query + 1] = end
        total = 0.0
        for position in range(begin - query, end - query - 1):
            total += costs[position]
        totals[query] = total
        twice, table = _has_twice(nodes, begin, end, table)
        if not whole or nodes[end - 1] != goal[query]:
            state[query] = BROKEN
        elif not abs(total - expected[query]) <= tolerance * max(abs(expected[query]), abs(total)):
            state[query] = WRONG_COST
        elif twice:
            state[query] = LOOPS
    return path_first, nodes[:end].copy(), costs[: max(end - count, 0)].copy(), totals, state


PATH_NODES_EXPECTED: Final = 32
"""Nodes of a path for which there is room at first. Longer paths double the room."""


def assemble(
    overlay: OverlayMap,
    ends: Ends,
    expected: Float64Array,
    tolerance: float,
    resolved: Resolved,
    local: Segments,
    expanded: Segments,
    room: int = PATH_NODES_EXPECTED,
) -> AssembledPaths:
    """Join the segments of q paths.

    `expected` float64[q] is the cost of each path by the search, from which the sum of its edges may differ by the
    relative `tolerance`. `expanded` has a segment for each row of `resolved.missing`. `room` is the initial room in
    nodes for a path.
    """
    return AssembledPaths(
        *_assemble(
            overlay,
            read_only(ends.start, np.int32),
            read_only(ends.goal, np.int32),
            read_only(expected, np.float64),
            float(tolerance),
            read_only(resolved.first, np.int64),
            read_only(resolved.source, np.uint8),
            read_only(resolved.place, np.int64),
            read_only(resolved.tail, np.int32),
            local,
            expanded,
            room,
        )
    )
