"""The mixed graph of a base and its delta: what it is made of, and today's costs of a path.

Some partitions of it are *closed*: only their overlay nodes and the overlay's level-1 edges between them are in it, at
the costs of the base. The others are *opened*: all their nodes and edges are in it, at today's costs. So are the edges
between partitions, new edges and cheaper ones. If the partitions that became cheaper inside are opened, a distance in
the mixed graph is at most today's. A cheapest path of the mixed graph, all of whose edges cost today what they cost in
the search, is therefore a cheapest path of today. If an edge costs more today, its partition has to be opened as well.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array, UInt8Array
from planmesh.kernels import kernel
from planmesh.search.delta import UP, Blocked, DeltaArrays, DeltaView, cost_at, edge_key, find_slot, is_in, state_at
from planmesh.search.overlay import Overlay
from planmesh.search.read_only import read_only


class MixedBase(NamedTuple):
    """What a search needs of the base: P partitions, n nodes, an overlay of k nodes and m level-1 edges."""

    partition_first: Int32Array  # [P + 1]
    overlay_of: Int32Array  # [n], -1 for interior nodes
    overlay_first: Int32Array  # [P + 1]
    overlay_global: Int32Array  # [k]
    first_out: Int32Array  # [k + 1]
    head: Int32Array  # [m]
    weight: Float64Array  # [m]
    first_in: Int32Array  # [k + 1], of the edges into a node
    tail: Int32Array  # [m], by first_in
    edge_in: Int32Array  # [m], by first_in: position of the edge in `head` and `weight`


def overlay_numbers(overlay_global: Int32Array, node_count: int) -> Int32Array:
    """Return the overlay number of each of n nodes, -1 for interior ones: int32[n]."""
    numbers: Int32Array = np.full(node_count, -1, np.int32)
    numbers[overlay_global] = np.arange(len(overlay_global), dtype=np.int32)
    return read_only(numbers, np.int32)


def make_mixed_base(
    partition_first: Int32Array,
    overlay: Overlay,
    overlay_first: Int32Array,
    overlay_global: Int32Array,
    overlay_of: Int32Array,
) -> MixedBase:
    """Return the arrays for searches; see OpenOverlay. Sorts the level-1 edges by head: a second for ten millions."""
    count = overlay.node_count
    tails = np.repeat(np.arange(count, dtype=np.int32), np.diff(overlay.first_out))
    order = np.argsort(overlay.head, kind="stable").astype(np.int32)
    first_in = np.zeros(count + 1, np.int32)
    np.cumsum(np.bincount(overlay.head, minlength=count), out=first_in[1:])
    return MixedBase(
        partition_first=read_only(partition_first, np.int32),
        overlay_of=read_only(overlay_of, np.int32),
        overlay_first=read_only(overlay_first, np.int32),
        overlay_global=read_only(overlay_global, np.int32),
        first_out=read_only(overlay.first_out, np.int32),
        head=read_only(overlay.head, np.int32),
        weight=read_only(overlay.weight, np.float64),
        first_in=read_only(first_in, np.int32),
        tail=read_only(tails[order], np.int32),
        edge_in=read_only(order, np.int32),
    )


@kernel(inline=True)
def cost_today(delta: DeltaArrays, version: int, forward: bool, at: int, end: int, cost: float) -> float:
    """Return today's cost of an edge of the graph between `at` and `end`, which costs `cost` in the base."""
    if (delta.out_slot[at] if forward else delta.in_slot[at]) == 0:
        return cost
    slot = find_slot(delta, at, end) if forward else find_slot(delta, end, at)
    today: float = cost if slot < 0 else cost_at(delta, slot, version)
    return today


@kernel
def _price(
    base: MixedBase,
    delta: DeltaArrays,
    version: int,
    blocked: Blocked,
    nodes: Int32Array,
    costs: Float64Array,
    opened: UInt8Array,
) -> int:
    raised = 0
    node_end = base.partition_first[-1]
    for position in range(len(nodes)):
        node = nodes[position]
        wrong = delta.state_entry[node] != 0 and state_at(delta, node, version) != UP
        if len(blocked.nodes) > 2 and is_in(blocked.nodes, node):
            wrong = True
        if position + 1 < len(nodes):
            head = nodes[position + 1]
            cost = cost_today(delta, version, True, node, head, costs[position])
            if len(blocked.edges) > 2 and is_in(blocked.edges, edge_key(node, head)):
                cost = np.inf
            if cost > costs[position]:
                wrong = True
            costs[position] = cost
        if wrong:
            raised += 1
            if node < node_end:
                opened[np.searchsorted(base.partition_first, node, "right") - 1] = 1
    return raised


def price(
    base: MixedBase, view: DeltaView, blocked: Blocked, nodes: Int32Array, costs: Float64Array, opened: UInt8Array
) -> int:
    """Replace the costs of a path's edges (float64[k - 1]) by today's; return how many places cost more than before.

    `nodes` int32[k] are those of the graph. The partitions of these places are marked in `opened` (uint8[P]).
    """
    raised: int = _price(base, view.arrays, view.version, blocked, nodes, costs, opened)
    return raised
