"""Plans asked for without a pause, each answer kept with its time, to be judged afterwards."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from planmesh.client import Plan, PlanmeshClient
from planmesh.errors import NoPath, PlanmeshError
from planmesh.measure.check import Claim

Pair = tuple[str, str]


@dataclass(slots=True)
class Seen:
    """What callers saw: every plan as a claim to be checked, and every failure."""

    claims: list[tuple[float, Claim]] = field(default_factory=list)
    no_path: list[tuple[float, Pair]] = field(default_factory=list)
    failures: list[tuple[float, Pair, PlanmeshError]] = field(default_factory=list)

    def between(self, begin_s: float, end_s: float) -> tuple[int, int]:
        """Calls and failures that ended in a time (of the monotonic clock)."""
        failed = [at_s for at_s, _, _ in self.failures]
        ended = [at_s for at_s, _ in self.claims] + [at_s for at_s, _ in self.no_path] + failed
        return sum(begin_s <= at_s < end_s for at_s in ended), sum(begin_s <= at_s < end_s for at_s in failed)

    def reasons(self) -> dict[str, int]:
        """Failures by what they said."""
        return dict(Counter(f"{type(error).__name__}: {error.message}" for _, _, error in self.failures))


class Traffic:
    """Callers in a thread of their own, each with one plan at a time, past every cache."""

    def __init__(self, address: str, ids: Sequence[str], callers: int, timeout_s: float = 10.0) -> None:
        self._address = address
        self._ids = ids
        self._callers = callers
        self._timeout_s = timeout_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="traffic")
        self.seen = Seen()

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        async with PlanmeshClient(self._address) as client, asyncio.TaskGroup() as group:
            for number in range(self._callers):
                group.create_task(self._call(client, random.Random(number)))

    async def _call(self, client: PlanmeshClient, draw: random.Random) -> None:
        while not self._stop.is_set():
            pair = draw.choice(self._ids), draw.choice(self._ids)
            try:
                plan: Plan = await client.plan(*pair, bypass_cache=True, timeout_s=self._timeout_s)
            except NoPath:
                self.seen.no_path.append((time.monotonic(), pair))
            except PlanmeshError as error:
                self.seen.failures.append((time.monotonic(), pair, error))
                await asyncio.sleep(0.05)  # as a caller that was refused would
            else:
                steps = [(step.source, step.target, step.cost) for step in plan.message.steps]
                self.seen.claims.append((time.monotonic(), Claim(*pair, plan.cost, steps)))
