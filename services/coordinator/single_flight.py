"""Computes identical concurrent requests once, in a *flight*, which callers board and leave independently."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Generic, TypeVar

from opentelemetry.trace import get_current_span

from planmesh.errors import DeadlineExceeded
from planmesh.rpc.deadline import Deadline

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class FlightDeadline(Deadline):
    """The latest deadline of a flight's callers. It moves when a caller with a later one boards."""

    __slots__ = ()

    def extend(self, deadline: Deadline) -> None:
        """Move to `deadline` if that is later."""
        # Deadline is frozen. Only the flight that owns this object changes it.
        object.__setattr__(self, "at_s", max(self.at_s, deadline.at_s))


class Flight(Generic[Value]):
    """One computation, in the trace of the call that started it. It is cancelled when its last caller leaves."""

    def __init__(self, compute: Callable[[Deadline], Coroutine[None, None, Value]], deadline: Deadline) -> None:
        self.deadline = FlightDeadline(deadline.at_s)
        self.began_in = get_current_span().get_span_context()
        """Span of the call that started it."""
        self.task = asyncio.create_task(compute(self.deadline), name="plan")
        self._callers = 0

    @property
    def may_be_boarded(self) -> bool:
        """Whether its result is pending and its deadline has not passed."""
        return not (self.task.done() or self.task.cancelling() or self.deadline.passed)

    async def result(self, deadline: Deadline) -> Value:
        """Wait for the result as one of the callers. Raises what the computation raises, and DeadlineExceeded.

        A caller that leaves early, at its deadline or because its call was cancelled, does not affect the others.
        """
        self._callers += 1
        try:
            await asyncio.wait({self.task}, timeout=deadline.remaining_s())
            if not self.task.done() and deadline.at_s >= self.deadline.at_s:
                # No caller has more time, so the computation ends now too, and its error says why it is late.
                await asyncio.wait({self.task})
            if not self.task.done():
                raise DeadlineExceeded("the deadline of the plan passed before an answer was found; allow it more time")
            return self.task.result()
        finally:
            self._callers -= 1
            if not self._callers:
                self.task.cancel()


class SingleFlight(Generic[Key, Value]):
    """The flights of one event loop, by key."""

    def __init__(self) -> None:
        self._flights: dict[Key, Flight[Value]] = {}

    def board(
        self, key: Key, compute: Callable[[Deadline], Coroutine[None, None, Value]], deadline: Deadline
    ) -> tuple[Flight[Value], bool]:
        """Return the flight of `key`, and whether another caller had started it; if none had, start it.

        The caller must await the flight's `result` at once.
        """
        flight = self._flights.get(key)
        if flight is not None and flight.may_be_boarded:
            flight.deadline.extend(deadline)
            return flight, True
        flight = self._flights[key] = Flight(compute, deadline)
        flight.task.add_done_callback(lambda task: self._land(key, task))
        return flight, False

    def _land(self, key: Key, task: asyncio.Task[Value]) -> None:
        flight = self._flights.get(key)
        if flight is not None and flight.task is task:
            del self._flights[key]
        if not task.cancelled():
            task.exception()  # marks it as retrieved: all callers may have left before
