"""Computes one plan: locate, local searches, overlay search, unpack, merge. It is exact on one version, or an error."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from opentelemetry.trace import Link, get_current_span

from planmesh.errors import InternalError, NoPath, PlanmeshError
from planmesh.graph.model import Float64Array, Int32Array
from planmesh.internal.v1 import task_pb2
from planmesh.rpc.deadline import Deadline
from planmesh.search.overlay_search import OverlayPath, OverlaySearch
from planmesh.telemetry import names
from planmesh.telemetry.tracing import Telemetry
from planmesh.v1 import plan_pb2
from services.coordinator.answer_cache import AnswerCache, AnswerKey
from services.coordinator.changed_plans import ChangedPlans
from services.coordinator.changed_writing import write_changed
from services.coordinator.counters import Counters
from services.coordinator.kept_results import KeptResults
from services.coordinator.optioned_paths import Stops, refuse_dearer, write_paths
from services.coordinator.path_assembly import Path, WrittenPlan, join, write_cost
from services.coordinator.path_options import PLAIN
from services.coordinator.phases import Phase, PhaseLog
from services.coordinator.questions import Question
from services.coordinator.segment_expansion import SegmentExpander
from services.coordinator.shadow_checks import ShadowChecks
from services.coordinator.shard_queries import NO_PARTITION, Place, ShardQueries
from services.coordinator.single_flight import SingleFlight
from services.coordinator.spared_paths import spared_by
from services.coordinator.unpacking import Unpacker
from services.coordinator.versioned_graph import LocalResult, Segment, SegmentKey, Segments, VersionedGraph


@dataclass(frozen=True, slots=True)
class LocalFindings:
    """Results of the local searches in the partitions of start and goal."""

    start: LocalResult
    goal: LocalResult
    meeting_cost: float
    """Cost of the cheapest path inside the partition if start and goal share it; otherwise infinite."""


class Planner:
    """Computes plans on the served graphs, from caches, worker results and overlay searches."""

    def __init__(
        self,
        queries: ShardQueries,
        expander: SegmentExpander,
        cache: AnswerCache,
        executor: Executor,
        telemetry: Telemetry,
        counters: Counters,
        shadow: ShadowChecks,
        changed: ChangedPlans,
    ) -> None:
        self._queries = queries
        self._changed = changed
        self._cache = cache
        self._executor = executor
        self._telemetry = telemetry
        self._counters = counters
        self._shadow = shadow
        self._searches = threading.local()
        self._kept = KeptResults()
        self._unpacker = Unpacker(queries, expander, self._kept)
        self._flights: SingleFlight[tuple[str, int, AnswerKey], WrittenPlan] = SingleFlight()

    async def plan(self, question: Question, deadline: Deadline, trace_id: str) -> bytes:
        """Return the serialised v1.Plan. Raises NoPath, NodeUnknown, GraphUnknown, DeadlineExceeded and Unavailable."""
        log = PhaseLog(self._telemetry)
        self._counters.plans += 1
        try:
            answer, cached = await self._answer(question, deadline, log)
        except PlanmeshError:
            self._counters.failed += 1
            raise
        finally:
            if self._telemetry.measuring:
                self._telemetry.instruments.plan_duration.record(log.total_s())
        about = plan_pb2.Plan(cached=cached, trace_id=trace_id)
        if question.explain:
            about.explanation.CopyFrom(log.explanation())
        # Fields of a serialised message may come in any order, so those of this request are appended to the answer.
        return answer + about.SerializeToString()

    async def _answer(self, question: Question, deadline: Deadline, log: PhaseLog) -> tuple[bytes, bool]:
        """Return the plan, and whether it came from the cache."""

        async def answer(graph: VersionedGraph) -> tuple[bytes, bool]:
            if question.uses_cache:
                kept = await self._kept_answer(question.key(graph.state_identity), log)
                if kept is not None:
                    self._shadow.consider(graph, question.start, question.goal, kept)
                    return kept, True
            compute = self._compute_once if question.uses_cache else self._compute
            try:
                plan = await compute(graph, question, deadline, log)
            except NoPath:
                if question.options is PLAIN:
                    self._shadow.consider(graph, question.start, question.goal, None)
                raise
            if question.options is PLAIN:
                self._shadow.consider(graph, question.start, question.goal, plan.message)
            _describe(graph, plan)
            return plan.message, False

        def note_retry() -> None:
            log.retries += 1
            self._counters.retries += 1
            self._telemetry.instruments.retries.add(1)

        return await self._queries.on_one_version(question.graph, answer, deadline, note_retry, question.wanted)

    async def _kept_answer(self, key: AnswerKey, log: PhaseLog) -> bytes | None:
        with log.phase(names.SPAN_CACHE):
            kept = await self._cache.get(key)
        if kept is None:
            self._counters.cache_misses += 1
            self._telemetry.instruments.cache_misses.add(1)
        else:
            self._counters.cache_hits += 1
            self._telemetry.instruments.cache_hits.add(1)
        return kept

    async def _compute_once(
        self, graph: VersionedGraph, question: Question, deadline: Deadline, log: PhaseLog
    ) -> WrittenPlan:
        """Compute a plan, or wait for the same computation that another caller has begun."""
        key = question.key(graph.state_identity)

        async def compute(longest: Deadline) -> WrittenPlan:
            plan = await self._compute(graph, question, longest, log)
            self._cache.put(key, plan.message)
            return plan

        flight, joined = self._flights.board((graph.name, graph.version, key), compute, deadline)
        if not joined:
            return await flight.result(deadline)
        self._counters.joined += 1
        self._telemetry.instruments.joined.add(1)
        with log.phase(names.SPAN_JOIN, [Link(flight.began_in)]):
            return await flight.result(deadline)

    async def _compute(
        self, graph: VersionedGraph, question: Question, deadline: Deadline, log: PhaseLog
    ) -> WrittenPlan:
        with log.phase(names.SPAN_LOCATE):
            start = await self._queries.locate(graph, question.start)
            goal = await self._queries.locate(graph, question.goal)
        if graph.changes is not None or question.options is not PLAIN:
            plan = await self._compute_spared(graph, question, start, goal, deadline, log)
            return plan or await self._compute_changed(graph, question, start, goal, deadline, log)
        plan = await self._compute_on_base(graph, question, start, goal, deadline, log)
        assert plan is not None, "every path is taken"
        return plan

    async def _compute_spared(
        self, graph: VersionedGraph, question: Question, start: Place, goal: Place, deadline: Deadline, log: PhaseLog
    ) -> WrittenPlan | None:
        """Return the plan of the base if it is that of the version too, None if only a search of the changes can tell.

        If nothing became cheaper, no path costs less than in the base. So a cheapest path of the base is one of today
        if it uses nothing that is dearer or avoided.
        """
        spares = spared_by(graph, question.options)
        if spares is None or NO_PARTITION in {start.partition, goal.partition}:
            return None
        plan = await self._compute_on_base(graph, question, start, goal, deadline, log, spares)
        if plan is not None:
            refuse_dearer((question.start, question.goal), plan.cost, question.options)
            log.note_changes(graph, 0)
        return plan

    async def _compute_on_base(
        self,
        graph: VersionedGraph,
        question: Question,
        start: Place,
        goal: Place,
        deadline: Deadline,
        log: PhaseLog,
        takes: Callable[[Path], bool] | None = None,
    ) -> WrittenPlan | None:
        """Compute a plan by the indexes of the base. Return None if `takes` is given and does not take its path."""
        use_kept = not question.bypass_cache
        cost_only = question.detail == plan_pb2.DETAIL_COST and takes is None
        if start.node == goal.node:
            if cost_only:
                return self._costed(graph, question, 0.0, [start.partition])
            path = Path(np.array([start.node], np.int32), np.empty(0, np.float64))
            return self._written(graph, question, path)
        with log.phase(names.SPAN_LOCAL_SEARCH) as phase:
            local = await self._search_locally(
                graph,
                start,
                goal,
                deadline,
                phase,
                use_kept=use_kept,
                with_segments=not cost_only and not graph.expands_here,
            )
        with log.phase(names.SPAN_OVERLAY) as phase:
            overlay_path = await self._search_overlay(graph, local)
            phase.settled_nodes = overlay_path.settled
        cost = min(overlay_path.cost, local.meeting_cost)
        if not np.isfinite(cost):
            raise NoPath(question.start, question.goal)
        if cost_only:
            with log.phase(names.SPAN_MERGE):
                # Overlay edges stay in the partition of their ends, or cross to the next. Only a path that the searches
                # found inside the partition has no overlay nodes.
                passed = graph.partition_of_overlay(overlay_path.nodes).tolist()
                return self._costed(graph, question, float(cost), [start.partition, *passed])
        with log.phase(names.SPAN_UNPACK) as phase:
            if local.meeting_cost <= overlay_path.cost:
                segment_refs: list[Segment | SegmentKey] = [
                    (task_pb2.SEGMENT_KIND_INNER, start.partition, start.local, goal.local)
                ]
            else:
                segment_refs = _segment_refs(graph, start, goal, overlay_path, local)
            segments = await self._unpacker.unpack(graph, segment_refs, deadline, phase, use_kept=use_kept)
        with log.phase(names.SPAN_MERGE):
            path = join(segments, start.node, goal.node, float(cost))
            return self._written(graph, question, path) if takes is None or takes(path) else None

    async def _compute_changed(
        self,
        graph: VersionedGraph,
        question: Question,
        start: Place,
        goal: Place,
        deadline: Deadline,
        log: PhaseLog,
    ) -> WrittenPlan:
        """Compute a plan on a graph that has changed since its base, or one with options."""
        with log.phase(names.SPAN_OVERLAY) as phase:
            between = [await self._queries.locate(graph, node) for node in question.options.waypoints]
            stops = Stops(
                (question.start, *question.options.waypoints, question.goal),
                tuple(place.node for place in (start, *between, goal)),
            )
            found = await self._changed.optioned(graph, stops, question.options, deadline)
            phase.settled_nodes = found.settled
        log.note_changes(graph, found.opened)
        with log.phase(names.SPAN_MERGE):
            plan = write_paths(graph, stops, found, question.detail)
        self._telemetry.instruments.plan_partitions.record(len(plan.partitions))
        return plan

    def _written(self, graph: VersionedGraph, question: Question, path: Path) -> WrittenPlan:
        plan = write_changed(graph, question.start, question.goal, path, question.detail)
        self._telemetry.instruments.plan_partitions.record(len(plan.partitions))
        return plan

    def _costed(self, graph: VersionedGraph, question: Question, cost: float, passed: list[int]) -> WrittenPlan:
        plan = write_cost(graph, question.start, question.goal, cost, passed)
        self._telemetry.instruments.plan_partitions.record(len(plan.partitions))
        return plan

    async def _search_locally(
        self,
        graph: VersionedGraph,
        start: Place,
        goal: Place,
        deadline: Deadline,
        phase: Phase,
        *,
        use_kept: bool,
        with_segments: bool,
    ) -> LocalFindings:
        """Search from the start and backward from the goal, and between them if they share a partition."""
        found: dict[bool, LocalResult] = {}
        operations: dict[int, list[task_pb2.Operation]] = defaultdict(list)
        for place, backward in ((start, False), (goal, True)):
            if use_kept:
                kept = self._kept.local_result(
                    graph.identity, place.node, backward=backward, with_segments=with_segments
                )
                if kept is not None:
                    found[backward] = kept
                    continue
            search = task_pb2.SearchOperation(
                partition=place.partition,
                node=place.local,
                backward=backward,
                without_segments=not with_segments,
            )
            operations[graph.shard_of(place.partition)].append(task_pb2.Operation(search=search))
        meeting_cost = float("inf")
        if start.partition == goal.partition:
            meet = task_pb2.MeetOperation(partition=start.partition, start=start.local, goal=goal.local)
            operations[graph.shard_of(start.partition)].append(task_pb2.Operation(meet=meet))
        answers = await self._queries.ask(graph, operations, deadline) if operations else {}
        for shard, answer in answers.items():
            phase.note(answer)
            for operation, result in zip(operations[shard], answer.results, strict=True):
                if operation.HasField("meet"):
                    meeting_cost = result.meet.cost
                    phase.settled_nodes += result.meet.settled_nodes
                    continue
                backward = operation.search.backward
                found[backward] = _local_result(graph, operation.search.partition, result.search)
                phase.settled_nodes += result.search.settled_nodes
                if use_kept:
                    node = (goal if backward else start).node
                    self._kept.keep_local_result(
                        graph.identity, node, found[backward], backward=backward, with_segments=with_segments
                    )
        return LocalFindings(found[False], found[True], meeting_cost)

    async def _search_overlay(self, graph: VersionedGraph, local: LocalFindings) -> OverlayPath:
        """Search the overlay: on the event loop if recent searches were short, else in a thread."""
        if graph.overlay_searches.are_short(1):
            return self._overlay_path(graph, local)
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._overlay_path, graph, local)

    def _overlay_path(self, graph: VersionedGraph, local: LocalFindings) -> OverlayPath:
        search = getattr(self._searches, "search", None)
        if search is None:
            # One for each thread, which reuses its memory.
            search = self._searches.search = OverlaySearch()
        assert isinstance(search, OverlaySearch)
        # Processor time: on a busy machine, a short search may be suspended for a long time.
        begun_s = time.thread_time()
        one, two = local.start, local.goal
        path = search.search(
            graph.overlay.overlay, one.nodes, one.distances, two.nodes, two.distances, local.meeting_cost
        )
        graph.overlay_searches.note(time.thread_time() - begun_s)
        return path


def _local_result(graph: VersionedGraph, partition: int, result: task_pb2.SearchResult) -> LocalResult:
    """Return a worker's result with the overlay's node numbers, and segments with global ones."""
    nodes: Int32Array = np.frombuffer(result.overlay_nodes, np.int32) + graph.overlay.overlay_first[partition]
    distances: Float64Array = np.frombuffer(result.distances, np.float64)
    if len(nodes) != len(distances):
        raise InternalError(f"expected {len(nodes)} distances from a worker, got {len(distances)}")
    segments = (
        Segments(result.segments, graph.partition_first[partition], len(nodes)) if result.HasField("segments") else None
    )
    return LocalResult(nodes, distances, segments)


def _segment_refs(
    graph: VersionedGraph, start: Place, goal: Place, path: OverlayPath, local: LocalFindings
) -> list[Segment | SegmentKey]:
    """Return the segments of a path over the overlay: known ones as they are, the others by key."""
    opened = graph.overlay
    overlay = opened.overlay
    nodes = path.nodes
    partitions = graph.partition_of_overlay(nodes)
    within = (nodes - opened.overlay_first[partitions]).tolist()
    edges = overlay.path_edges(nodes)
    if len(edges) and edges.min() < 0:
        raise InternalError("the overlay search returned nodes that no edge joins")
    numbers: Int32Array = opened.overlay_global[nodes]
    originals = opened.is_original[edges].tolist()
    weights: Float64Array = overlay.weight[edges]
    partition_list = partitions.tolist()
    segment_refs: list[Segment | SegmentKey] = []
    if numbers[0] != start.node:
        key = (task_pb2.SEGMENT_KIND_START, start.partition, start.local, within[0])
        segment_refs.append(local.start.segment(nodes[0]) or key)
    for step, original in enumerate(originals):
        if original:
            segment_refs.append((numbers[step : step + 2], weights[step : step + 1]))
        else:
            key = (task_pb2.SEGMENT_KIND_EDGE, partition_list[step], within[step], within[step + 1])
            segment_refs.append(opened.segments.segment(edges[step], numbers[step]) or key)
    if numbers[-1] != goal.node:
        key = (task_pb2.SEGMENT_KIND_GOAL, goal.partition, within[-1], goal.local)
        segment_refs.append(local.goal.segment(nodes[-1]) or key)
    return segment_refs


def _describe(graph: VersionedGraph, plan: WrittenPlan) -> None:
    span = get_current_span()
    if span.is_recording():
        span.set_attribute(names.GRAPH, graph.name)
        span.set_attribute(names.VERSION, graph.version)
        span.set_attribute(names.COST, plan.cost)
        if plan.steps is not None:
            span.set_attribute(names.STEPS, plan.steps)
        span.set_attribute(names.PARTITION, plan.partitions)
