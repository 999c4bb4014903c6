"""Searches of the mixed graph of a base and its delta: bidirectional (Pohl 1971), or from one node to many.

Nodes have global numbers; new ones follow those of the base.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array, UInt8Array
from planmesh.search import mixed_kernels
from planmesh.search.delta import Blocked, DeltaView, make_blocked
from planmesh.search.mixed_graph import MixedBase
from planmesh.search.mixed_kernels import (
    Meeting,
    add_label,
    advance,
    clear_side,
    make_side,
    spread_out,
    trace_path,
    with_more_room,
)
from planmesh.search.plain_search import Edges, checked_edges

LABELS_FIRST: Final = 1 << 14
"""Nodes that a side can label at first. A search that needs more gets four times as much room and goes on."""

SETTLE_MAX: Final = 20_000
"""Nodes that a search settles between two checks of its deadline: some milliseconds."""

HELD_MAX: Final = 4_096
"""Opened partitions of which a search holds the edges. It requests those again that it dropped."""


class State(IntEnum):
    """What a search needs before it can go on."""

    FOUND = mixed_kernels.FOUND
    MORE = mixed_kernels.GOES_ON
    PARTITION = mixed_kernels.NEEDS_PARTITION
    ROOM = mixed_kernels.NEEDS_ROOM


@dataclass(frozen=True, slots=True)
class MixedPath:
    """A cheapest path of the mixed graph: nodes int32[k] from start to goal, and how it leads from each to the next.

    `via` int32[k - 1] is a level-1 edge, or -1 for an edge of the graph; `costs` float64[k - 1]. `cost` is infinite and
    the arrays are empty if there is no path. `settled` counts the nodes that were settled.
    """

    cost: float
    nodes: Int32Array
    via: Int32Array
    costs: Float64Array
    settled: int


class MixedSearch:
    """Searches one base at any version of its deltas. Not thread-safe: it reuses its memory.

    `edges_of` returns the edges that leave the nodes of a partition, and those that arrive at them, both with firsts
    from 0 and global numbers of the other ends; what it raises ends the search. `node_room` is N, the nodes of the base
    and the capacity of its delta.
    """

    def __init__(self, base: MixedBase, node_room: int, edges_of: Callable[[int], tuple[Edges, Edges]]) -> None:
        self._base = base
        self._edges_of = edges_of
        partitions = len(base.partition_first) - 1
        self._sides = (make_side(node_room, LABELS_FIRST, partitions), make_side(node_room, LABELS_FIRST, partitions))
        self._held: dict[int, tuple[Edges, Edges]] = {}

    def path(
        self,
        view: DeltaView,
        opened: UInt8Array,
        start: int,
        goal: int,
        blocked: Blocked,
        checkpoint: Callable[[], None] = lambda: None,
    ) -> MixedPath:
        """Return a cheapest path between two nodes of the mixed graph; `opened` are its opened partitions, uint8[P].

        An end that is an interior node must lie in an opened partition, and both must be up at the version.
        `checkpoint` is called every SETTLE_MAX nodes, and may raise to stop.
        """
        best = Meeting(np.full(1, np.inf), np.full(2, -1, np.int32))
        if start == goal:
            return MixedPath(0.0, np.array([start], np.int32), np.empty(0, np.int32), np.empty(0), 0)
        settled = 0
        try:
            for side, node in zip(self._sides, (start, goal), strict=True):
                add_label(side, node, 0.0, -1, -1, 0.0)
            state = State.MORE
            while state is not State.FOUND:
                found, wanted, count = advance(
                    self._base, view.arrays, view.version, blocked, opened, *self._sides, best, SETTLE_MAX
                )
                settled += count
                state = self._after(found, wanted, checkpoint)
            if not np.isfinite(best.cost[0]):
                return MixedPath(np.inf, np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0), settled)
            return MixedPath(float(best.cost[0]), *trace_path(*self._sides, best), settled)
        finally:
            self._clear()

    def distances(
        self,
        view: DeltaView,
        opened: UInt8Array,
        start: int,
        targets: Int32Array,
        blocked: Blocked,
        checkpoint: Callable[[], None] = lambda: None,
        *,
        forward: bool = True,
    ) -> Float64Array:
        """Return the distances to distinct `targets` (int32[t]): float64[t], infinite where there is no path.

        With `forward` false, they are those from the targets to the start. All partitions in which something changed,
        and those of interior ends, must be opened: a distance says nothing about its path, so it cannot be checked. If
        only those are opened that a path needs, the distances are lower bounds.
        """
        best = Meeting(np.full(1, np.inf), np.full(2, -1, np.int32))
        wanted_nodes, missing = make_blocked(targets.tolist()).nodes, np.array([len(targets)], np.int64)
        own = 0 if forward else 1
        try:
            add_label(self._sides[own], start, 0.0, -1, -1, 0.0)
            state = State.MORE
            while state is not State.FOUND:
                found, wanted, _ = spread_out(
                    self._base,
                    view.arrays,
                    view.version,
                    blocked,
                    opened,
                    self._sides[own],
                    self._sides[1 - own],
                    forward,
                    best,
                    wanted_nodes,
                    missing,
                    SETTLE_MAX,
                )
                state = self._after(found, wanted, checkpoint)
            side = self._sides[own]
            slots = side.slot[targets] - 1
            return np.where(slots >= 0, side.distance[slots], np.inf)
        finally:
            self._clear()

    def _after(self, found: int, wanted: int, checkpoint: Callable[[], None]) -> State:
        """Do what a search needs before it can go on."""
        state = State(found)
        if state is State.MORE:
            checkpoint()
        elif state is State.PARTITION:
            self._hold(wanted)
        elif state is State.ROOM:
            self._sides = (with_more_room(self._sides[0]), with_more_room(self._sides[1]))
        return state

    def _hold(self, partition: int) -> None:
        first = self._base.partition_first
        node_count = int(first[partition + 1] - first[partition])
        out, into = (checked_edges(edges, node_count, int(first[-1])) for edges in self._edges_of(partition))
        while len(self._held) >= HELD_MAX:
            self._drop(next(iter(self._held)))
        self._held[partition] = (out, into)
        for side, edges in zip(self._sides, (out, into), strict=True):
            side.table[partition] = [*(array.ctypes.data for array in edges), len(edges[1])]

    def _drop(self, partition: int) -> None:
        for side in self._sides:
            side.table[partition] = 0
        del self._held[partition]

    def _clear(self) -> None:
        for side in self._sides:
            clear_side(side)
