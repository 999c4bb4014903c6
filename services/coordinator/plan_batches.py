"""Answers batches of pairs: from the cache, computed together, or one by one where that is necessary."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Link, Span, get_current_span

from planmesh.errors import NoPath, PlanmeshError
from planmesh.rpc.calls import unexpected
from planmesh.rpc.deadline import Deadline
from planmesh.telemetry import names
from planmesh.telemetry.logs import get_logger
from planmesh.telemetry.tracing import Telemetry
from planmesh.v1 import plan_pb2
from services.coordinator.answer_cache import AnswerCache
from services.coordinator.batch_planner import BatchAnswer, BatchPlanner
from services.coordinator.counters import Counters
from services.coordinator.path_options import PLAIN
from services.coordinator.phases import PhaseLog
from services.coordinator.planner import Planner
from services.coordinator.questions import Question
from services.coordinator.shadow_checks import ShadowChecks
from services.coordinator.shard_queries import ShardQueries
from services.coordinator.versioned_graph import VersionedGraph

PAIRS_TOGETHER_MAX: Final = 64
"""Pairs computed together. More would keep a shard's workers from other plans for more than about ten milliseconds."""

log = get_logger(__name__)

Answer = bytes | PlanmeshError
"""A serialised v1.Plan, or why there is none."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, with the trace of its caller. `context` is None for all questions of one call."""

    question: Question
    trace_id: str
    context: Context | None = None


Deliver = Callable[[int, Answer], None]
"""Takes the position of a question, and its answer."""


class PlanBatches:
    """Answers questions about one graph together."""

    def __init__(
        self,
        planner: Planner,
        together: BatchPlanner,
        queries: ShardQueries,
        cache: AnswerCache,
        telemetry: Telemetry,
        counters: Counters,
        shadow: ShadowChecks,
    ) -> None:
        self._planner = planner
        self._together = together
        self._queries = queries
        self._cache = cache
        self._telemetry = telemetry
        self._counters = counters
        self._shadow = shadow

    async def answer(self, asked: Sequence[Asked], deadline: Deadline, deliver: Deliver) -> None:
        """Answer questions of the same terms; see Question.terms.

        `deliver` is called once for each, as soon as its answer is known. A question without a plan gets its own error.
        """
        left = dict(enumerate(asked))
        alone: list[asyncio.Task[None]] = []

        async def answer_alone(position: int) -> None:
            deliver(position, await self._answer_alone(asked[position], deadline))

        def take(position: int, answer: Answer | None) -> None:
            del left[position]
            if answer is None:
                alone.append(asyncio.create_task(answer_alone(position)))
            else:
                deliver(position, answer)

        try:
            if len(asked) == 1:
                await answer_alone(0)
                return
            if asked[0].question.options is not PLAIN:
                for position in list(left):
                    take(position, None)
                await asyncio.gather(*alone)
                return
            try:
                with self._batch_span(asked) as batch:
                    await self._answer_together(left, deadline, take)
            except PlanmeshError as error:
                # The failure may concern one pair only: that of another pair is found when each is computed alone.
                log.info("a batch is computed one by one", graph=asked[0].question.graph, reason=error.message)
            for position in list(left):
                take(position, None)
            if alone:
                await asyncio.gather(*alone)
            self._describe_to_callers(asked, batch)
        finally:
            for task in alone:
                task.cancel()

    async def _answer_alone(self, asked: Asked, deadline: Deadline) -> Answer:
        if asked.context is not None:
            otel_context.attach(asked.context)  # never detached: this task answers one question
        try:
            return await self._planner.plan(asked.question, deadline, asked.trace_id)
        except PlanmeshError as error:
            return error
        except Exception as error:
            log.exception("a plan failed unexpectedly", graph=asked.question.graph)
            return unexpected(error, asked.trace_id)

    async def _answer_together(
        self, left: Mapping[int, Asked], deadline: Deadline, take: Callable[[int, Answer | None], None]
    ) -> None:
        """Find what can be found together, and call `take` with each answer, or None for one to be computed alone."""
        phases = PhaseLog(self._telemetry)
        first = next(iter(left.values())).question
        bypass_cache, detail = first.bypass_cache, first.detail

        async def answer(graph: VersionedGraph) -> None:
            positions: dict[tuple[str, str], list[int]] = {}
            for position, asked in left.items():
                positions.setdefault((asked.question.start, asked.question.goal), []).append(position)
            questions = {pair: left[some[0]].question for pair, some in positions.items()}
            kept = {} if bypass_cache else await self._kept(graph, questions, phases)
            for pair, plan in kept.items():
                self._shadow.consider(graph, *pair, plan)
                for position in positions[pair]:
                    take(position, self._completed(left[position], plan, phases, cached=True))
            wanted = [pair for pair in positions if pair not in kept]

            def deliver(found: BatchAnswer) -> None:
                for place, (position_of_pair, outcome) in enumerate(
                    zip(found.positions.tolist(), found.outcomes, strict=True)
                ):
                    pair: tuple[str, str] = wanted[position_of_pair]
                    if isinstance(outcome, bytes):
                        self._shadow.consider(graph, pair[0], pair[1], outcome)
                        if not bypass_cache:
                            self._cache.put(questions[pair].key(graph.state_identity), outcome)
                    elif isinstance(outcome, NoPath):
                        self._shadow.consider(graph, pair[0], pair[1], None)
                    self._count_joined(len(positions[pair]) - 1)
                    for position in positions[pair]:
                        take(position, self._answer_of(left[position], found, place))

            if wanted:
                await self._together.compute(graph, wanted, deadline, phases, deliver, detail)

        def note_retry() -> None:
            phases.retries += 1
            self._counters.retries += 1
            self._telemetry.instruments.retries.add(1)

        await self._queries.on_one_version(first.graph, answer, deadline, note_retry, first.wanted)

    def _answer_of(self, asked: Asked, found: BatchAnswer, place: int) -> Answer | None:
        """Return the answer to one question for an outcome of a batch."""
        outcome = found.outcomes[place]
        if outcome is None:
            return None
        if isinstance(outcome, PlanmeshError):
            self._count(found.phases, failed=True)
            return outcome
        self._telemetry.instruments.plan_partitions.record(int(found.partitions[place]))
        return self._completed(asked, outcome, found.phases, found, place)

    def _completed(
        self,
        asked: Asked,
        plan: bytes,
        phases: PhaseLog,
        found: BatchAnswer | None = None,
        place: int = 0,
        *,
        cached: bool = False,
    ) -> bytes:
        """Return a plan with what is the caller's own. Fields of a serialised message may come in any order."""
        self._count(phases)
        about = plan_pb2.Plan(cached=cached, trace_id=asked.trace_id)
        if asked.question.explain:
            about.explanation.CopyFrom(_explanation(phases, found, place))
        return plan + about.SerializeToString()

    async def _kept(
        self, graph: VersionedGraph, questions: Mapping[tuple[str, str], Question], phases: PhaseLog
    ) -> dict[tuple[str, str], bytes]:
        with phases.phase(names.SPAN_CACHE):
            found = await self._cache.get_many([question.key(graph.state_identity) for question in questions.values()])
        kept = {pair: plan for pair, plan in zip(questions, found, strict=True) if plan is not None}
        self._counters.cache_hits += len(kept)
        self._counters.cache_misses += len(questions) - len(kept)
        self._telemetry.instruments.cache_hits.add(len(kept))
        self._telemetry.instruments.cache_misses.add(len(questions) - len(kept))
        return kept

    def _count(self, phases: PhaseLog, *, failed: bool = False) -> None:
        """Count and measure one answer."""
        self._counters.plans += 1
        self._counters.failed += failed
        if self._telemetry.measuring:
            self._telemetry.instruments.plan_duration.record(phases.total_s())

    def _count_joined(self, count: int) -> None:
        """Count questions that got the plan of another caller of the same batch."""
        if count:
            self._counters.joined += count
            self._telemetry.instruments.joined.add(count)

    @contextmanager
    def _batch_span(self, asked: Sequence[Asked]) -> Iterator[Span | None]:
        """Make a span current for the work of a batch of several callers: in the trace of the first, linked to all."""
        first = asked[0].context
        if first is None or not self._telemetry.recording:
            yield None
            return
        spans = [get_current_span(one.context).get_span_context() for one in asked]
        sampled = next((one for one, span in zip(asked, spans, strict=True) if span.trace_flags.sampled), asked[0])
        with self._telemetry.tracer.start_as_current_span(
            names.SPAN_BATCH,
            sampled.context,
            attributes={names.BATCH_SIZE: len(asked)},
            links=[Link(span) for span in spans],
            record_exception=False,
        ) as span:
            yield span

    def _describe_to_callers(self, asked: Sequence[Asked], batch: Span | None) -> None:
        """Give each caller's trace a span for the batch, linked to the batch's own. Costs nothing if not sampled."""
        if not isinstance(batch, ReadableSpan) or batch.start_time is None:
            return
        for one in asked:
            context = get_current_span(one.context).get_span_context()
            if batch.parent is not None and context.span_id == batch.parent.span_id:
                continue
            self._telemetry.tracer.start_span(
                names.SPAN_BATCH,
                one.context,
                attributes={names.BATCH_SIZE: len(asked)},
                links=[Link(batch.get_span_context())],
                start_time=batch.start_time,
            ).end(batch.end_time)


def _explanation(phases: PhaseLog, found: BatchAnswer | None, place: int) -> plan_pb2.Explanation:
    """Return the phases of the batch, with the nodes that the searches of one of its plans settled."""
    explanation = phases.explanation()
    settled = {
        names.SPAN_LOCAL_SEARCH.removeprefix("planmesh."): 0 if found is None else int(found.local_settled[place]),
        names.SPAN_OVERLAY.removeprefix("planmesh."): 0 if found is None else int(found.overlay_settled[place]),
    }
    for phase in explanation.phases:
        phase.settled_nodes = settled.get(phase.name, 0)
    explanation.settled_nodes = sum(settled.values())
    return explanation
