"""The segments of one plan: expanded here, from the cache, or expanded by workers in a second task."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from operator import itemgetter

import numpy as np

from planmesh.internal.v1 import task_pb2
from planmesh.rpc.deadline import Deadline
from planmesh.search.batch_segments import Segments as ExpandedSegments
from services.coordinator.kept_results import KeptResults
from services.coordinator.phases import Phase
from services.coordinator.segment_expansion import SegmentExpander
from services.coordinator.shard_queries import ShardQueries
from services.coordinator.versioned_graph import Segment, SegmentKey, Segments, VersionedGraph


class Unpacker:
    """Finds the segments of plans that are computed alone."""

    def __init__(self, queries: ShardQueries, expander: SegmentExpander, kept: KeptResults) -> None:
        self._queries = queries
        self._expander = expander
        self._kept = kept

    async def unpack(
        self,
        graph: VersionedGraph,
        segment_refs: list[Segment | SegmentKey],
        deadline: Deadline,
        phase: Phase,
        *,
        use_kept: bool,
    ) -> list[Segment]:
        """Replace each key by its segment: expanded here, from the cache, or expanded by a worker."""
        keys = sorted({ref for ref in segment_refs if len(ref) != 2}, key=itemgetter(1))
        if not keys:
            return [ref for ref in segment_refs if len(ref) == 2]
        # Rows have the partition first.
        table = np.array(keys, np.int32)[:, [1, 0, 2, 3]]
        expanded = await self._expander.expand(graph, table)
        if expanded is not None:
            here = dict(zip(keys, _cut(expanded), strict=True))
            return [ref if len(ref) == 2 else here[ref] for ref in segment_refs]
        known = await self._expanded_by_workers(graph, keys, deadline, phase, use_kept=use_kept)
        return [ref if len(ref) == 2 else known[ref] for ref in segment_refs]

    async def _expanded_by_workers(
        self, graph: VersionedGraph, keys: list[SegmentKey], deadline: Deadline, phase: Phase, *, use_kept: bool
    ) -> dict[SegmentKey, Segment]:
        wanted: dict[int, dict[int, list[SegmentKey]]] = defaultdict(lambda: defaultdict(list))
        known: dict[SegmentKey, Segment] = {}
        for key in keys:
            kept = self._kept.segment(graph.identity, key) if use_kept else None
            if kept is not None:
                known[key] = kept
            else:
                wanted[graph.shard_of(key[1])][key[1]].append(key)
        operations = {
            shard: [_unpack_operation(partition, asked) for partition, asked in partitions.items()]
            for shard, partitions in wanted.items()
        }
        answers = await self._queries.ask(graph, operations, deadline) if operations else {}
        for shard, answer in answers.items():
            phase.note(answer)
            for (partition, asked), result in zip(wanted[shard].items(), answer.results, strict=True):
                first = graph.partition_first[partition]
                for key, segment in zip(asked, Segments(result.unpack, first, len(asked)), strict=True):
                    known[key] = segment
                    if use_kept:
                        self._kept.keep_segment(graph.identity, key, segment)
        return known


def _cut(segments: ExpandedSegments) -> Iterator[Segment]:
    bounds = zip(*(itertools.pairwise(first.tolist()) for first in (segments.first, segments.cost_first)), strict=True)
    return ((segments.node[slice(*nodes)], segments.cost[slice(*costs)]) for nodes, costs in bounds)


def _unpack_operation(partition: int, keys: list[SegmentKey]) -> task_pb2.Operation:
    table = np.array(keys, np.int32)
    return task_pb2.Operation(
        unpack=task_pb2.UnpackOperation(
            partition=partition,
            kinds=table[:, 0].astype(np.uint8).tobytes(),
            first=table[:, 2].tobytes(),
            second=table[:, 3].tobytes(),
        )
    )
