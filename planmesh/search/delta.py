"""The changes of a graph since its base, in memory, readable at every version since then.

The base is an immutable snapshot. The delta has, for each edge and each node that changed, its values in the order of
their versions (multi-version concurrency control: Reed 1978). One thread adds changes; searches read concurrently, each
at its own version, and skip what is newer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from planmesh.graph.model import BoolArray, Float64Array, Int32Array, Int64Array, UInt8Array
from planmesh.kernels import kernel

UP: Final = 0
DOWN: Final = 1
GONE: Final = 2
"""States of a node: on paths, on no path, not in the graph."""

CAPACITY_DEFAULT: Final = 1 << 18
"""Changes for which a delta has room, if it is not told otherwise: 20 MB, of which unused pages take no memory."""


NEWEST: Final = 2**62
"""Greater than any version."""


class DeltaArrays(NamedTuple):
    """The arrays of a delta over a base of n nodes. Positions are plus 1 where 0 means none; -1 means none elsewhere.

    N is n and the room for new nodes, whose numbers follow those of the base. There is a slot for each changed edge; a
    slot's values, and a node's states, are chains from the newest to the oldest.
    """

    out_slot: Int32Array  # [N], 1 + the newest slot of an edge that leaves the node
    in_slot: Int32Array  # [N], 1 + the newest slot of an edge into the node
    state_entry: Int32Array  # [N], 1 + the newest state of the node
    tail: Int32Array  # [E]
    head: Int32Array  # [E]
    base_cost: Float64Array  # [E], infinite for an edge that the base does not have
    next_out: Int32Array  # [E], the next slot with the same tail
    next_in: Int32Array  # [E], the next slot with the same head
    newest: Int32Array  # [E], position of the newest value
    cost: Float64Array  # [V], infinite for a deleted edge
    version: Int64Array  # [V]
    older: Int32Array  # [V]
    state: UInt8Array  # [S]
    state_version: Int64Array  # [S]
    older_state: Int32Array  # [S]
    table: Int32Array  # [power of 2], 1 + the slot of an edge: open addressing
    base_nodes: Int64Array  # [1], n


class Blocked(NamedTuple):
    """Nodes and edges that a search must not use: sets of numbers, and of edge keys, with open addressing.

    A table is int64[power of 2] with -1 for free places, and at most half full.
    """

    nodes: Int64Array
    edges: Int64Array


@kernel(inline=True)
def edge_key(tail: int, head: int) -> int:
    """Return the number by which sets and tables know an edge."""
    return (np.int64(tail) << 32) | np.int64(head)  # type: ignore[return-value]


@kernel(inline=True)
def _spread(key: int) -> int:
    """Return a hash of a key, from 0 (the finaliser of SplitMix64, shortened)."""
    mixed = np.uint64(key)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = mixed ^ (mixed >> np.uint64(27))
    return np.int64(mixed & np.uint64(0x7FFFFFFFFFFFFFFF))  # type: ignore[return-value]


@kernel
def is_in(table: Int64Array, key: int) -> bool:
    """Return whether a set has a key."""
    mask = len(table) - 1
    place = _spread(key) & mask
    while table[place] != -1:
        if table[place] == key:
            return True
        place = (place + 1) & mask
    return False


@kernel
def _make_set(keys: Int64Array) -> Int64Array:
    size = 2
    while size < 2 * len(keys) + 1:
        size *= 2
    table = np.full(size, -1, np.int64)
    for key in keys:
        place = _spread(key) & (size - 1)
        while table[place] != -1 and table[place] != key:
            place = (place + 1) & (size - 1)
        table[place] = key
    return table


def make_blocked(nodes: Sequence[int] | Int64Array = (), edges: Sequence[tuple[int, int]] = ()) -> Blocked:
    """Return the sets of node numbers and of edges (tail, head) that a search must not use."""
    keys = np.array(edges, np.int64).reshape(-1, 2)
    return Blocked(_make_set(np.array(nodes, np.int64)), _make_set((keys[:, 0] << 32) | keys[:, 1]))


NOTHING_BLOCKED: Final = Blocked(np.full(2, -1, np.int64), np.full(2, -1, np.int64))


@kernel
def find_slot(delta: DeltaArrays, tail: int, head: int) -> int:
    """Return the slot of an edge, -1 if it never changed."""
    mask = len(delta.table) - 1
    place = _spread(edge_key(tail, head)) & mask
    while delta.table[place] != 0:
        slot: int = delta.table[place] - 1
        if delta.tail[slot] == tail and delta.head[slot] == head:
            return slot
        place = (place + 1) & mask
    return -1


@kernel
def cost_at(delta: DeltaArrays, slot: int, version: int) -> float:
    """Return the cost of a changed edge at a version, infinite if it does not exist then."""
    entry = delta.newest[slot]
    while entry >= 0 and delta.version[entry] > version:
        entry = delta.older[entry]
    cost: float = delta.base_cost[slot] if entry < 0 else delta.cost[entry]
    return cost


@kernel
def state_at(delta: DeltaArrays, node: int, version: int) -> int:
    """Return the state of a node at a version."""
    entry = delta.state_entry[node] - 1
    while entry >= 0 and delta.state_version[entry] > version:
        entry = delta.older_state[entry]
    if entry >= 0:
        state: int = delta.state[entry]
        return state
    return UP if node < delta.base_nodes[0] else GONE


@kernel
def _put_in_table(delta: DeltaArrays, slot: int) -> None:
    mask = len(delta.table) - 1
    place = _spread(edge_key(delta.tail[slot], delta.head[slot])) & mask
    while delta.table[place] != 0:
        place = (place + 1) & mask
    delta.table[place] = slot + 1


@kernel
def _put_cost(
    delta: DeltaArrays, slots: int, entry: int, tail: int, head: int, base_cost: float, cost: float, version: int
) -> int:
    """Add a value at position `entry`; return the number of slots. What readers follow is written last."""
    slot = find_slot(delta, tail, head)
    delta.cost[entry] = cost
    delta.version[entry] = version
    if slot >= 0:
        delta.older[entry] = delta.newest[slot]
        delta.newest[slot] = entry
        return slots
    delta.older[entry] = -1
    delta.tail[slots] = tail
    delta.head[slots] = head
    delta.base_cost[slots] = base_cost
    delta.newest[slots] = entry
    delta.next_out[slots] = delta.out_slot[tail] - 1
    delta.next_in[slots] = delta.in_slot[head] - 1
    _put_in_table(delta, slots)
    delta.out_slot[tail] = slots + 1
    delta.in_slot[head] = slots + 1
    return slots + 1


class DeltaFull(Exception):  # noqa: N818 - not an error of the caller
    """The delta has no room for another change. Make one with a larger capacity, and add all changes to it again."""


@dataclass(frozen=True, slots=True)
class DeltaView:
    """A delta at one version. `patched` bool[P] are the partitions that a search has to open.

    Something in them became cheaper or is new, so that their indexes say too much. `touched` bool[P] are all partitions
    in which something changed.
    """

    arrays: DeltaArrays
    version: int
    patched: BoolArray
    touched: BoolArray
    has_patches: bool
    """Whether an edge became cheaper than in the base, or is new, at this version or before."""

    def state(self, node: int) -> int:
        """Return the state of a node."""
        return int(state_at(self.arrays, node, self.version))

    def cost(self, tail: int, head: int) -> float | None:
        """Return the cost of an edge, infinite if it was deleted; None if it is as in the base."""
        slot = find_slot(self.arrays, tail, head)
        return None if slot < 0 else float(cost_at(self.arrays, slot, self.version))


class Delta:
    """The changes since a base of n nodes, in partitions with the first numbers `partition_first` int32[P + 1].

    `overlay_of` int32[n] is the overlay number of each node, -1 for interior nodes. Not thread-safe, but searches may
    read `view()` in other threads meanwhile: what they can see is never changed.
    """

    def __init__(self, partition_first: Int32Array, overlay_of: Int32Array, capacity: int = CAPACITY_DEFAULT) -> None:
        """Take room for `capacity` changes. It is fixed: longer arrays would pull the rug from under running searches.

        The pages of unchanged nodes are never written, so they take no memory.
        """
        self._first = partition_first
        self._overlay_of = overlay_of
        self._nodes = int(partition_first[-1])
        self.capacity = capacity
        table_size = 4
        while table_size < 4 * capacity:
            table_size *= 2
        integers, floats = np.int32, np.float64
        self._arrays = DeltaArrays(
            out_slot=np.zeros(self._nodes + capacity, integers),
            in_slot=np.zeros(self._nodes + capacity, integers),
            state_entry=np.zeros(self._nodes + capacity, integers),
            tail=np.zeros(capacity, integers),
            head=np.zeros(capacity, integers),
            base_cost=np.zeros(capacity, floats),
            next_out=np.zeros(capacity, integers),
            next_in=np.zeros(capacity, integers),
            newest=np.zeros(capacity, integers),
            cost=np.zeros(capacity, floats),
            version=np.zeros(capacity, np.int64),
            older=np.zeros(capacity, integers),
            state=np.zeros(capacity, np.uint8),
            state_version=np.zeros(capacity, np.int64),
            older_state=np.zeros(capacity, integers),
            table=np.zeros(table_size, integers),
            base_nodes=np.array([self._nodes], np.int64),
        )
        self._slots = self._entries = self._states = 0
        partitions = len(partition_first) - 1
        self._patched = np.zeros(partitions, bool)
        self._touched = np.zeros(partitions, bool)
        self._has_patches = False
        self.node_end = self._nodes
        """The number after the last node, new ones included."""

    @property
    def size(self) -> int:
        """The number of values and states."""
        return self._entries + self._states

    def view(self, version: int) -> DeltaView:
        """Return the delta at a version, which must not be newer than the last change."""
        return DeltaView(self._arrays, version, self._patched.copy(), self._touched.copy(), self._has_patches)

    def newest_view(self) -> DeltaView:
        """Return the delta with all its changes, for looking up single values."""
        return DeltaView(self._arrays, NEWEST, self._patched, self._touched, self._has_patches)

    def add_node(self, version: int) -> int:
        """Add a node that exists from a version on; return its number."""
        node = self.node_end
        self.set_state(node, UP, version)
        self.node_end += 1
        return node

    def set_state(self, node: int, state: int, version: int) -> None:
        """Set the state of a node from a version on."""
        if self._states == self.capacity:
            raise DeltaFull
        arrays, entry = self._arrays, self._states
        arrays.state[entry] = state
        arrays.state_version[entry] = version
        arrays.older_state[entry] = arrays.state_entry[node] - 1
        arrays.state_entry[node] = entry + 1
        self._states += 1
        self._touch(node)

    def set_cost(self, tail: int, head: int, base_cost: float, cost: float, version: int) -> None:
        """Set the cost of an edge from a version on: infinite deletes it.

        `base_cost` is its cost in the base, infinite if the base does not have it.
        """
        if self._entries == self.capacity:
            raise DeltaFull
        self._slots = _put_cost(self._arrays, self._slots, self._entries, tail, head, base_cost, cost, version)
        self._entries += 1
        for node in (tail, head):
            self._touch(node)
        if cost < base_cost:
            self._has_patches = True
            for node in (tail, head):
                # An index does not know the edge. Overlay nodes are never contracted, so a search finds it there.
                if node < self._nodes and self._overlay_of[node] < 0:
                    self._patched[self._partition(node)] = True

    def _partition(self, node: int) -> int:
        return int(np.searchsorted(self._first, node, "right")) - 1

    def _touch(self, node: int) -> None:
        if node < self._nodes:
            self._touched[self._partition(node)] = True
