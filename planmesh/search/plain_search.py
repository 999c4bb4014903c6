"""A plain search of a partitioned graph, in slices: no index, no overlay, no copy of the graph.

It is a bidirectional Dijkstra search (Pohl 1971) on the edges in the partitions' files. The caller passes the edges of
a partition when the search reaches it, and decides after each slice whether to continue. So the search of a graph of
any size needs memory only for the nodes that it labels, and fits any time budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import carray  # type: ignore[attr-defined]
from numba.core import cgutils, types
from numba.extending import intrinsic

from planmesh.graph.model import Float64Array, Int32Array
from planmesh.kernels import kernel
from planmesh.search.node_queue import NodeQueue, make_node_queue, queue_pop, queue_put
from planmesh.search.read_only import read_only

LABELS_MAX: Final = 1 << 21
"""Nodes that one side of a search may label: 2 million take 64 MB. A search that needs more ends as FULL."""

Edges = tuple[Int32Array, Int32Array, Float64Array]
"""Edges of a partition of n nodes: firsts int32[n + 1], other ends int32[m] as global numbers, costs float64[m]."""


class Progress(IntEnum):
    """The state of a search after a slice."""

    FOUND = 0
    """The search is finished. The cost is exact, infinite if there is no path."""
    MORE = 1
    """The slice has settled its maximum of nodes; call `advance` again."""
    PARTITION = 2
    """The search needs the edges of `wanted_partition`; pass them to `hand_over` and call `advance` again."""
    FULL = 3
    """The search would label too many nodes, so it ends without a result."""


def _generate_pointer(typing_context: Any, address: Any) -> Any:  # noqa: ARG001 - as Numba calls it
    """Convert an address (uint64) to the pointer type that `carray` takes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


as_pointer: Any = intrinsic(_generate_pointer)
"""In kernels: converts an address (uint64) to the pointer that `carray` takes."""


class Side(NamedTuple):
    """One direction of the search. A node gets a slot when it is labelled; the other arrays are indexed by slot."""

    slot: Int32Array  # [n], 1 + the slot of a node, 0 for none: zeroed pages that are never written take no memory
    node: Int32Array  # [capacity], by slot
    distance: Float64Array  # [capacity], by slot
    queue: NodeQueue  # of slots
    used: Int32Array  # [1], slots in use
    table: npt.NDArray[np.uint64]  # [P, 4]: addresses of firsts, ends and costs, number of edges; 0 if not held


@kernel
def _label(side: Side, node: int, distance: float) -> bool:
    """Lower a node's distance to `distance` if that is less; return False when no slot is left."""
    slot = side.slot[node] - 1
    if slot < 0:
        slot = side.used[0]
        if slot == len(side.node):
            return False
        side.used[0] = slot + 1
        side.slot[node] = slot + 1
        side.node[slot] = node
    elif distance >= side.distance[slot]:
        return True
    side.distance[slot] = distance
    queue_put(side.queue, slot, distance)
    return True


@kernel
def _settle(side: Side, other: Side, partition: int, first_node: int, node_count: int, best: Float64Array) -> bool:
    """Settle the next node of a side, which is in `partition`; return False when no slot is left."""
    slot = queue_pop(side.queue)
    distance = side.distance[slot]
    local = side.node[slot] - first_node
    edge_count = side.table[partition, 3]
    first = carray(as_pointer(side.table[partition, 0]), node_count + 1, np.int32)
    end = carray(as_pointer(side.table[partition, 1]), edge_count, np.int32)
    cost = carray(as_pointer(side.table[partition, 2]), edge_count, np.float64)
    for edge in range(first[local], first[local + 1]):
        reached = distance + cost[edge]
        if reached == np.inf:
            continue
        node = end[edge]
        met = other.slot[node] - 1
        if met >= 0 and reached + other.distance[met] < best[0]:
            best[0] = reached + other.distance[met]
        if not _label(side, node, reached):
            return False
    return True


@kernel
def _advance(
    partition_first: Int32Array, forward: Side, backward: Side, best: Float64Array, settle_max: int
) -> tuple[int, int]:
    """Settle up to `settle_max` nodes; return a Progress and the partition whose edges are needed, or -1."""
    ahead, behind = forward.queue, backward.queue
    for _ in range(settle_max):
        # A side with an empty queue has settled all nodes in its reach, so it has met the other end if there is a path.
        if ahead.size[0] == 0 or behind.size[0] == 0 or ahead.key[0] + behind.key[0] >= best[0]:
            return 0, -1
        from_start = ahead.size[0] <= behind.size[0]
        side, other = (forward, backward) if from_start else (backward, forward)
        node = side.node[side.queue.node[0]]
        partition = np.searchsorted(partition_first, node, "right") - 1
        if side.table[partition, 0] == 0:
            return 2, partition
        first_node = partition_first[partition]
        if not _settle(side, other, partition, first_node, partition_first[partition + 1] - first_node, best):
            return 3, -1
    return 1, -1


@dataclass(slots=True)
class _HeldEdges:
    """Keeps alive the arrays whose addresses are in the tables."""

    out: Edges
    into: Edges


class PlainSearch:
    """One search between two nodes. It is not thread-safe.

    `partition_first` int32[P + 1] are the first global numbers of the partitions. The search holds the edges of at most
    `partitions_max` partitions. It drops the one it has held longest, and requests it again when needed.
    """

    def __init__(
        self,
        partition_first: Int32Array,
        start: int,
        goal: int,
        *,
        labels_max: int = LABELS_MAX,
        partitions_max: int = 4_096,
    ) -> None:
        """Label both ends. Allocates 8 bytes for each node of the graph and 32 for each of `labels_max` on either side.

        Raises ValueError for an end that is not a node.
        """
        node_count = int(partition_first[-1])
        for node in (start, goal):
            if not 0 <= node < node_count:
                raise ValueError(f"expected a node below {node_count}, got {node}")
        capacity = min(node_count, labels_max)
        self._first = read_only(partition_first, np.int32)
        partition_count = len(self._first) - 1
        self._sides = (
            _make_side(node_count, capacity, partition_count),
            _make_side(node_count, capacity, partition_count),
        )
        self._best = np.full(1, np.inf if start != goal else 0.0)
        self._held: dict[int, _HeldEdges] = {}
        self._partitions_max = max(1, partitions_max)
        self.wanted_partition = -1
        for side, node in zip(self._sides, (start, goal), strict=True):
            _label(side, node, 0.0)

    @property
    def cost(self) -> float:
        """The cost of the cheapest path once the search is FOUND, infinite if there is none."""
        return float(self._best[0])

    @property
    def labelled(self) -> int:
        """The number of nodes labelled by both sides together."""
        return sum(int(side.used[0]) for side in self._sides)

    def hand_over(self, partition: int, out: Edges, into: Edges) -> None:
        """Pass the edges that leave the nodes of a partition, and those that arrive at them.

        Raises ValueError when the arrays do not fit the partition, because the kernel reads them by address.
        """
        node_count = int(self._first[partition + 1] - self._first[partition])
        held = _HeldEdges(
            checked_edges(out, node_count, self._first[-1]), checked_edges(into, node_count, self._first[-1])
        )
        while len(self._held) >= self._partitions_max:
            oldest = next(iter(self._held))
            for side in self._sides:
                side.table[oldest] = 0
            del self._held[oldest]
        self._held[partition] = held
        for side, edges in zip(self._sides, (held.out, held.into), strict=True):
            side.table[partition] = [*(array.ctypes.data for array in edges), len(edges[1])]

    def advance(self, settle_max: int) -> Progress:
        """Continue until `settle_max` more nodes are settled or the search cannot continue; see Progress."""
        progress, self.wanted_partition = _advance(self._first, *self._sides, self._best, settle_max)
        return Progress(progress)


def _make_side(node_count: int, capacity: int, partitions: int) -> Side:
    return Side(
        np.zeros(node_count, np.int32),
        np.empty(capacity, np.int32),
        np.empty(capacity, np.float64),
        make_node_queue(capacity),
        np.zeros(1, np.int32),
        np.zeros((partitions, 4), np.uint64),
    )


def checked_edges(edges: Edges, node_count: int, node_end: int) -> Edges:
    """Return the edges as aligned, contiguous arrays; raise ValueError when firsts or ends are out of bounds."""
    first, end, cost = (
        np.require(array, dtype, ["C", "A"])
        for array, dtype in zip(edges, (np.int32, np.int32, np.float64), strict=True)
    )
    fits = (
        len(first) == node_count + 1
        and len(end) == len(cost) == int(first[-1])
        and int(first[0]) == 0
        and bool(np.all(first[1:] >= first[:-1]))
        and (len(end) == 0 or (int(end.min()) >= 0 and int(end.max()) < node_end))
    )
    if not fits:
        raise ValueError(
            f"expected {node_count + 1} firsts that ascend from 0 to the number of edges, and ends from 0 to "
            f"{node_end - 1}, got arrays that do not fit: {len(first)} firsts, {len(end)} ends and {len(cost)} costs"
        )
    return first, end, cost
