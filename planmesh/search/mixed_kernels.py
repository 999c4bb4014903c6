"""The kernels of searches of the mixed graph (`planmesh.search.mixed_graph`)."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import carray  # type: ignore[attr-defined]

from planmesh.graph.model import Float64Array, Int32Array, Int64Array, UInt8Array
from planmesh.kernels import kernel
from planmesh.search.delta import UP, Blocked, DeltaArrays, cost_at, edge_key, is_in, state_at
from planmesh.search.mixed_graph import MixedBase, cost_today
from planmesh.search.node_queue import NodeQueue, clear_queue, least_key, make_node_queue, queue_pop, queue_put
from planmesh.search.plain_search import as_pointer

FOUND: Final = 0
GOES_ON: Final = 1
NEEDS_PARTITION: Final = 2
NEEDS_ROOM: Final = 3
"""What a search has come to: see `planmesh.search.mixed_search.State`."""

EDGE_COUNT: Final = 3
"""Column of the number of edges in the table of held partitions, after the addresses of firsts, ends and costs."""


class Side(NamedTuple):
    """One direction of a search. A node gets a slot when it is labelled; the other arrays are indexed by slot."""

    slot: Int32Array  # [N], 1 + the slot of a node, 0 for none
    node: Int32Array
    distance: Float64Array
    parent: Int32Array  # the slot from which the node was reached, -1 for the end itself
    via: Int32Array  # the level-1 edge by which it was reached, -1 for an edge of the graph
    cost: Float64Array  # of that edge
    queue: NodeQueue  # of slots
    used: Int32Array  # [1], slots in use
    table: npt.NDArray[np.uint64]  # [P, 4]: addresses of firsts, ends and costs, number of edges; 0 if not held


class Meeting(NamedTuple):
    """The best path so far: its cost, and the slots at which the two directions meet."""

    cost: Float64Array  # [1]
    slots: Int32Array  # [2], forward and backward


@kernel(inline=True)
def add_label(side: Side, node: int, distance: float, parent: int, via: int, cost: float) -> int:
    """Label a node, or lower its label; return its slot, -1 if it has a label as good."""
    slot: int = side.slot[node] - 1
    if slot < 0:
        slot = side.used[0]
        side.used[0] = slot + 1
        side.slot[node] = slot + 1
        side.node[slot] = node
    elif distance >= side.distance[slot]:
        return -1
    side.distance[slot] = distance
    side.parent[slot] = parent
    side.via[slot] = via
    side.cost[slot] = cost
    queue_put(side.queue, slot, distance)
    return slot


@kernel(inline=True)
def _relax(
    delta: DeltaArrays,
    version: int,
    blocked: Blocked,
    side: Side,
    other: Side,
    forward: bool,
    best: Meeting,
    from_slot: int,
    node: int,
    via: int,
    cost: float,
    least_other: float,
) -> None:
    """Reach a node by an edge, unless the node or the edge is not to be used, or no better path can lead through it.

    `least_other` is the least key of the other side, 0 if that does not search.
    """
    reached = side.distance[from_slot] + cost
    if reached >= best.cost[0]:
        return
    known = side.slot[node] - 1
    met = other.slot[node] - 1
    # The other side has settled all nodes that are nearer to its end than `least_other`.
    is_too_far = met < 0 and reached + least_other >= best.cost[0]
    if is_too_far or (known >= 0 and reached >= side.distance[known]):
        return
    if delta.state_entry[node] != 0 and state_at(delta, node, version) != UP:
        return
    if len(blocked.nodes) > 2 and is_in(blocked.nodes, node):
        return
    if len(blocked.edges) > 2 and via < 0:
        at = side.node[from_slot]
        if is_in(blocked.edges, edge_key(at, node) if forward else edge_key(node, at)):
            return
    slot = add_label(side, node, reached, from_slot, via, cost)
    if slot < 0:
        return
    if met >= 0 and reached + other.distance[met] < best.cost[0]:
        best.cost[0] = reached + other.distance[met]
        best.slots[0 if forward else 1] = slot
        best.slots[1 if forward else 0] = met


@kernel
def _changes_at(delta: DeltaArrays, forward: bool, node: int) -> int:
    count = 0
    slot = (delta.out_slot[node] if forward else delta.in_slot[node]) - 1
    while slot >= 0:
        count += 1
        slot = delta.next_out[slot] if forward else delta.next_in[slot]
    return count


@kernel
def _settle(
    base: MixedBase,
    delta: DeltaArrays,
    version: int,
    blocked: Blocked,
    opened: UInt8Array,
    side: Side,
    other: Side,
    forward: bool,
    best: Meeting,
) -> tuple[int, int]:
    """Settle the next node of a side; return a State and the partition whose edges are needed, or -1."""
    node = side.node[side.queue.node[0]]
    is_new = node >= base.partition_first[-1]
    partition = -1 if is_new else np.searchsorted(base.partition_first, node, "right") - 1
    is_open = not is_new and opened[partition] != 0
    overlay_node = -1 if is_new else base.overlay_of[node]
    room = len(side.node) - side.used[0] - _changes_at(delta, forward, node)
    begin, end = 0, 0
    if is_open:
        if side.table[partition, 0] == 0:
            return NEEDS_PARTITION, partition
        first = carray(
            as_pointer(side.table[partition, 0]),
            base.partition_first[partition + 1] - base.partition_first[partition] + 1,
            np.int32,
        )
        local = node - base.partition_first[partition]
        begin, end = first[local], first[local + 1]
    elif overlay_node >= 0:
        firsts = base.first_out if forward else base.first_in
        begin, end = firsts[overlay_node], firsts[overlay_node + 1]
    if end - begin > room:
        return NEEDS_ROOM, -1
    slot = queue_pop(side.queue)
    least_other = other.queue.key[0] if other.queue.size[0] > 0 else 0.0
    if is_open:
        edge_count = side.table[partition, EDGE_COUNT]
        heads = carray(as_pointer(side.table[partition, 1]), edge_count, np.int32)
        costs = carray(as_pointer(side.table[partition, 2]), edge_count, np.float64)
        for edge in range(begin, end):
            cost = cost_today(delta, version, forward, node, heads[edge], costs[edge])
            _relax(delta, version, blocked, side, other, forward, best, slot, heads[edge], -1, cost, least_other)
    elif overlay_node >= 0:
        low, high = base.overlay_first[partition], base.overlay_first[partition + 1]
        for position in range(begin, end):
            edge = position if forward else base.edge_in[position]
            far = base.head[position] if forward else base.tail[position]
            reached, cost, via = base.overlay_global[far], base.weight[edge], edge
            if far < low or far >= high:
                cost = cost_today(delta, version, forward, node, reached, cost)
                via = -1
            _relax(delta, version, blocked, side, other, forward, best, slot, reached, via, cost, least_other)
    changed = (delta.out_slot[node] if forward else delta.in_slot[node]) - 1
    while changed >= 0:
        cost = cost_at(delta, changed, version)
        if cost < delta.base_cost[changed]:
            far = delta.head[changed] if forward else delta.tail[changed]
            _relax(delta, version, blocked, side, other, forward, best, slot, far, -1, cost, least_other)
        changed = delta.next_out[changed] if forward else delta.next_in[changed]
    return GOES_ON, -1


@kernel
def advance(
    base: MixedBase,
    delta: DeltaArrays,
    version: int,
    blocked: Blocked,
    opened: UInt8Array,
    ahead: Side,
    behind: Side,
    best: Meeting,
    settle_max: int,
) -> tuple[int, int, int]:
    """Settle up to `settle_max` nodes; return a State, the wanted partition, and how many were settled."""
    for settled in range(settle_max):
        one, two = ahead.queue, behind.queue
        if one.size[0] == 0 or two.size[0] == 0 or one.key[0] + two.key[0] >= best.cost[0]:
            return FOUND, -1, settled
        if one.size[0] <= two.size[0]:
            state, partition = _settle(base, delta, version, blocked, opened, ahead, behind, True, best)
        else:
            state, partition = _settle(base, delta, version, blocked, opened, behind, ahead, False, best)
        if state != GOES_ON:
            return state, partition, settled
    return GOES_ON, -1, settle_max


@kernel
def spread_out(
    base: MixedBase,
    delta: DeltaArrays,
    version: int,
    blocked: Blocked,
    opened: UInt8Array,
    side: Side,
    other: Side,
    forward: bool,
    best: Meeting,
    targets: Int64Array,
    missing: Int64Array,
    distance_max: float,
    settle_max: int,
) -> tuple[int, int, int]:
    """As advance, on one side alone, until no node of the set `targets` is `missing` (int64[1]) any more.

    Nodes that are farther than `distance_max` are not settled.
    """
    for settled in range(settle_max):
        if missing[0] == 0 or least_key(side.queue) > distance_max or side.queue.size[0] == 0:
            return FOUND, -1, settled
        node = side.node[side.queue.node[0]]
        state, partition = _settle(base, delta, version, blocked, opened, side, other, forward, best)
        if state != GOES_ON:
            return state, partition, settled
        if is_in(targets, node):
            missing[0] -= 1
    return GOES_ON, -1, settle_max


@kernel
def settle_again(base: MixedBase, side: Side, partition: int) -> None:
    """Have the settled overlay nodes of a partition settled once more, because it is opened from now on."""
    for number in range(base.overlay_first[partition], base.overlay_first[partition + 1]):
        slot = side.slot[base.overlay_global[number]] - 1
        if slot >= 0 and side.queue.place[slot] < 0:
            queue_put(side.queue, slot, side.distance[slot])


@kernel
def trace_path(ahead: Side, behind: Side, best: Meeting) -> tuple[Int32Array, Int32Array, Float64Array]:
    """Return the nodes of the best path, the level-1 edges that it takes (-1 for edges of the graph), and the costs."""
    before, after = 0, 0
    slot = best.slots[0]
    while ahead.parent[slot] >= 0:
        before += 1
        slot = ahead.parent[slot]
    slot = best.slots[1]
    while behind.parent[slot] >= 0:
        after += 1
        slot = behind.parent[slot]
    nodes = np.empty(before + after + 1, np.int32)
    via = np.empty(before + after, np.int32)
    costs = np.empty(before + after, np.float64)
    slot = best.slots[0]
    for position in range(before, -1, -1):
        nodes[position] = ahead.node[slot]
        if position > 0:
            via[position - 1] = ahead.via[slot]
            costs[position - 1] = ahead.cost[slot]
            slot = ahead.parent[slot]
    slot = best.slots[1]
    for position in range(before, before + after):
        via[position] = behind.via[slot]
        costs[position] = behind.cost[slot]
        slot = behind.parent[slot]
        nodes[position + 1] = behind.node[slot]
    return nodes, via, costs


@kernel
def clear_side(side: Side) -> None:
    """Forget all labels. The cost is proportional to their number."""
    for slot in range(side.used[0]):
        side.slot[side.node[slot]] = 0
    side.used[0] = 0
    clear_queue(side.queue)


def make_side(node_room: int, labels: int, partitions: int) -> Side:
    """Allocate a side: 4 bytes for each node of `node_room`, and 44 for each label."""
    return Side(
        np.zeros(node_room, np.int32),
        np.empty(labels, np.int32),
        np.empty(labels, np.float64),
        np.empty(labels, np.int32),
        np.empty(labels, np.int32),
        np.empty(labels, np.float64),
        make_node_queue(labels),
        np.zeros(1, np.int32),
        np.zeros((partitions, 4), np.uint64),
    )


def with_more_room(side: Side) -> Side:
    """Return a side with the same labels and room for four times as many."""
    queue = make_node_queue(4 * len(side.node))
    size = int(side.queue.size[0])
    queue.key[:size], queue.node[:size] = side.queue.key[:size], side.queue.node[:size]
    queue.place[: len(side.node)] = side.queue.place
    queue.size[0] = size
    names = ("node", "distance", "parent", "via", "cost")
    longer = {
        name: np.concatenate([getattr(side, name), np.empty(3 * len(side.node), getattr(side, name).dtype)])
        for name in names
    }
    return side._replace(queue=queue, **longer)
