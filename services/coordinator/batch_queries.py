"""What the shards are asked for a batch of plans, and their answers, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from planmesh.graph.model import BoolArray, Float64Array, Int32Array, Int64Array
from planmesh.internal.v1 import task_pb2
from planmesh.search.batch_segments import EXPANDED, Resolved, Segments
from planmesh.search.overlay_search import OverlayLabels
from services.coordinator.dispatcher import Answer
from services.coordinator.versioned_graph import VersionedGraph


@dataclass(frozen=True, slots=True)
class Places:
    """q pairs of nodes by global numbers, int32[q]; their partitions and local numbers; `trivial`: they are equal."""

    start: Int32Array
    goal: Int32Array
    start_partition: Int32Array
    goal_partition: Int32Array
    start_local: Int32Array
    goal_local: Int32Array
    trivial: BoolArray

    @classmethod
    def of(cls, graph: VersionedGraph, start: Int32Array, goal: Int32Array) -> Places:
        """Return the places of pairs of global numbers, both int32[q]."""
        start_partition, goal_partition = map(graph.directory.partition_of_many, (start, goal))
        first = graph.partition_first
        return cls(
            start,
            goal,
            start_partition,
            goal_partition,
            (start - first[start_partition]).astype(np.int32),
            (goal - first[goal_partition]).astype(np.int32),
            start == goal,
        )


@dataclass(frozen=True, slots=True)
class SearchQueries:
    """The searches of a batch by shard, in the order of the shards.

    `partitions` int32[k] are those of the k searches. `start_label` and `goal_label` int32[q] are the positions of each
    plan's searches among them, k for a plan that needs none. `meetings` are each shard's plans whose ends share a
    partition (positions, int64).
    """

    operations: dict[int, list[task_pb2.Operation]]
    partitions: Int32Array
    start_label: Int32Array
    goal_label: Int32Array
    meetings: dict[int, Int64Array]
    searches: dict[int, int]
    """How many searches each shard does."""

    def needs(self, graph: VersionedGraph, places: Places) -> BoolArray:
        """Return which shards each plan needs, bool[q, s]."""
        needs = np.zeros((len(places.start), len(self.operations)), bool)
        shards = list(self.operations)
        ask = np.flatnonzero(~places.trivial)
        for partitions in (places.start_partition, places.goal_partition):
            needs[ask, np.searchsorted(shards, graph.shards[partitions[ask]])] = True
        return needs


@dataclass(frozen=True, slots=True)
class LocalResults:
    """Labels of all local searches of a batch; the segments of the labels; and for q pairs the label positions.

    `meeting` float64[q] is the cost of the cheapest path inside the partition, infinite if the ends do not share one.
    """

    labels: OverlayLabels
    segments: Segments
    start_label: Int32Array
    goal_label: Int32Array
    meeting: Float64Array
    settled: Int64Array


@dataclass(frozen=True, slots=True)
class SegmentQueries:
    """The segments that have to be expanded for a batch, each once, in ascending order of partitions.

    `rows` int32[m, 4] are partition, SegmentKind, first and second node of the m segments, and `shards` int32[m] their
    shards; in `resolved`, the places of expanded segments are their positions here.
    """

    rows: Int32Array
    shards: Int32Array
    resolved: Resolved

    @classmethod
    def of(cls, graph: VersionedGraph, resolved: Resolved) -> SegmentQueries:
        """Return the queries for the segments that are missing in `resolved`."""
        if not len(resolved.missing):
            return cls(resolved.missing, np.empty(0, np.int32), resolved)
        rows, where = np.unique(resolved.missing, axis=0, return_inverse=True)
        shards = graph.shards[rows[:, 0]]
        place = resolved.place.copy()
        expanded = resolved.source == EXPANDED
        place[expanded] = where.reshape(-1)[place[expanded]]
        return cls(rows, shards, resolved._replace(place=place))

    def operations(self) -> dict[int, list[task_pb2.Operation]]:
        """Return what each shard is asked to expand, in the order of the shards."""
        distinct = np.unique(self.shards).tolist()
        return {shard: [_unpack_operation(self.rows[self.shards == shard])] for shard in distinct}

    def needs(self) -> BoolArray:
        """Return which shards each plan needs for its segments, bool[q, s]."""
        resolved, distinct = self.resolved, np.unique(self.shards)
        needs = np.zeros((len(resolved.first) - 1, len(distinct)), bool)
        if len(distinct):
            expanded = np.flatnonzero(resolved.source == EXPANDED)
            plan_of = np.searchsorted(resolved.first, expanded, "right") - 1
            needs[plan_of, np.searchsorted(distinct, self.shards[resolved.place[expanded]])] = True
        return needs

    def segments(self, graph: VersionedGraph, answers: Mapping[int, Answer]) -> Segments:
        """Return the expanded segments. Those of shards that have not answered are empty."""
        if not len(self.rows):
            return Segments.of(*NO_SEGMENTS)
        results = []
        for shard in np.unique(self.shards).tolist():
            answer = answers.get(shard)
            empty = task_pb2.UnpackResult(lengths=bytes(4 * int(np.count_nonzero(self.shards == shard))))
            results.append(answer.results[0].unpack_batch if answer is not None else empty)
        return _global_segments(graph, self.rows[:, 0], results)


NO_SEGMENTS: Final = (np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float64))


def search_queries(graph: VersionedGraph, places: Places, *, with_segments: bool) -> SearchQueries:
    """Return an operation for each shard, with every search once, however many plans need it."""
    ask = np.flatnonzero(~places.trivial)
    # A search is the number of its node, and whether it is backward.
    searches = np.concatenate([2 * places.start[ask].astype(np.int64), 2 * places.goal[ask].astype(np.int64) + 1])
    distinct, which = np.unique(searches, return_inverse=True)
    nodes = (distinct >> 1).astype(np.int32)
    backward = (distinct & 1).astype(np.uint8)
    partitions = graph.directory.partition_of_many(nodes)
    local = (nodes - graph.partition_first[partitions]).astype(np.int32)
    shards = graph.shards[partitions]
    order = np.argsort(shards, kind="stable")
    label = np.empty(len(order), np.int32)
    label[order] = np.arange(len(order), dtype=np.int32)
    start_label, goal_label = (np.full(len(places.start), len(order), np.int32) for _ in range(2))
    start_label[ask], goal_label[ask] = label[which[: len(ask)]], label[which[len(ask) :]]
    meets = ask[places.start_partition[ask] == places.goal_partition[ask]]
    meet_shards = graph.shards[places.start_partition[meets]]
    operations: dict[int, list[task_pb2.Operation]] = {}
    for shard in np.unique(shards).tolist():
        some = order[shards[order] == shard]
        met = meets[meet_shards == shard]
        batch = task_pb2.SearchBatchOperation(
            partitions=partitions[some].tobytes(),
            nodes=local[some].tobytes(),
            backward=backward[some].tobytes(),
            meet_partitions=places.start_partition[met].tobytes(),
            meet_starts=places.start_local[met].tobytes(),
            meet_goals=places.goal_local[met].tobytes(),
            without_segments=not with_segments,
        )
        operations[shard] = [task_pb2.Operation(search_batch=batch)]
    meetings = {shard: meets[meet_shards == shard] for shard in operations}
    counts = {shard: int(np.count_nonzero(shards == shard)) for shard in operations}
    return SearchQueries(operations, partitions[order], start_label, goal_label, meetings, counts)


def local_results(
    graph: VersionedGraph, places: Places, asked: SearchQueries, answers: Mapping[int, Answer], *, with_segments: bool
) -> LocalResults:
    """Put the results of all shards together, in the order in which the searches were asked for.

    The results of a shard that has not answered are empty: no label, no way inside the partition.
    """
    results = [
        answers[shard].results[0].search_batch if shard in answers else _no_results(asked, shard)
        for shard in asked.operations
    ]
    counts = _joined([result.counts for result in results], np.int32)
    of_label = np.repeat(asked.partitions, counts)
    # The last label is that of plans without a search, and is empty.
    first = np.zeros(len(counts) + 2, np.int64)
    np.cumsum(counts, out=first[1:-1])
    first[-1] = first[-2]
    labels = OverlayLabels(
        first,
        _joined([result.overlay_nodes for result in results], np.int32) + graph.overlay.overlay_first[of_label],
        _joined([result.distances for result in results], np.float64),
    )
    settled_of = np.zeros(len(counts) + 1, np.int64)
    meeting = np.full(len(places.start), np.inf)
    settled = np.zeros(len(places.start), np.int64)
    begin = 0
    for shard, result in zip(asked.operations, results, strict=True):
        all_settled = np.frombuffer(result.settled_nodes, np.int32)
        searches = len(result.counts) // 4
        settled_of[begin : begin + searches] = all_settled[:searches]
        settled[asked.meetings[shard]] = all_settled[searches:]
        meeting[asked.meetings[shard]] = np.frombuffer(result.meet_costs, np.float64)
        begin += searches
    settled += settled_of[asked.start_label] + settled_of[asked.goal_label]
    segments = Segments.of(np.zeros(len(of_label), np.int32), *NO_SEGMENTS[1:])
    if with_segments:
        segments = _global_segments(graph, of_label, [result.segments for result in results])
    return LocalResults(labels, segments, asked.start_label, asked.goal_label, meeting, settled)


def _no_results(asked: SearchQueries, shard: int) -> task_pb2.SearchBatchResult:
    searches, meetings = asked.searches[shard], len(asked.meetings[shard])
    return task_pb2.SearchBatchResult(
        counts=bytes(4 * searches),
        settled_nodes=bytes(4 * (searches + meetings)),
        meet_costs=np.full(meetings, np.inf).tobytes(),
    )


def settled_by(answer: Answer) -> int:
    """Return how many nodes the local searches of a shard settled."""
    return int(np.frombuffer(answer.results[0].search_batch.settled_nodes, np.int32).sum())


def _unpack_operation(rows: Int32Array) -> task_pb2.Operation:
    partitions, kinds, first, second = (np.ascontiguousarray(rows[:, column]) for column in range(4))
    return task_pb2.Operation(
        unpack_batch=task_pb2.UnpackBatchOperation(
            partitions=partitions.tobytes(),
            kinds=kinds.astype(np.uint8).tobytes(),
            first=first.tobytes(),
            second=second.tobytes(),
        )
    )


def _global_segments(
    graph: VersionedGraph, partitions: Int32Array, results: Sequence[task_pb2.UnpackResult]
) -> Segments:
    """Return segments with global numbers. Segment i lies in partition `partitions[i]` (int32[k])."""
    lengths = _joined([result.lengths for result in results], np.int32)
    nodes = _joined([result.nodes for result in results], np.int32)
    costs = _joined([result.costs for result in results], np.float64)
    return Segments.of(lengths, nodes + np.repeat(graph.partition_first[partitions], lengths), costs)


def _joined(raw: Sequence[bytes], dtype: type) -> Any:
    return np.frombuffer(b"".join(raw), dtype)
