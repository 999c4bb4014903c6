"""How questions gather into batches: the batches are fakes, the queue and the event loop are real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import cast

import pytest

from planmesh.errors import DeadlineExceeded, InternalError
from planmesh.rpc.deadline import Deadline
from services.coordinator import plan_queue
from services.coordinator.plan_batches import PAIRS_TOGETHER_MAX, Answer, Asked, Deliver, PlanBatches
from services.coordinator.plan_queue import PlanQueue, Waiting
from services.coordinator.questions import Question


class Batches:
    """Records batches; each ends when the test says so."""

    def __init__(self) -> None:
        self.begun: list[list[str]] = []
        self.cancelled: list[list[str]] = []
        self.failure: Exception | None = None
        self._ends: list[asyncio.Event] = []

    async def answer(self, asked: Sequence[Asked], deadline: Deadline, deliver: Deliver) -> None:
        starts = [one.question.start for one in asked]
        self.begun.append(starts)
        self._ends.append(asyncio.Event())
        try:
            await self._ends[-1].wait()
        except asyncio.CancelledError:
            self.cancelled.append(starts)
            raise
        if self.failure is not None:
            raise self.failure
        for position, start in enumerate(starts):
            deliver(position, start.encode())

    def end(self, number: int) -> None:
        self._ends[number].set()


class Line:
    """A queue, and the answers of those who asked."""

    def __init__(self) -> None:
        self.batches = Batches()
        self.queue = PlanQueue(cast("PlanBatches", self.batches))
        self.answers: dict[str, Answer] = {}

    def ask(self, start: str, seconds: float = 60.0, *, graph: str = "g", bypass_cache: bool = False) -> Waiting:
        def take(answer: Answer) -> None:
            assert start not in self.answers, "answered twice"
            self.answers[start] = answer

        question = Question(graph, start, "goal", False, bypass_cache)
        waiting = Waiting(Asked(question, ""), Deadline.after(seconds), take)
        self.queue.put(waiting)
        return waiting

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    made = Line()
    yield made
    await made.queue.close()


def many(count: int, prefix: str = "n") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


async def test_an_idle_queue_begins_at_once(line: Line) -> None:
    line.ask("a")
    await line.settle()
    assert line.batches.begun == [["a"]]
    line.batches.end(0)
    await line.settle()
    assert line.answers == {"a": b"a"}


async def test_questions_of_one_turn_begin_together(line: Line) -> None:
    for start in many(5):
        line.ask(start)
    await line.settle()
    assert line.batches.begun == [many(5)]


async def test_questions_gather_until_as_many_wait_as_are_under_way(line: Line) -> None:
    for start in many(4):
        line.ask(start)
    await line.settle()
    for number, start in enumerate(many(4, "later"), 1):
        line.ask(start)
        await line.settle()
        assert len(line.batches.begun) == (2 if number == 4 else 1)
    assert line.batches.begun[1] == many(4, "later")


async def test_what_has_gathered_begins_when_a_batch_ends(line: Line) -> None:
    for start in many(4):
        line.ask(start)
    await line.settle()
    line.ask("later")
    await line.settle()
    assert len(line.batches.begun) == 1
    line.batches.end(0)
    await line.settle()
    assert line.batches.begun[1:] == [["later"]]


async def test_a_batch_is_bounded(line: Line) -> None:
    for start in many(PAIRS_TOGETHER_MAX + 3):
        line.ask(start)
    await line.settle()
    assert [len(batch) for batch in line.batches.begun] == [PAIRS_TOGETHER_MAX]
    line.batches.end(0)
    await line.settle()
    assert [len(batch) for batch in line.batches.begun] == [PAIRS_TOGETHER_MAX, 3]


async def test_other_graphs_and_other_uses_of_the_cache_do_not_wait_for_each_other(line: Line) -> None:
    line.ask("a")
    line.ask("b", graph="other")
    line.ask("c", bypass_cache=True)
    await line.settle()
    assert line.batches.begun == [["a"], ["b"], ["c"]]


async def test_a_batch_is_cancelled_when_its_last_caller_leaves(line: Line) -> None:
    asked = [line.ask(start) for start in many(2)]
    await line.settle()
    line.queue.drop(asked[0])
    await line.settle()
    assert line.batches.cancelled == []
    line.queue.drop(asked[1])
    await line.settle()
    assert line.batches.cancelled == [many(2)]
    assert line.answers == {}
    line.ask("next")
    await line.settle()
    assert line.batches.begun[-1] == ["next"], "the cancelled batch no longer counts"


async def test_a_caller_that_leaves_before_its_turn_is_not_computed(line: Line) -> None:
    for start in many(2):
        line.ask(start)
    await line.settle()
    line.queue.drop(line.ask("left"))
    line.ask("stays")
    line.batches.end(0)
    await line.settle()
    assert line.batches.begun[1:] == [["stays"]]


async def test_each_question_of_a_batch_has_its_own_deadline(line: Line) -> None:
    line.ask("hasty", seconds=0.05)
    line.ask("patient")
    await line.settle()
    async with asyncio.timeout(30):
        while not line.answers:
            await asyncio.sleep(0.01)
    assert line.answers.keys() == {"hasty"}
    assert isinstance(line.answers["hasty"], DeadlineExceeded)
    line.batches.end(0)
    await line.settle()
    assert line.answers["patient"] == b"patient"


async def test_a_deadline_that_passes_before_the_turn_is_an_error(line: Line) -> None:
    for start in many(2):
        line.ask(start)
    await line.settle()
    line.ask("hasty", seconds=0.0)
    line.batches.end(0)
    await line.settle()
    assert isinstance(line.answers["hasty"], DeadlineExceeded)
    assert line.batches.begun == [many(2)]


async def test_a_batch_that_hangs_does_not_hold_up_the_others(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_queue, "HELD_S_MIN", 0.02)
    for start in many(4):
        line.ask(start)
    await line.settle()
    line.ask("later")
    async with asyncio.timeout(30):
        while len(line.batches.begun) < 2:
            await asyncio.sleep(0.01)
    line.batches.end(1)
    await line.settle()
    assert line.answers == {"later": b"later"}
    line.batches.end(0)
    await line.settle()
    assert line.answers.keys() == {*many(4), "later"}


async def test_a_defect_is_an_error_of_each_question(line: Line) -> None:
    line.batches.failure = ZeroDivisionError("secret")
    for start in many(3):
        line.ask(start)
    await line.settle()
    line.batches.end(0)
    await line.settle()
    assert [type(line.answers[start]) for start in many(3)] == [InternalError] * 3
    assert "secret" not in str(line.answers["n0"])
