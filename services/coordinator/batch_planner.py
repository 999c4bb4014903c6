"""Computes many plans of one graph together. A batch is arrays from the ids to the encoded answers.

Python runs once for each stage of a batch, and kernels do the rest. Each shard concerned gets one item for all plans of
the batch. A plan that needs more than the arrays can say (a node is unknown, a path passes a node twice, a worker
failed) is computed alone by the `Planner`, which finds the answer or the error that its caller gets.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np

from planmesh.errors import InternalError, NoPath
from planmesh.graph.model import BoolArray, Float64Array, Int32Array, Int64Array
from planmesh.internal.v1 import task_pb2
from planmesh.rpc.channel import CONTENT_BYTES_MAX
from planmesh.rpc.deadline import Deadline
from planmesh.rpc.detail_encoding import encode_costs, encode_nodes, node_sizes
from planmesh.rpc.plan_encoding import EncodedPlans, encode_plans, plan_sizes
from planmesh.search.batch_paths import JOINED, LOOPS, assemble
from planmesh.search.batch_segments import EXPANDED, Ends, Resolved, Segments, resolve
from planmesh.search.overlay_search import OverlayLabels, OverlayPaths, OverlaySearch
from planmesh.search.read_only import read_only
from planmesh.telemetry import names
from planmesh.telemetry.logs import get_logger
from planmesh.v1 import plan_pb2
from services.coordinator.dispatcher import Answer
from services.coordinator.path_assembly import RELATIVE_TOLERANCE
from services.coordinator.phases import Phase, PhaseLog
from services.coordinator.shard_queries import ShardQueries
from services.coordinator.versioned_graph import VersionedGraph

ANSWERS_BYTES_MAX: Final = 64 * 2**20
"""Bytes of the answers of one batch. The plans of a batch with more are computed one by one."""

log = get_logger(__name__)

T = TypeVar("T")

Outcome = bytes | NoPath | None
"""A serialised v1.Plan, that there is no path, or None: the plan has to be computed alone."""


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """The outcomes of q pairs, how many partitions their paths pass, and how many nodes their searches settled."""

    outcomes: list[Outcome]
    partitions: Int64Array
    local_settled: Int64Array
    overlay_settled: Int64Array


@dataclass(frozen=True, slots=True)
class _Places:
    """q pairs of nodes by global numbers, int32[q]; their partitions and local numbers; `trivial`: they are equal."""

    start: Int32Array
    goal: Int32Array
    start_partition: Int32Array
    goal_partition: Int32Array
    start_local: Int32Array
    goal_local: Int32Array
    trivial: BoolArray

    @classmethod
    def of(cls, graph: VersionedGraph, start: Int32Array, goal: Int32Array) -> _Places:
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
class _Asked:
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


@dataclass(frozen=True, slots=True)
class _Local:
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
class _Found:
    """The costs of q cheapest paths (float64[q], infinite for no path), and their nodes on the overlay.

    `resolved` are the segments that the paths consist of, None for plans of detail COST.
    """

    cost: Float64Array
    ends: Ends
    overlay_paths: OverlayPaths
    resolved: Resolved | None


class BatchPlanner:
    """Computes batches on the served graphs, without any cache."""

    def __init__(self, queries: ShardQueries, executor: Executor) -> None:
        self._queries = queries
        self._executor = executor
        self._searches = threading.local()

    async def compute(
        self,
        graph: VersionedGraph,
        pairs: Sequence[tuple[str, str]],
        deadline: Deadline,
        log: PhaseLog,
        detail: plan_pb2.Detail.ValueType = plan_pb2.DETAIL_STEPS,
    ) -> BatchAnswer:
        """Return the outcomes of pairs of node ids. Raises what `ShardQueries.ask` raises."""
        with_segments = detail != plan_pb2.DETAIL_COST
        count = len(pairs)
        answer = BatchAnswer([None] * count, *(np.zeros(count, np.int64) for _ in range(3)))
        with log.phase(names.SPAN_LOCATE):
            numbers = graph.directory.ids.find_many([start for start, _ in pairs] + [goal for _, goal in pairs])
            known = np.flatnonzero((numbers[:count] >= 0) & (numbers[count:] >= 0))
            places = _Places.of(graph, numbers[:count][known], numbers[count:][known])
        if not len(known):
            return answer
        with log.phase(names.SPAN_LOCAL_SEARCH) as phase:
            asked = _search_operations(graph, places, with_segments=with_segments)
            answers = await self._queries.ask(graph, asked.operations, deadline) if asked.operations else {}
            local = _local(graph, places, asked, answers, with_segments=with_segments)
            for one in answers.values():
                phase.note(one)
            phase.settled_nodes = int(local.settled.sum())
        with log.phase(names.SPAN_OVERLAY) as phase:
            found = await self._run(graph, len(known), self._search, graph, places, local, with_segments)
            phase.settled_nodes = int(found.overlay_paths.settled.sum())
        if found.resolved is None:
            with log.phase(names.SPAN_MERGE):
                plans, answer.partitions[known] = _write_costs(graph, found)
        else:
            with log.phase(names.SPAN_UNPACK) as phase:
                expanded, resolved = await self._expand(graph, found.resolved, deadline, phase)
            with log.phase(names.SPAN_MERGE):
                plans, answer.partitions[known] = await self._run(
                    graph, len(known), _write, graph, found, resolved, local.segments, expanded, detail
                )
        for position, plan in zip(known.tolist(), plans, strict=True):
            answer.outcomes[position] = plan
        for position in known[~np.isfinite(found.cost)].tolist():
            answer.outcomes[position] = NoPath(*pairs[position])
        answer.local_settled[known] = local.settled
        answer.overlay_settled[known] = found.overlay_paths.settled
        return answer

    async def _expand(
        self, graph: VersionedGraph, resolved: Resolved, deadline: Deadline, phase: Phase
    ) -> tuple[Segments, Resolved]:
        """Have workers expand the missing segments, each once. Return them, and the places of all segments then."""
        if not len(resolved.missing):
            return Segments.of(*_NO_SEGMENTS), resolved
        # In ascending order of partitions, which is also that of shards.
        rows, where = np.unique(resolved.missing, axis=0, return_inverse=True)
        partitions = np.ascontiguousarray(rows[:, 0])
        shards = graph.shards[partitions]
        operations = {shard: [_unpack_operation(rows[shards == shard])] for shard in np.unique(shards).tolist()}
        answers = await self._queries.ask(graph, operations, deadline)
        results = []
        for shard in operations:
            phase.note(answers[shard])
            results.append(answers[shard].results[0].unpack_batch)
        place = resolved.place.copy()
        expanded = resolved.source == EXPANDED
        place[expanded] = where.reshape(-1)[place[expanded]]
        return _global_segments(graph, partitions, results), resolved._replace(place=place)

    async def _run(self, graph: VersionedGraph, plans: int, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function: on the event loop if searches for so many plans were short recently, else in a thread."""
        if graph.searches_are_short(plans):
            return function(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._executor, functools.partial(function, *arguments))

    def _search(self, graph: VersionedGraph, places: _Places, local: _Local, with_segments: bool) -> _Found:
        search = getattr(self._searches, "search", None)
        if search is None:
            # One for each thread, which reuses its memory.
            search = self._searches.search = OverlaySearch()
        assert isinstance(search, OverlaySearch)
        # Processor time: on a busy machine, a short search may be suspended for a long time.
        begun_s = time.thread_time()
        paths = search.search_many(
            graph.overlay.overlay, local.labels, local.start_label, local.goal_label, local.meeting
        )
        graph.note_overlay_search((time.thread_time() - begun_s) / len(places.start))
        ends = Ends(
            places.start,
            places.goal,
            places.start_partition,
            places.goal_partition,
            places.start_local,
            places.goal_local,
            local.start_label,
            local.goal_label,
            np.isfinite(local.meeting) & (local.meeting <= paths.cost),
        )
        cost = np.where(places.trivial, 0.0, np.minimum(paths.cost, local.meeting))
        if not with_segments:
            return _Found(cost, ends, paths, None)
        try:
            resolved = resolve(graph.overlay_map, ends, paths, local.labels, local.segments)
        except ValueError as error:
            raise InternalError(f"the overlay search returned nodes that no edge joins: {error}") from error
        return _Found(cost, ends, paths, resolved)


_NO_SEGMENTS: Final = (np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float64))


def _search_operations(graph: VersionedGraph, places: _Places, *, with_segments: bool) -> _Asked:
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
    return _Asked(operations, partitions[order], start_label, goal_label, meetings)


def _local(
    graph: VersionedGraph, places: _Places, asked: _Asked, answers: Mapping[int, Answer], *, with_segments: bool
) -> _Local:
    """Put the results of all shards together, in the order in which the searches were asked for."""
    results = [answers[shard].results[0].search_batch for shard in asked.operations]
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
    segments = Segments.of(*_NO_SEGMENTS)
    if with_segments:
        segments = _global_segments(graph, of_label, [result.segments for result in results])
    return _Local(labels, segments, asked.start_label, asked.goal_label, meeting, settled)


def _write_costs(graph: VersionedGraph, found: _Found) -> tuple[list[bytes | None], Int32Array]:
    """Return the serialised plans of detail COST, None for no path, and their numbers of partitions."""
    ends, paths = found.ends, found.overlay_paths
    prefix = plan_pb2.Plan(graph=graph.name, version=graph.version, detail=plan_pb2.DETAIL_COST).SerializeToString()
    # A path visits the partition of its start and then those of its overlay nodes, of which the last has its goal's.
    visits = np.insert(graph.partition_of_overlay(paths.node), paths.first[:-1], ends.start_partition)
    visit_first = paths.first + np.arange(len(paths.first))
    plans = encode_costs(prefix, ends.start, ends.goal, found.cost, visit_first, visits, graph.texts)
    return _cut(plans, np.isfinite(found.cost)), plans.partition_count


def _write(
    graph: VersionedGraph,
    found: _Found,
    resolved: Resolved,
    local: Segments,
    expanded: Segments,
    detail: plan_pb2.Detail.ValueType,
) -> tuple[list[bytes | None], Int32Array]:
    """Return the serialised plans, None for a plan that has to be computed alone, and their numbers of partitions."""
    paths = assemble(graph.overlay_map, found.ends, found.cost, RELATIVE_TOLERANCE, resolved, local, expanded)
    nodes = read_only(paths.node, np.int32)
    partitions = read_only(graph.directory.partition_of_many(nodes), np.int32)
    first = read_only(paths.first, np.int64)
    with_nodes = detail == plan_pb2.DETAIL_NODES
    about = plan_pb2.Plan(graph=graph.name, version=graph.version)
    if with_nodes:
        about.detail = detail
    prefix = about.SerializeToString()
    sizes = (node_sizes if with_nodes else plan_sizes)(len(prefix), first, nodes, partitions, graph.texts)
    has_path = np.isfinite(found.cost)
    wrong = int(np.count_nonzero(has_path & (paths.state != JOINED) & (paths.state != LOOPS)))
    if wrong:
        log.error("plans of a batch do not join or add up; they are computed alone", graph=graph.name, plans=wrong)
    written = has_path & (paths.state == JOINED) & (sizes <= CONTENT_BYTES_MAX)
    if int(sizes.sum()) > ANSWERS_BYTES_MAX:
        return [None] * len(sizes), np.zeros(len(sizes), np.int32)
    encode = encode_nodes if with_nodes else encode_plans
    plans = encode(prefix, sizes, first, nodes, partitions, paths.cost, paths.total, graph.texts)
    return _cut(plans, written), plans.partition_count


def _cut(plans: EncodedPlans, written: BoolArray) -> list[bytes | None]:
    """Return the plans one by one, None for those that are not to be used (`written` bool[q])."""
    message = plans.blob.tobytes()
    bounds = plans.first.tolist()
    return [
        message[bounds[plan] : bounds[plan + 1]] if is_written else None
        for plan, is_written in enumerate(written.tolist())
    ]


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
