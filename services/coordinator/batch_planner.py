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

from planmesh.errors import InternalError, LimitExceeded, NoPath, PlanmeshError
from planmesh.graph.model import BoolArray, Int64Array
from planmesh.internal.v1 import task_pb2
from planmesh.rpc.deadline import Deadline
from planmesh.search.batch_segments import Ends, Segments, resolve
from planmesh.search.delta import UP
from planmesh.search.overlay_search import OverlaySearch
from planmesh.telemetry import names
from planmesh.v1 import plan_pb2
from services.coordinator.batch_queries import (
    LocalResults,
    Places,
    SegmentQueries,
    local_results,
    search_queries,
    settled_by,
)
from services.coordinator.batch_writing import Found, write_costs, write_plans
from services.coordinator.changed_plans import ChangedPlans
from services.coordinator.changed_writing import write_changed
from services.coordinator.dispatch_errors import NoValidReplyError, WorkerItemError
from services.coordinator.dispatcher import Answer
from services.coordinator.path_assembly import Path
from services.coordinator.phases import PhaseLog
from services.coordinator.segment_expansion import SegmentExpander
from services.coordinator.shard_queries import ShardQueries
from services.coordinator.versioned_graph import VersionedGraph

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


class BatchPlanner:
    """Computes batches on the served graphs, without any cache."""

    def __init__(
        self, queries: ShardQueries, expander: SegmentExpander, executor: Executor, changed: ChangedPlans
    ) -> None:
        self._queries = queries
        self._expander = expander
        self._executor = executor
        self._changed = changed
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
        if graph.changes is not None:
            await self._compute_changed(graph, pairs, deadline, phases, deliver, detail)
            return
        cost_only = detail == plan_pb2.DETAIL_COST
        with_segments = not cost_only and not graph.expands_here
        with phases.phase(names.SPAN_LOCATE):
            numbers = graph.directory.ids.find_many([start for start, _ in pairs] + [goal for _, goal in pairs])
            starts, goals = numbers[: len(pairs)], numbers[len(pairs) :]
            is_known = (starts >= 0) & (goals >= 0)
            known, unknown = np.flatnonzero(is_known), np.flatnonzero(~is_known)
            places = Places.of(graph, starts[known], goals[known])
            asked = search_queries(graph, places, with_segments=with_segments)
        if len(unknown):
            deliver(BatchAnswer.without_plans(unknown, [None] * len(unknown), phases))

        def reject(plans: Int64Array, error: PlanmeshError, log: PhaseLog) -> None:
            outcome = None if isinstance(error, (WorkerItemError, InternalError, NoValidReplyError)) else error
            deliver(BatchAnswer.without_plans(known[plans], [outcome] * len(plans), log))

        async def search(plans: Int64Array, answers: Mapping[int, Answer], log: PhaseLog) -> None:
            local = local_results(graph, places, asked, answers, with_segments=with_segments)
            with log.phase(names.SPAN_OVERLAY) as phase:
                found = await self._run(graph, len(known), self._search, graph, places, local, cost_only)
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
                    written, partitions = write_costs(graph, plans, found)
                deliver_plans(plans, written, partitions, log)
                return
            rows = SegmentQueries.of(graph, found.resolved)

            async def write_with(plans: Int64Array, expanded: Segments, log: PhaseLog) -> None:
                with log.phase(names.SPAN_MERGE):
                    written, partitions = await self._run(
                        graph,
                        len(plans),
                        write_plans,
                        graph,
                        plans,
                        found,
                        rows.resolved,
                        local.segments,
                        expanded,
                        detail,
                    )
                deliver_plans(plans, written, partitions, log)

            async def write(plans: Int64Array, answers: Mapping[int, Answer], log: PhaseLog) -> None:
                await write_with(plans, rows.segments(graph, answers), log)

            if graph.expands_here:
                with log.phase(names.SPAN_UNPACK):
                    expanded = await self._expander.expand(graph, rows.rows)
                if expanded is not None:
                    await write_with(plans, expanded, log)
                    return
            wanted = _Wanted(names.SPAN_UNPACK, plans, rows.needs()[plans], lambda _: 0)
            await self._ask(graph, rows.operations(), wanted, deadline, log, (write, reject))

        wanted = _Wanted(names.SPAN_LOCAL_SEARCH, np.arange(len(known)), asked.needs(graph, places), settled_by)
        if len(known):
            await self._ask(graph, asked.operations, wanted, deadline, phases, (search, reject))

    async def _compute_changed(
        self,
        graph: VersionedGraph,
        pairs: Sequence[tuple[str, str]],
        deadline: Deadline,
        phases: PhaseLog,
        deliver: Deliver,
        detail: plan_pb2.Detail.ValueType,
    ) -> None:
        """Find the outcomes on a graph that has changed since its base."""
        changes = graph.changes
        assert changes is not None, "the caller has looked"
        with phases.phase(names.SPAN_LOCATE):
            numbers = [(changes.find(start), changes.find(goal)) for start, goal in pairs]
            is_up = np.array([all(node >= 0 and changes.delta.state(node) == UP for node in ends) for ends in numbers])
            known, unknown = np.flatnonzero(is_up), np.flatnonzero(~is_up)
        if len(unknown):
            deliver(BatchAnswer.without_plans(unknown, [None] * len(unknown), phases))
        if not len(known):
            return
        with phases.phase(names.SPAN_OVERLAY) as phase:
            found = await self._changed.paths(graph, [numbers[position] for position in known.tolist()], deadline)
            settled = np.array([path.settled for path in found], np.int64)
            phase.settled_nodes = int(settled.sum())
        phases.note_changes(graph, max(path.opened for path in found))
        outcomes: list[Outcome] = []
        partitions = np.zeros(len(known), np.int64)
        with phases.phase(names.SPAN_MERGE):
            for place, (position, path) in enumerate(zip(known.tolist(), found, strict=True)):
                start, goal = pairs[position]
                if not np.isfinite(path.cost):
                    outcomes.append(NoPath(start, goal))
                    continue
                try:
                    plan = write_changed(graph, start, goal, Path(path.nodes, path.costs), detail)
                except LimitExceeded as error:
                    outcomes.append(error)
                    continue
                partitions[place] = len(plan.partitions)
                outcomes.append(plan.message)
        deliver(BatchAnswer(known, outcomes, partitions, np.zeros(len(known), np.int64), settled, phases))

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
            try:
                if tasks:
                    await asyncio.wait(tasks, timeout=PATIENCE_S)
            except asyncio.CancelledError:
                _leave(tasks)
                raise
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
            _leave(tasks)

    async def _run(self, graph: VersionedGraph, plans: int, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function: on the event loop if searches for so many plans were short recently, else in a thread."""
        if graph.overlay_searches.are_short(plans):
            return function(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._executor, functools.partial(function, *arguments))

    def _search(self, graph: VersionedGraph, places: Places, local: LocalResults, cost_only: bool) -> Found:
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
        graph.overlay_searches.note((time.thread_time() - begun_s) / len(places.start))
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
        if cost_only:
            return Found(cost, ends, paths, None)
        try:
            resolved = resolve(graph.overlay_map, ends, paths, local.labels, local.segments)
        except ValueError as error:
            raise InternalError(f"the overlay search returned nodes that no edge joins: {error}") from error
        return Found(cost, ends, paths, resolved)


def _is_version_gone(error: PlanmeshError) -> bool:
    return isinstance(error, WorkerItemError) and error.kind == task_pb2.ITEM_ERROR_KIND_VERSION_GONE


def _leave(tasks: Sequence[asyncio.Task[Answer]]) -> None:
    """Cancel what is left, and mark the errors of the rest as retrieved."""
    for task in tasks:
        if not task.cancel() and not task.cancelled():
            task.exception()
