from __future__ import annotations

import asyncio

import pytest

from planmesh.errors import DeadlineExceeded, NoPath
from planmesh.rpc.deadline import Deadline
from services.coordinator.single_flight import SingleFlight

LONG = 60.0


class Computed:
    """A computation that ends when the test sets `go_on`. It counts how often it was started."""

    def __init__(self) -> None:
        self.flights: SingleFlight[str, str] = SingleFlight()
        self.begun = 0
        self.cancelled = 0
        self.deadlines: list[Deadline] = []
        self.go_on = asyncio.Event()
        self.error: Exception | None = None

    async def compute(self, deadline: Deadline) -> str:
        self.begun += 1
        self.deadlines.append(deadline)
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return f"answer {self.begun}"

    async def until_the_deadline(self, deadline: Deadline) -> str:
        """Fail like a plan when the deadline passes, unless `go_on` is set before."""
        self.begun += 1
        while not deadline.passed and not self.go_on.is_set():
            await asyncio.wait({asyncio.ensure_future(self.go_on.wait())}, timeout=deadline.remaining_s())
        if self.go_on.is_set():
            return "answer"
        raise DeadlineExceeded("why it is late")

    async def ask(self, seconds: float = LONG, key: str = "a to b") -> str:
        deadline = Deadline.after(seconds)
        flight, _ = self.flights.board(key, self.compute, deadline)
        return await flight.result(deadline)

    async def ask_late(self, seconds: float) -> str:
        deadline = Deadline.after(seconds)
        flight, _ = self.flights.board("late", self.until_the_deadline, deadline)
        return await flight.result(deadline)


async def turns() -> None:
    """Let all tasks run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_identical_concurrent_requests_are_computed_once() -> None:
    computed = Computed()
    callers = [asyncio.create_task(computed.ask()) for _ in range(5)]
    other = asyncio.create_task(computed.ask(key="b to a"))
    await turns()
    assert computed.begun == 2
    computed.go_on.set()
    assert await asyncio.gather(*callers, other) == ["answer 2"] * 6
    assert await computed.ask() == "answer 3", "a request after the flight ended starts another one"


async def test_only_the_last_caller_that_leaves_cancels_the_flight() -> None:
    computed = Computed()
    callers = [asyncio.create_task(computed.ask()) for _ in range(3)]
    await turns()
    callers[0].cancel()
    callers[1].cancel()
    await turns()
    assert (computed.cancelled, callers[2].done()) == (0, False)
    callers[2].cancel()
    await turns()
    assert computed.cancelled == 1
    assert [caller.cancelled() for caller in callers] == [True, True, True]
    computed.go_on.set()
    assert await computed.ask() == "answer 2", "a cancelled flight cannot be boarded"


async def test_each_caller_keeps_its_own_deadline() -> None:
    computed = Computed()
    patient = asyncio.create_task(computed.ask())
    await turns()
    with pytest.raises(DeadlineExceeded):
        await computed.ask(0.05)
    assert computed.begun == 1
    computed.go_on.set()
    assert await patient == "answer 1"


async def test_the_deadline_of_the_computation_is_the_latest_of_its_callers() -> None:
    computed = Computed()
    first = asyncio.create_task(computed.ask(LONG))
    await turns()
    (deadline,) = computed.deadlines
    later = asyncio.create_task(computed.ask(2 * LONG))
    earlier = asyncio.create_task(computed.ask(LONG / 2))
    await turns()
    assert LONG < deadline.remaining_s() <= 2 * LONG
    computed.go_on.set()
    await asyncio.gather(first, later, earlier)


async def test_the_first_callers_deadline_does_not_end_the_flight_of_a_later_one() -> None:
    computed = Computed()
    first = asyncio.create_task(computed.ask_late(0.05))
    await turns()
    second = asyncio.create_task(computed.ask_late(LONG))
    with pytest.raises(DeadlineExceeded):
        await first
    assert not second.done()
    computed.go_on.set()
    assert await second == "answer"
    assert computed.begun == 1


async def test_the_caller_with_the_most_time_learns_why_it_is_late() -> None:
    with pytest.raises(DeadlineExceeded, match="why it is late"):
        await Computed().ask_late(0.05)


async def test_all_callers_get_the_error() -> None:
    computed = Computed()
    computed.error = NoPath("a", "b")
    callers = [asyncio.create_task(computed.ask()) for _ in range(3)]
    await turns()
    computed.go_on.set()
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [NoPath] * 3
    assert computed.begun == 1
