"""Gathers the questions of many callers into batches.

Questions begin when nothing is computed, or when GATHERED_MIN times as many wait as are computed. So an idle mesh never
waits to fill a batch, a busy mesh has about three batches under way, and its batches grow with its callers.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from planmesh.errors import DeadlineExceeded
from planmesh.rpc.calls import unexpected
from planmesh.rpc.deadline import Deadline
from planmesh.telemetry.logs import get_logger
from services.coordinator.plan_batches import PAIRS_TOGETHER_MAX, Answer, Asked, PlanBatches
from services.coordinator.questions import Terms
from services.coordinator.single_flight import FlightDeadline

GATHERED_MIN: Final = 1.0
"""Share of the questions under way that has to wait before more begin: workers and coordinator should be busy at the
same time, with as few batches as possible."""

HELD_S_MIN: Final = 0.1
HELD_BATCHES: Final = 8.0
"""A batch that takes longer than HELD_S_MIN, and HELD_BATCHES times as long as usual, no longer counts as under way: it
waits for a shard that others may not need."""

USUAL_WEIGHT: Final = 0.1
"""Weight of the newest batch in the moving average of their durations."""

log = get_logger(__name__)


def begins(waiting: int, under_way: int) -> bool:
    """Return whether a batch of questions that wait begins while `under_way` questions are computed."""
    return waiting > 0 and waiting >= GATHERED_MIN * under_way


@dataclass(slots=True, eq=False)
class Waiting:
    """A question that has no answer yet. `deliver` takes the answer, once, unless the question is dropped."""

    asked: Asked
    deadline: Deadline
    deliver: Callable[[Answer], None]
    batch: _Batch | None = None
    done: bool = False

    def end(self, answer: Answer) -> None:
        """Deliver the answer, if none was delivered and nobody has left."""
        if not self.done:
            self.done = True
            self.deliver(answer)


@dataclass(slots=True, eq=False)
class _Batch:
    questions: list[Waiting]
    deadline: FlightDeadline
    begun_s: float
    task: asyncio.Task[None] | None = None
    counts: bool = True
    """Whether its questions count as under way."""


@dataclass(slots=True, eq=False)
class _Line:
    """Questions that may be computed together: about one graph, of one detail, all or none bypassing the cache."""

    waiting: deque[Waiting] = field(default_factory=deque)
    under_way: int = 0
    """Questions of batches that are computed."""


class PlanQueue:
    """The questions of all streams of this process."""

    def __init__(self, batches: PlanBatches) -> None:
        self._batches = batches
        self._lines: dict[Terms, _Line] = {}
        self._running: set[_Batch] = set()
        self._usual_s = 0.0
        self._flushing = False

    def put(self, waiting: Waiting) -> None:
        """Add a question. It begins with all others of this turn of the event loop, or waits until more have come."""
        question = waiting.asked.question
        line = self._lines.setdefault(question.terms, _Line())
        line.waiting.append(waiting)
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def drop(self, waiting: Waiting) -> None:
        """Forget a question whose caller has left. A batch that nobody waits for is cancelled."""
        waiting.done = True
        batch = waiting.batch
        if batch is not None and batch.task is not None and all(one.done for one in batch.questions):
            batch.task.cancel()

    async def close(self) -> None:
        """Cancel all batches."""
        tasks = [batch.task for batch in self._running if batch.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _flush(self) -> None:
        self._flushing = False
        for key, line in list(self._lines.items()):
            while begins(len(line.waiting), line.under_way):
                self._begin(line)
            if not line.waiting and not line.under_way:
                del self._lines[key]

    def _begin(self, line: _Line) -> None:
        questions: list[Waiting] = []
        while line.waiting and len(questions) < PAIRS_TOGETHER_MAX:
            waiting = line.waiting.popleft()
            if waiting.done:
                continue
            if waiting.deadline.passed:
                waiting.end(DeadlineExceeded("the deadline passed while the plan waited its turn; allow more time"))
                continue
            questions.append(waiting)
        if not questions:
            return
        deadline = FlightDeadline(max(waiting.deadline.at_s for waiting in questions))
        batch = _Batch(questions, deadline, time.monotonic())
        for waiting in questions:
            waiting.batch = batch
        line.under_way += len(questions)
        self._running.add(batch)
        batch.task = asyncio.create_task(self._run(batch), name="plans")
        loop = asyncio.get_running_loop()
        timers = [loop.call_later(max(HELD_S_MIN, HELD_BATCHES * self._usual_s), self._stop_counting, line, batch)]
        if len(questions) > 1:
            # A plan alone ends at its deadline by itself, with the reason why it is late.
            timers += [
                loop.call_later(at_s - batch.begun_s, self._expire, batch)
                for at_s in {waiting.deadline.at_s for waiting in questions} - {deadline.at_s}
            ]
        batch.task.add_done_callback(lambda _: self._end(line, batch, timers))

    async def _run(self, batch: _Batch) -> None:
        questions = batch.questions
        asked = [waiting.asked for waiting in questions]
        try:
            await self._batches.answer(asked, batch.deadline, lambda position, answer: questions[position].end(answer))
        except Exception as error:
            log.exception("a batch failed", questions=len(questions))
            for waiting in questions:
                waiting.end(unexpected(error, waiting.asked.trace_id))

    def _stop_counting(self, line: _Line, batch: _Batch) -> None:
        if batch.counts:
            batch.counts = False
            line.under_way -= len(batch.questions)
            self._flush()

    def _expire(self, batch: _Batch) -> None:
        for waiting in batch.questions:
            if waiting.deadline.passed:
                waiting.end(
                    DeadlineExceeded("the deadline of the plan passed before an answer was found; allow it more time")
                )

    def _end(self, line: _Line, batch: _Batch, timers: list[asyncio.TimerHandle]) -> None:
        for timer in timers:
            timer.cancel()
        self._running.discard(batch)
        duration_s = time.monotonic() - batch.begun_s
        self._usual_s += USUAL_WEIGHT * (duration_s - self._usual_s)
        self._stop_counting(line, batch)
