"""Expansion of segments from the partition files that the coordinator maps, so that plans need no second task."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Executor

import numpy as np

from planmesh.errors import InternalError, SnapshotDamaged, SnapshotError, VersionGone
from planmesh.graph.model import Int32Array
from planmesh.search.batch_local import BatchLocalSearch
from planmesh.search.batch_segments import Segments
from planmesh.search.local_search import LocalSearch
from planmesh.telemetry.logs import get_logger
from services.coordinator.batch_queries import NO_SEGMENTS
from services.coordinator.shard_queries import ShardQueries
from services.coordinator.versioned_graph import VersionedGraph

log = get_logger(__name__)


class SegmentExpander:
    """Expands segments of the graphs whose files are mapped: on the event loop while that is short, else in threads."""

    def __init__(self, queries: ShardQueries, executor: Executor) -> None:
        self._queries = queries
        self._executor = executor
        self._searches = threading.local()

    async def expand(self, graph: VersionedGraph, rows: Int32Array) -> Segments | None:
        """Return k segments in global numbers, or None: workers have to expand them.

        `rows` int32[k, 4] are partition, SegmentKind, first and second node of each. A file that cannot be read leaves
        the segments of this version to the workers from then on. Raises InternalError when a segment has no path.
        """
        mapped = graph.mapped
        if mapped is None or not graph.expands_here:
            return None
        if not len(rows):
            return Segments.of(*NO_SEGMENTS)
        try:
            if graph.expansions.are_short(len(rows)) and mapped.are_open(set(rows[:, 0].tolist())):
                return self.expand_now(graph, rows)
            return await asyncio.get_running_loop().run_in_executor(self._executor, self.expand_now, graph, rows)
        except (SnapshotError, VersionGone, OSError) as error:
            mapped.failed = True
            log.warning(
                "partition file not read, workers expand this version's segments",
                graph=graph.name,
                version=graph.version,
                error=repr(error),
            )
            if isinstance(error, SnapshotDamaged):
                self._queries.report_damage(graph, error.file)
            return None

    def expand_now(self, graph: VersionedGraph, rows: Int32Array) -> Segments:
        """Return the segments, in this thread. Raises InternalError, and what SnapshotReader does."""
        assert graph.mapped is not None, "the caller has looked"
        search = getattr(self._searches, "search", None)
        if search is None:
            # One for each thread, which reuses its memory.
            search = self._searches.search = LocalSearch()
        assert isinstance(search, LocalSearch)
        kinds, (first, second) = rows[:, 1].astype(np.uint8), np.ascontiguousarray(rows[:, 2:].T)
        # Processor time: on a busy machine, a short expansion may be suspended for a long time.
        begun_s = time.thread_time()
        indexes = graph.mapped.indexes()
        try:
            places = indexes.places(rows[:, 0], graph.mapped.index)
            found = BatchLocalSearch(search).unpack_many(indexes, places, kinds, first, second)
        except (ValueError, AssertionError) as error:
            del self._searches.search  # the interrupted search leaves labels behind
            raise InternalError(f"a segment of graph {graph.name!r} could not be expanded: {error}") from error
        nodes = found.nodes + np.repeat(graph.partition_first[rows[:, 0]], found.lengths)
        graph.expansions.note((time.thread_time() - begun_s) / len(rows))
        return Segments.of(found.lengths, nodes, found.costs)
