"""Computes many plans of one graph together. A batch is arrays from the ids to the encoded answers.

Python runs once for each stage of a batch, and kernels do the rest. Each shard concerned gets one item for all plans of
the batch. Plans whose shards answer late are finished later, and hold the others up for PATIENCE_S at most.

A plan that needs more than the arrays can say (a node is unknown, a path passes a node twice, a worker failed) is
computed alone by the `Planner`, which finds the answer or the error that its caller gets.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np

from planmesh.errors import InternalError, NoPath, PlanmeshError
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
from services.coordinator.dispatch_errors import WorkerItemError
from services.coordinator.dispatcher import Answer
from services.coordinator.path_assembly import RELATIVE_TOLERANCE
from services.coordinator.phases import PhaseLog
from services.coordinator.shard_queries import ShardQueries
from services.coordinator.versioned_graph import VersionedGraph

ANSWERS_BYTES_MAX: Final = 64 * 2**20
"""Bytes of the answers of one batch. The plans of a batch with more are computed one by one."""

log = get_logger(__name__)

T = TypeVar("T")

PATIENCE_S: Final = 0.05
"""How long the plans of a batch wait for the shards of the others: several times what an idle worker takes."""

Outcome = bytes | PlanmeshError | None
"""A serialised v1.Plan, why there is none, or None: the plan has to be computed alone."""


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """Outcomes of some pairs of a batch.

    `positions` int64[k] are those of the pairs. `partitions` int64[k] says how many partitions their paths pass;
    `local_settled` and `overlay_settled` int64[k] how many nodes their searches settled. `phases` are what was done for
    them.
    """

    positions: Int64Array
    outcomes: list[Outcome]
    partitions: Int64Array
    local_settled: Int64Array
    overlay_settled: Int64Array
    phases: PhaseLog

    @classmethod
    def without_plans(cls, positions: Int64Array, outcomes: list[Outcome], phases: PhaseLog) -> BatchAnswer:
        """Return outcomes of which none is a plan."""
        zeros = np.zeros(len(positions), np.int64)
        return cls(positions, outcomes, zeros, zeros, zeros, phases)


Deliver = Callable[[BatchAnswer], None]


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
    searches: dict[int, int]
    """How many searches each shard does."""

    def needs(self, graph: VersionedGraph, places: _Places) -> BoolArray:
        """Return which shards each plan needs, bool[q, s]."""
        needs = np.zeros((len(places.start), len(self.operations)), bool)
        shards = list(self.operations)
        ask = np.flatnonzero(~places.trivial)
        for partitions in (places.start_partition, places.goal_partition):
            needs[ask, np.searchsorted(shards, graph.shards[partitions[ask]])] = True
        return needs


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


Finish = Callable[[Int64Array, Mapping[int, Answer], PhaseLog], Awaitable[None]]
"""Goes on with some plans (positions, int64[k]), with the answers of the shards so far."""

Reject = Callable[[Int64Array, PlanmeshError, PhaseLog], None]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The phase in which shards are asked, k plans (positions, int64[k]), and the shards that each needs, bool[k, s].

    `settled` returns how many nodes were settled for an answer.
    """

    phase: str
    plans: Int64Array
    needs: BoolArray
    settled: Callable[[Answer], int]


@dataclass(frozen=True, slots=True)
class _Rows:
    """The segments that workers have to expand for a batch, each once, in ascending order of partitions.

    `partitions` int32[m] and `shards` int32[m] are those of the m segments; in `resolved`, the places of expanded
    segments are their positions here.
    """

    operations: dict[int, list[task_pb2.Operation]]
    partitions: Int32Array
    shards: Int32Array
    resolved: Resolved

    @classmethod
    def of(cls, graph: VersionedGraph, resolved: Resolved) -> _Rows:
        if not len(resolved.missing):
            return cls({}, np.empty(0, np.int32), np.empty(0, np.int32), resolved)
        rows, where = np.unique(resolved.missing, axis=0, return_inverse=True)
        partitions = np.ascontiguousarray(rows[:, 0])
        shards = graph.shards[partitions]
        operations = {shard: [_unpack_operation(rows[shards == shard])] for shard in np.unique(shards).tolist()}
        place = resolved.place.copy()
        expanded = resolved.source == EXPANDED
        place[expanded] = where.reshape(-1)[place[expanded]]
        return cls(operations, partitions, shards, resolved._replace(place=place))

    def needs(self, graph: VersionedGraph, plans: Int64Array) -> _Wanted:
        """Return which shards the plans need for their segments."""
        resolved = self.resolved
        needs = np.zeros((len(resolved.first) - 1, len(self.operations)), bool)
        if self.operations:
            expanded = np.flatnonzero(resolved.source == EXPANDED)
            plan_of = np.searchsorted(resolved.first, expanded, "right") - 1
            needs[plan_of, np.searchsorted(list(self.operations), self.shards[resolved.place[expanded]])] = True
        return _Wanted(names.SPAN_UNPACK, plans, needs[plans], lambda _: 0)

    def segments(self, graph: VersionedGraph, answers: Mapping[int, Answer]) -> Segments:
        """Return the expanded segments. Those of shards that have not answered are empty."""
        if not self.operations:
            return Segments.of(*_NO_SEGMENTS)
        results = []
        for shard in self.operations:
            answer = answers.get(shard)
            empty = task_pb2.UnpackResult(lengths=bytes(4 * int(np.count_nonzero(self.shards == shard))))
            results.append(answer.results[0].unpack_batch if answer is not None else empty)
        return _global_segments(graph, self.partitions, results)


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
        phases: PhaseLog,
        deliver: Deliver,
        detail: plan_pb2.Detail.ValueType = plan_pb2.DETAIL_STEPS,
    ) -> None:
        """Find the outcomes of pairs of node ids; call `deliver` with each part as soon as it is known.

        Raises WorkerItemError when the version is gone; what was delivered before stays valid.
        """
        with_segments = detail != plan_pb2.DETAIL_COST
        with phases.phase(names.SPAN_LOCATE):
            numbers = graph.directory.ids.find_many([start for start, _ in pairs] + [goal for _, goal in pairs])
            starts, goals = numbers[: len(pairs)], numbers[len(pairs) :]
            is_known = (starts >= 0) & (goals >= 0)
            known, unknown = np.flatnonzero(is_known), np.flatnonzero(~is_known)
            places = _Places.of(graph, starts[known], goals[known])
            asked = _search_operations(graph, places, with_segments=with_segments)
        if len(unknown):
            deliver(BatchAnswer.without_plans(unknown, [None] * len(unknown), phases))

        def reject(plans: Int64Array, error: PlanmeshError, log: PhaseLog) -> None:
            outcome = None if isinstance(error, (WorkerItemError, InternalError)) else error
            deliver(BatchAnswer.without_plans(known[plans], [outcome] * len(plans), log))

        async def search(plans: Int64Array, answers: Mapping[int, Answer], log: PhaseLog) -> None:
            local = _local(graph, places, asked, answers, with_segments=with_segments)
            with log.phase(names.SPAN_OVERLAY) as phase:
                found = await self._run(graph, len(known), self._search, graph, places, local, with_segments)
                phase.settled_nodes = int(found.overlay_paths.settled[plans].sum())

            def deliver_plans(
                plans: Int64Array, written: list[bytes | None], partitions: Int64Array, log: PhaseLog
            ) -> None:
                outcomes: list[Outcome] = [
                    plan if np.isfinite(cost) else NoPath(*pairs[position])
                    for plan, cost, position in zip(
                        written, found.cost[plans].tolist(), known[plans].tolist(), strict=True
                    )
                ]
                settled = local.settled[plans], found.overlay_paths.settled[plans]
                deliver(BatchAnswer(known[plans], outcomes, partitions, *settled, log))

            if found.resolved is None:
                with log.phase(names.SPAN_MERGE):
                    written, partitions = _write_costs(graph, plans, found)
                deliver_plans(plans, written, partitions, log)
                return
            rows = _Rows.of(graph, found.resolved)

            async def write(plans: Int64Array, answers: Mapping[int, Answer], log: PhaseLog) -> None:
                with log.phase(names.SPAN_MERGE):
                    expanded, resolved = rows.segments(graph, answers), rows.resolved
                    written, partitions = await self._run(
                        graph, len(plans), _write, graph, plans, found, resolved, local.segments, expanded, detail
                    )
                deliver_plans(plans, written, partitions, log)

            await self._ask(graph, rows.operations, rows.needs(graph, plans), deadline, log, (write, reject))

        wanted = _Wanted(names.SPAN_LOCAL_SEARCH, np.arange(len(known)), asked.needs(graph, places), _settled)
        if len(known):
            await self._ask(graph, asked.operations, wanted, deadline, phases, (search, reject))

    async def _ask(
        self,
        graph: VersionedGraph,
        operations: dict[int, list[task_pb2.Operation]],
        wanted: _Wanted,
        deadline: Deadline,
        log: PhaseLog,
        then: tuple[Finish, Reject],
    ) -> None:
        """Ask shards, and go on with plans as soon as all shards that they need have answered.

        Plans whose shards answer within PATIENCE_S go on together. The others are grouped by the shards that they wait
        for, so that none waits for a shard that it does not need.
        """
        with log.phase(wanted.phase) as phase:
            asking = self._queries.begin(graph, operations, deadline)
            tasks = list(asking.values())
            if tasks:
                await asyncio.wait(tasks, timeout=PATIENCE_S)
            for task in tasks:
                if task.done() and not task.exception():
                    phase.note(task.result())
                    phase.settled_nodes += wanted.settled(task.result())

        async def finish(rows: Int64Array, log: PhaseLog) -> None:
            finish_them, reject = then
            answers = {shard: task.result() for shard, task in asking.items() if task.done() and not task.exception()}
            for column, task in enumerate(tasks):
                error = task.exception() if task.done() else None
                if error is None:
                    continue
                failed = wanted.needs[rows, column]
                if not failed.any():
                    continue
                if not isinstance(error, PlanmeshError) or _is_version_gone(error):
                    raise error
                reject(wanted.plans[rows[failed]], error, log)
                rows = rows[~failed]
            if len(rows):
                await finish_them(wanted.plans[rows], answers, log)

        async def wait(missing: BoolArray, rows: Int64Array, log: PhaseLog) -> None:
            late = [task for task, is_missing in zip(tasks, missing.tolist(), strict=True) if is_missing]
            if late:
                with log.phase(wanted.phase) as phase:
                    await asyncio.wait(late)
                    for task in late:
                        if not task.exception():
                            phase.note(task.result())
            await finish(rows, log)

        try:
            is_late = np.array([not task.done() for task in tasks], bool)
            if not is_late.any():
                await finish(np.arange(len(wanted.plans)), log)
                return
            groups, group_of = np.unique(wanted.needs & is_late, axis=0, return_inverse=True)
            async with asyncio.TaskGroup() as group:
                for number, missing in enumerate(groups):
                    group.create_task(wait(missing, np.flatnonzero(group_of.reshape(-1) == number), log.fork()))
        except* WorkerItemError as gone:
            raise gone.exceptions[0] from None
        finally:
            for task in tasks:
                # Cancel what is left, or mark the error as retrieved.
                if not task.cancel() and not task.cancelled():
                    task.exception()

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
    counts = {shard: int(np.count_nonzero(shards == shard)) for shard in operations}
    return _Asked(operations, partitions[order], start_label, goal_label, meetings, counts)


def _local(
    graph: VersionedGraph, places: _Places, asked: _Asked, answers: Mapping[int, Answer], *, with_segments: bool
) -> _Local:
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
    segments = Segments.of(*_NO_SEGMENTS)
    if with_segments:
        segments = _global_segments(graph, of_label, [result.segments for result in results])
    return _Local(labels, segments, asked.start_label, asked.goal_label, meeting, settled)


def _no_results(asked: _Asked, shard: int) -> task_pb2.SearchBatchResult:
    searches, meetings = asked.searches[shard], len(asked.meetings[shard])
    return task_pb2.SearchBatchResult(
        counts=bytes(4 * searches),
        settled_nodes=bytes(4 * (searches + meetings)),
        meet_costs=np.full(meetings, np.inf).tobytes(),
    )


def _settled(answer: Answer) -> int:
    """Return how many nodes the local searches of a shard settled."""
    return int(np.frombuffer(answer.results[0].search_batch.settled_nodes, np.int32).sum())


def _is_version_gone(error: PlanmeshError) -> bool:
    return isinstance(error, WorkerItemError) and error.kind == task_pb2.ITEM_ERROR_KIND_VERSION_GONE


def _write(
    graph: VersionedGraph,
    wanted: Int64Array,
    found: _Found,
    resolved: Resolved,
    local: Segments,
    expanded: Segments,
    detail: plan_pb2.Detail.ValueType,
) -> tuple[list[bytes | None], Int64Array]:
    """Return the `wanted` plans (int64[k]) serialised, and their numbers of partitions.

    None is a plan that has to be computed alone. Of the other plans, segments may be missing.
    """
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
    is_wanted = np.zeros(len(sizes), bool)
    is_wanted[wanted] = True
    wrong = int(np.count_nonzero(is_wanted & has_path & (paths.state != JOINED) & (paths.state != LOOPS)))
    if wrong:
        log.error("plans of a batch do not join or add up; they are computed alone", graph=graph.name, plans=wrong)
    written = is_wanted & has_path & (paths.state == JOINED) & (sizes <= CONTENT_BYTES_MAX)
    if int(sizes.sum()) > ANSWERS_BYTES_MAX:
        return [None] * len(wanted), np.zeros(len(wanted), np.int64)
    encode = encode_nodes if with_nodes else encode_plans
    plans = encode(prefix, sizes, first, nodes, partitions, paths.cost, paths.total, graph.texts)
    return _cut(plans, wanted, written)


def _write_costs(graph: VersionedGraph, wanted: Int64Array, found: _Found) -> tuple[list[bytes | None], Int64Array]:
    """Return the `wanted` plans (int64[k]) of detail COST, None for no path, and their numbers of partitions."""
    ends, paths = found.ends, found.overlay_paths
    prefix = plan_pb2.Plan(graph=graph.name, version=graph.version, detail=plan_pb2.DETAIL_COST).SerializeToString()
    # A path visits the partition of its start and then those of its overlay nodes, of which the last has its goal's.
    visits = np.insert(graph.partition_of_overlay(paths.node), paths.first[:-1], ends.start_partition)
    visit_first = paths.first + np.arange(len(paths.first))
    plans = encode_costs(prefix, ends.start, ends.goal, found.cost, visit_first, visits, graph.texts)
    return _cut(plans, wanted, np.isfinite(found.cost))


def _cut(plans: EncodedPlans, wanted: Int64Array, written: BoolArray) -> tuple[list[bytes | None], Int64Array]:
    """Return the `wanted` plans one by one, None for those that are not to be used (`written` bool[q])."""
    message = plans.blob.tobytes()
    bounds = plans.first.tolist()
    return [
        message[bounds[plan] : bounds[plan + 1]] if written[plan] else None for plan in wanted.tolist()
    ], plans.partition_count[wanted].astype(np.int64)


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
