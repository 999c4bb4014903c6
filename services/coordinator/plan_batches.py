"""Answers batches of pairs: from the cache, computed together, or one by one where that is necessary."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from planmesh.errors import DeadlineExceeded, NoPath, PlanmeshError
from planmesh.rpc.deadline import Deadline
from planmesh.telemetry import names
from planmesh.telemetry.logs import get_logger
from planmesh.telemetry.tracing import Telemetry
from planmesh.v1 import plan_pb2
from services.coordinator.answer_cache import AnswerCache
from services.coordinator.batch_planner import BatchAnswer, BatchPlanner, Outcome
from services.coordinator.counters import Counters
from services.coordinator.phases import PhaseLog
from services.coordinator.planner import Planner, Question
from services.coordinator.shadow_checks import ShadowChecks
from services.coordinator.shard_queries import ShardQueries
from services.coordinator.versioned_graph import VersionedGraph

PAIRS_TOGETHER_MAX: Final = 64
"""Pairs computed together. More would keep a shard's workers from other plans for more than about ten milliseconds."""

log = get_logger(__name__)

Answer = bytes | PlanmeshError
"""A serialised v1.Plan, or why there is none."""


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

    async def answer(self, questions: Sequence[Question], deadline: Deadline, trace_id: str) -> list[Answer]:
        """Answer questions that differ only in their pairs, in order. A pair without a plan gets its own error."""
        answers: list[Answer | None] = [None] * len(questions)
        if len(questions) > 1:
            try:
                await self._answer_together(questions, answers, deadline, trace_id)
            except DeadlineExceeded as error:
                self._counters.failed += sum(answer is None for answer in answers)
                return [error if answer is None else answer for answer in answers]
            except PlanmeshError as error:
                # The failure may concern one pair only: that of another pair is found when each is computed alone.
                log.info("a batch is computed one by one", graph=questions[0].graph, reason=error.message)
        alone = [position for position, answer in enumerate(answers) if answer is None]
        for position, found in zip(
            alone,
            await asyncio.gather(*(self._answer_alone(questions[one], deadline, trace_id) for one in alone)),
            strict=True,
        ):
            answers[position] = found
        return [answer for answer in answers if answer is not None]

    async def _answer_alone(self, question: Question, deadline: Deadline, trace_id: str) -> Answer:
        try:
            return await self._planner.plan(question, deadline, trace_id)
        except PlanmeshError as error:
            return error

    async def _answer_together(
        self, questions: Sequence[Question], answers: list[Answer | None], deadline: Deadline, trace_id: str
    ) -> None:
        """Fill in the answers that can be found together."""
        phases = PhaseLog(self._telemetry)
        pairs = [(question.start, question.goal) for question in questions]
        distinct = dict(zip(pairs, questions, strict=True))

        async def answer(
            graph: VersionedGraph,
        ) -> tuple[dict[tuple[str, str], bytes], dict[tuple[str, str], int], BatchAnswer]:
            kept = {} if questions[0].bypass_cache else await self._kept(graph, distinct, phases)
            wanted = [pair for pair in distinct if pair not in kept]
            found = await self._together.compute(graph, wanted, deadline, phases, questions[0].detail)
            for pair, plan in kept.items():
                self._shadow.consider(graph, *pair, plan)
            for pair, outcome in zip(wanted, found.outcomes, strict=True):
                if outcome is None:
                    continue
                self._shadow.consider(graph, *pair, None if isinstance(outcome, NoPath) else outcome)
                if isinstance(outcome, bytes) and not questions[0].bypass_cache:
                    self._cache.put(distinct[pair].key(graph.identity), outcome)
            return kept, {pair: position for position, pair in enumerate(wanted)}, found

        def note_retry() -> None:
            phases.retries += 1
            self._counters.retries += 1
            self._telemetry.instruments.retries.add(1)

        kept, computed, found = await self._queries.on_one_version(questions[0].graph, answer, deadline, note_retry)
        cached_end = plan_pb2.Plan(cached=True, trace_id=trace_id).SerializeToString()
        end = plan_pb2.Plan(trace_id=trace_id).SerializeToString()
        for position, pair in enumerate(pairs):
            place = computed.get(pair)
            plan: Outcome = kept[pair] if place is None else found.outcomes[place]
            if plan is None:
                continue
            self._note(plan, 0 if place is None else int(found.partitions[place]), phases)
            if isinstance(plan, NoPath):
                answers[position] = plan
                continue
            # Fields of a serialised message may come in any order.
            plan += cached_end if place is None else end
            if questions[position].explain:
                plan += plan_pb2.Plan(explanation=_explanation(phases, found, place)).SerializeToString()
            answers[position] = plan

    async def _kept(
        self, graph: VersionedGraph, questions: Mapping[tuple[str, str], Question], phases: PhaseLog
    ) -> dict[tuple[str, str], bytes]:
        with phases.phase(names.SPAN_CACHE):
            found = await self._cache.get_many([question.key(graph.identity) for question in questions.values()])
        kept = {pair: plan for pair, plan in zip(questions, found, strict=True) if plan is not None}
        self._counters.cache_hits += len(kept)
        self._counters.cache_misses += len(questions) - len(kept)
        self._telemetry.instruments.cache_hits.add(len(kept))
        self._telemetry.instruments.cache_misses.add(len(questions) - len(kept))
        return kept

    def _note(self, plan: bytes | NoPath, partitions: int, phases: PhaseLog) -> None:
        """Count and measure one answer."""
        self._counters.plans += 1
        if isinstance(plan, NoPath):
            self._counters.failed += 1
        elif partitions:
            self._telemetry.instruments.plan_partitions.record(partitions)
        if self._telemetry.measuring:
            self._telemetry.instruments.plan_duration.record(phases.total_s())


def _explanation(phases: PhaseLog, found: BatchAnswer, place: int | None) -> plan_pb2.Explanation:
    """Return the phases of the batch, with the nodes that the searches of one of its plans settled."""
    explanation = phases.explanation()
    settled = {
        names.SPAN_LOCAL_SEARCH.removeprefix("planmesh."): 0 if place is None else int(found.local_settled[place]),
        names.SPAN_OVERLAY.removeprefix("planmesh."): 0 if place is None else int(found.overlay_settled[place]),
    }
    for phase in explanation.phases:
        phase.settled_nodes = settled.get(phase.name, 0)
    explanation.settled_nodes = sum(settled.values())
    return explanation
