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
    Side,
    add_label,
    advance,
    clear_side,
    make_side,
    settle_again,
    spread_out,
    trace_path,
    with_more_room,
)
from planmesh.search.node_queue import least_key
from planmesh.search.plain_search import Edges, checked_edges

LABELS_FIRST: Final = 1 << 14
"""Nodes that a side can label at first. A search that needs more gets four times as much room and goes on."""

SETTLE_MAX: Final = 20_000
"""Nodes that a search settles between two checks of its deadline: some milliseconds."""

GOAL_SIDE: Final = 2
"""The side of a search for lower bounds, after the two of a path. It is allocated when it is first needed."""

HELD_MAX: Final = 4_096
"""Opened partitions of which a search holds the edges. It requests those again that it dropped."""


class State(IntEnum):
    """What a search needs before it can go on."""

    FOUND = mixed_kernels.FOUND
    MORE = mixed_kernels.GOES_ON
    PARTITION = mixed_kernels.NEEDS_PARTITION
    ROOM = mixed_kernels.NEEDS_ROOM


NEVER: Final = np.array([-2], np.int32)
"""A target that no node is: the search ends only when nothing is left."""


@dataclass(frozen=True, slots=True)
class Reach:
    """k nodes by distance, then number: int32[k], float64[k], and the node before each on a cheapest path, int32[k].

    The first is the start, before which there is none (-1).
    """

    nodes: Int32Array
    distances: Float64Array
    previous: Int32Array


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
        self._sides = [make_side(node_room, LABELS_FIRST, partitions) for _ in range(GOAL_SIDE)]
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
            for side, node in zip(self._sides, (start, goal), strict=False):
                add_label(side, node, 0.0, -1, -1, 0.0)
            state = State.MORE
            while state is not State.FOUND:
                ahead, behind = self._sides[:GOAL_SIDE]
                found, wanted, count = advance(
                    self._base, view.arrays, view.version, blocked, opened, ahead, behind, best, SETTLE_MAX
                )
                settled += count
                state = self._after(found, wanted, checkpoint)
            if not np.isfinite(best.cost[0]):
                return MixedPath(np.inf, np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0), settled)
            return MixedPath(float(best.cost[0]), *trace_path(self._sides[0], self._sides[1], best), settled)
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
    ) -> Float64Array:
        """Return the distances to distinct `targets` (int32[t]): float64[t], infinite where there is no path.

        All partitions in which something changed, and those of interior ends, must be opened: a distance says nothing
        about its path, so it cannot be checked.
        """
        try:
            add_label(self._sides[0], start, 0.0, -1, -1, 0.0)
            self._spread(0, view, opened, targets, blocked, np.inf, checkpoint)
            ahead = self._sides[0]
            slots = ahead.slot[targets] - 1
            return np.where(slots >= 0, ahead.distance[slots], np.inf)
        finally:
            self._clear()

    def reach(
        self,
        view: DeltaView,
        start: int,
        distance_max: float,
        count_max: int,
        blocked: Blocked,
        checkpoint: Callable[[], None] = lambda: None,
        *,
        forward: bool = True,
    ) -> Reach | None:
        """Return all nodes within a distance from `start`, or to it if not `forward`, itself included.

        Return None if they are more than `count_max`. Every partition that is reached is opened, so that the distances
        are those of the version.
        """
        number = 0 if forward else 1
        opened = np.ones(len(self._base.partition_first) - 1, np.uint8)
        try:
            add_label(self._sides[number], start, 0.0, -1, -1, 0.0)
            if not self._spread(number, view, opened, NEVER, blocked, distance_max, checkpoint, count_max):
                return None
            side = self._sides[number]
            labels = int(side.used[0])
            slots = np.flatnonzero(side.distance[:labels] <= distance_max)
            order = slots[np.lexsort((side.node[slots], side.distance[slots]))]
            previous = side.parent[order]
            return Reach(
                side.node[order],
                side.distance[order],
                np.where(previous >= 0, side.node[previous], -1).astype(np.int32),
            )
        finally:
            self._clear()

    def costs_to(
        self,
        view: DeltaView,
        goal: int,
        blocked: Blocked,
        checkpoint: Callable[[], None] = lambda: None,
    ) -> CostsToGoal:
        """Return lower bounds of the costs to a node. They are valid until this is called again."""
        if len(self._sides) == GOAL_SIDE:
            first = self._sides[1]
            self._sides.append(make_side(len(first.slot), LABELS_FIRST, len(first.table)))
            for partition in self._held:
                self._fill_tables(partition)
        clear_side(self._sides[GOAL_SIDE])
        return CostsToGoal(self, view, goal, blocked, checkpoint)

    def _spread(
        self,
        number: int,
        view: DeltaView,
        opened: UInt8Array,
        targets: Int32Array,
        blocked: Blocked,
        distance_max: float,
        checkpoint: Callable[[], None],
        count_max: int | None = None,
    ) -> bool:
        """Settle nodes on one side until distinct targets are settled, or all that are within a distance.

        Return whether that was done before more than `count_max` nodes were settled.
        """
        settled = 0
        best = Meeting(np.full(1, np.inf), np.full(2, -1, np.int32))
        wanted_nodes, missing = make_blocked(targets.tolist()).nodes, np.array([len(targets)], np.int64)
        forward, other = (True, 1) if number == 0 else (False, 0)
        state = State.MORE
        while state is not State.FOUND:
            found, wanted, count = spread_out(
                self._base,
                view.arrays,
                view.version,
                blocked,
                opened,
                self._sides[number],
                self._sides[other],
                forward,
                best,
                wanted_nodes,
                missing,
                distance_max,
                SETTLE_MAX,
            )
            settled += count
            if count_max is not None and settled > count_max:
                return False
            state = self._after(found, wanted, checkpoint)
        return True

    def _after(self, found: int, wanted: int, checkpoint: Callable[[], None]) -> State:
        """Do what a search needs before it can go on."""
        state = State(found)
        if state is State.MORE:
            checkpoint()
        elif state is State.PARTITION:
            self._hold(wanted)
        elif state is State.ROOM:
            self._sides = [with_more_room(side) for side in self._sides]
        return state

    def _hold(self, partition: int) -> None:
        first = self._base.partition_first
        node_count = int(first[partition + 1] - first[partition])
        out, into = (checked_edges(edges, node_count, int(first[-1])) for edges in self._edges_of(partition))
        while len(self._held) >= HELD_MAX:
            self._drop(next(iter(self._held)))
        self._held[partition] = (out, into)
        self._fill_tables(partition)

    def _fill_tables(self, partition: int) -> None:
        out, into = self._held[partition]
        for side, edges in zip(self._sides, (out, into, into), strict=False):
            side.table[partition] = [*(array.ctypes.data for array in edges), len(edges[1])]

    def _drop(self, partition: int) -> None:
        for side in self._sides:
            side.table[partition] = 0
        del self._held[partition]

    def _clear(self) -> None:
        for side in self._sides[:GOAL_SIDE]:
            clear_side(side)


class CostsToGoal:
    """Lower bounds of the costs from nodes to a goal, from one backward search that goes on when more are needed.

    Partitions are opened as far as its questions need it. In them, and while nothing that is closed became dearer, the
    bounds are the costs themselves.
    """

    def __init__(
        self,
        search: MixedSearch,
        view: DeltaView,
        goal: int,
        blocked: Blocked,
        checkpoint: Callable[[], None],
    ) -> None:
        self._search = search
        self._view = view
        self._blocked = blocked
        self._checkpoint = checkpoint
        self._opened = view.patched.astype(np.uint8)
        self._open_at(np.array([goal], np.int32))
        add_label(self._side, goal, 0.0, -1, -1, 0.0)

    def of(self, nodes: Int32Array, distance_max: float = np.inf) -> Float64Array:
        """Return a lower bound for each of distinct nodes (int32[t]): float64[t], infinite where there is no path.

        Nodes that are farther than `distance_max` may all get the same bound, which is more than that.
        """
        self._open_at(nodes)
        slots = self._side.slot[nodes] - 1
        is_settled = (slots >= 0) & (self._side.distance[slots] <= least_key(self._side.queue))
        if not is_settled.all():
            targets = nodes[~is_settled]
            search = self._search
            search._spread(GOAL_SIDE, self._view, self._opened, targets, self._blocked, distance_max, self._checkpoint)
        slots, least = self._side.slot[nodes] - 1, least_key(self._side.queue)
        return np.where(slots >= 0, np.minimum(self._side.distance[slots], least), least)

    @property
    def _side(self) -> Side:
        return self._search._sides[GOAL_SIDE]

    def _open_at(self, nodes: Int32Array) -> None:
        """Open the partitions of interior nodes."""
        base = self._search._base
        known = nodes[nodes < base.partition_first[-1]]
        inner = known[base.overlay_of[known] < 0]
        for partition in np.unique(np.searchsorted(base.partition_first, inner, "right") - 1).tolist():
            if not self._opened[partition]:
                self._opened[partition] = 1
                settle_again(base, self._side, partition)
