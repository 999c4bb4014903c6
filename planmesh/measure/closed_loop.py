"""A closed loop: a fixed number of callers, each of which sends its next call when the last one is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from planmesh.errors import PlanmeshError

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(slots=True)
class Outcomes(Generic[Item, Answer]):
    """The answers and errors, in the order of arrival. `seconds` is the time during which calls were in progress."""

    latencies_ms: list[float] = field(default_factory=list)
    answers: list[tuple[Item, Answer]] = field(default_factory=list)
    errors: list[tuple[Item, PlanmeshError]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def count(self) -> int:
        """Calls that ended, with an answer or an error."""
        return len(self.latencies_ms)

    def extend(self, other: Outcomes[Item, Answer]) -> None:
        """Append another slice of the same run."""
        self.latencies_ms += other.latencies_ms
        self.answers += other.answers
        self.errors += other.errors
        self.seconds += other.seconds


async def run_closed_loop(
    call: Callable[[Item], Awaitable[Answer]], items: Iterable[Item], concurrency: int
) -> Outcomes[Item, Answer]:
    """Call `call` once for each item, `concurrency` calls at a time. Latencies include those of failed calls."""
    outcomes: Outcomes[Item, Answer] = Outcomes()
    pending = iter(items)

    async def caller() -> None:
        for item in pending:
            began_s = time.perf_counter()
            try:
                answer = await call(item)
            except PlanmeshError as error:
                outcomes.latencies_ms.append((time.perf_counter() - began_s) * 1e3)
                outcomes.errors.append((item, error))
            else:
                outcomes.latencies_ms.append((time.perf_counter() - began_s) * 1e3)
                outcomes.answers.append((item, answer))

    began_s = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(caller())
    outcomes.seconds = time.perf_counter() - began_s
    return outcomes
