"""Plans of a graph that has changed since its base, or that avoid something: searched here, in the mapped files.

The mixed graph needs the edges of opened partitions and the changes, which no worker has. See
`planmesh.search.mixed_graph`.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np
from cachetools import LRUCache

from planmesh.errors import SnapshotDamaged, SnapshotError, Unavailable, VersionGone
from planmesh.graph.model import Float64Array, Int32Array
from planmesh.rpc.deadline import Deadline
from planmesh.search.changed_path import ChangedPath, Segment, cheapest_path
from planmesh.search.delta import NOTHING_BLOCKED
from planmesh.search.mixed_search import MixedSearch
from planmesh.search.plain_search import Edges
from planmesh.search.unpack import SegmentKind
from services.coordinator.graph_changes import ChangesView, GraphChanges
from services.coordinator.optioned_paths import FoundPaths, OptionedPaths, Stops
from services.coordinator.path_options import PathOptions
from services.coordinator.segment_expansion import SegmentExpander
from services.coordinator.shard_queries import ShardQueries
from services.coordinator.versioned_graph import VersionedGraph

T = TypeVar("T")

UNCHANGED_MAX: Final = 4
"""Bases without changes whose arrays for searches are kept: 4 bytes a node and 12 a level-1 edge."""


@dataclass(slots=True)
class Work:
    """The conditions of one call. `left` is set when its caller is gone, so that the thread stops."""

    deadline: Deadline
    left: threading.Event = field(default_factory=threading.Event)

    def checkpoint(self) -> None:
        """Raise DeadlineExceeded after the deadline, and CancelledError after the caller has left."""
        self.deadline.raise_if_passed("the plan")
        if self.left.is_set():
            raise asyncio.CancelledError


class ChangedPlans:
    """Searches the mixed graphs of the served versions, in threads that each reuse their memory."""

    def __init__(self, queries: ShardQueries, expander: SegmentExpander, executor: Executor) -> None:
        self._queries = queries
        self._expander = expander
        self._executor = executor
        self._memory = threading.local()
        self._unchanged: LRUCache[str, ChangesView] = LRUCache(UNCHANGED_MAX)
        self._lock = threading.Lock()

    async def paths(
        self,
        graph: VersionedGraph,
        ends: Sequence[tuple[int, int]],
        deadline: Deadline,
    ) -> list[ChangedPath]:
        """Return a cheapest path for each pair of node numbers.

        Raises DeadlineExceeded, and Unavailable when a file of the base is damaged.
        """

        def compute(search: MixedSearch, view: ChangesView, work: Work) -> list[ChangedPath]:
            expand = functools.partial(self._segments, graph)
            return [
                cheapest_path(search, view.base, view.delta, start, goal, expand, checkpoint=work.checkpoint)
                for start, goal in ends
            ]

        return await self.run(graph, deadline, compute)

    async def optioned(
        self, graph: VersionedGraph, stops: Stops, options: PathOptions, deadline: Deadline
    ) -> FoundPaths:
        """Return the cheapest path along some nodes, and alternatives. Raises as `paths` and OptionedPaths.find."""

        def compute(search: MixedSearch, view: ChangesView, work: Work) -> FoundPaths:
            expand = functools.partial(self._segments, graph)
            finder = OptionedPaths(graph, view, search, expand, options.avoid.on(graph), work.checkpoint)
            return finder.find(stops, options)

        return await self.run(graph, deadline, compute)

    async def distances(
        self, graph: VersionedGraph, starts: Sequence[int], targets: Int32Array, deadline: Deadline
    ) -> Float64Array:
        """Return the costs from each start to distinct targets (int32[t]): float64[s, t]. Raises as `paths`."""

        def compute(search: MixedSearch, view: ChangesView, work: Work) -> Float64Array:
            opened = view.delta.touched.astype(np.uint8)
            known = np.array([*starts, *targets.tolist()], np.int32)
            opened[graph.directory.partition_of_many(known[known < graph.node_count])] = 1
            rows = [
                search.distances(view.delta, opened, start, targets, NOTHING_BLOCKED, work.checkpoint)
                for start in starts
            ]
            return np.array(rows)

        return await self.run(graph, deadline, compute)

    async def run(
        self, graph: VersionedGraph, deadline: Deadline, compute: Callable[[MixedSearch, ChangesView, Work], T]
    ) -> T:
        """Run a computation on a version's mixed graph in a thread. Raises as `paths`."""
        work = Work(deadline)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._compute, graph, work, compute)
        except asyncio.CancelledError:
            work.left.set()
            raise
        except SnapshotDamaged as error:
            self._queries.report_damage(graph, error.file)
            raise Unavailable(
                f"file {error.file} of graph {graph.name!r} is damaged and being rebuilt from the store; try again",
                file=error.file,
            ) from error
        except (SnapshotError, VersionGone, OSError) as error:
            raise Unavailable(f"a file of graph {graph.name!r} could not be read: {error}; try again") from error

    def _compute(self, graph: VersionedGraph, work: Work, compute: Callable[[MixedSearch, ChangesView, Work], T]) -> T:
        work.checkpoint()
        view = graph.changes or self._no_changes(graph)
        search = self._search(graph, view)
        return compute(search, view, work)

    def _no_changes(self, graph: VersionedGraph) -> ChangesView:
        """Return the changes of a base without any, for requests with options."""
        with self._lock:
            kept = self._unchanged.get(graph.identity)
        if kept is None:
            kept = GraphChanges(graph, capacity=1).view()
            with self._lock:
                self._unchanged[graph.identity] = kept
        return kept

    def _search(self, graph: VersionedGraph, view: ChangesView) -> MixedSearch:
        """Return this thread's search of a base; another base, or a larger delta, gets a new one."""
        key = graph.identity, view.changes
        kept = getattr(self._memory, "search", None)
        if kept is not None and kept[0] == key:
            assert isinstance(kept[1], MixedSearch)
            return kept[1]
        mapped = graph.mapped
        assert mapped is not None, "graphs that change are opened with their files"

        def edges_of(number: int) -> tuple[Edges, Edges]:
            partition = mapped.partition(number)
            return (
                (partition.out_first, partition.out_head, partition.out_cost),
                (partition.in_first, partition.in_tail, partition.in_cost),
            )

        search = MixedSearch(view.base, len(view.delta.arrays.out_slot), edges_of)
        self._memory.search = key, search
        return search

    def _segments(self, graph: VersionedGraph, edges: Int32Array) -> list[Segment]:
        """Return the segments along level-1 edges: edges of the graph, stored segments, or expanded here."""
        opened = graph.overlay
        overlay = opened.overlay
        tails = (np.searchsorted(overlay.first_out, edges, "right") - 1).astype(np.int32)
        heads = overlay.head[edges]
        found: dict[int, Segment] = {}
        wanted: list[int] = []
        for position, edge in enumerate(edges.tolist()):
            tail, head = opened.overlay_global[tails[position]], opened.overlay_global[heads[position]]
            if opened.is_original[edge]:
                found[position] = np.array([tail, head], np.int32), overlay.weight[edge : edge + 1].copy()
                continue
            stored = opened.segments.segment(edge, tail)
            if stored is None:
                wanted.append(position)
            else:
                found[position] = stored
        if wanted:
            partitions = graph.partition_of_overlay(tails[wanted])
            first = opened.overlay_first[partitions]
            kinds = np.full(len(wanted), SegmentKind.EDGE, np.int32)
            rows = np.column_stack([partitions, kinds, tails[wanted] - first, heads[wanted] - first])
            expanded = self._expander.expand_now(graph, rows.astype(np.int32))
            for place, position in enumerate(wanted):
                nodes = expanded.node[expanded.first[place] : expanded.first[place + 1]]
                costs = expanded.cost[expanded.cost_first[place] : expanded.cost_first[place + 1]]
                found[position] = nodes, costs
        return [found[position] for position in range(len(edges))]
