"""Plans asked for without a pause, each answer kept with its time, to be judged afterwards."""

from __future__ import annotations

import asyncio
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from planmesh.client import AsyncClient, Plan
from planmesh.errors import NoPath, PlanmeshError
from planmesh.measure.check import Claim, Mismatch, ReferenceGraph
from planmesh.rpc.status import code_of

Pair = tuple[str, str]

REFUSED_PAUSE_S: Final = 0.05
"""After a failure, as a caller that was refused would."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A plan that was given: when it came (of the monotonic clock), what it took, on which version, and its claim."""

    at_s: float
    took_s: float
    version: int
    claim: Claim


@dataclass(frozen=True, slots=True)
class Failed:
    """A call that ended without an answer."""

    at_s: float
    pair: Pair
    error: PlanmeshError


@dataclass(slots=True)
class Seen:
    """What callers saw: every plan as a claim to be checked, every "no path", and every failure."""

    plans: list[Answered] = field(default_factory=list)
    no_path: list[tuple[float, Pair]] = field(default_factory=list)
    failures: list[Failed] = field(default_factory=list)

    def between(self, begin_s: float, end_s: float) -> tuple[int, int]:
        """Calls and failures that ended in a time (of the monotonic clock)."""
        failed = [failure.at_s for failure in self.failures]
        ended = [plan.at_s for plan in self.plans] + [at_s for at_s, _ in self.no_path] + failed
        return sum(begin_s <= at_s < end_s for at_s in ended), sum(begin_s <= at_s < end_s for at_s in failed)

    def reasons(self) -> dict[str, int]:
        """Failures by what they said."""
        return dict(Counter(f"{type(one.error).__name__}: {one.error.message}" for one in self.failures))

    def statuses(self) -> dict[str, int]:
        """Failures by status code."""
        return dict(Counter(code_of(one.error).name for one in self.failures))

    def check(self, references: Mapping[int, ReferenceGraph], threads: int) -> list[Mismatch]:
        """Every answer that is wrong, each plan judged on the version that it says it was computed on.

        That there is no path names no version, so it is wrong unless it holds on one of them.
        """
        wrong: list[Mismatch] = []
        by_version: dict[int, list[Claim]] = {}
        for plan in self.plans:
            by_version.setdefault(plan.version, []).append(plan.claim)
        for version, claims in sorted(by_version.items()):
            reference = references.get(version)
            if reference is None:
                known = ", ".join(map(str, sorted(references)))
                reason = f"version {version} of the graph was never loaded; known are {known}"
                wrong += [Mismatch(claim.start, claim.goal, reason) for claim in claims]
            else:
                wrong += reference.check(claims, threads)
        for pair in dict.fromkeys(pair for _, pair in self.no_path):
            claim = Claim(*pair, math.inf, ())
            reasons = [reference.check_one(claim) for reference in references.values()]
            if None not in reasons:
                wrong += [reason for reason in reasons[:1] if reason is not None]
        return wrong


class Traffic:
    """Callers in a thread of their own, each with one plan at a time, past every cache."""

    def __init__(self, address: str, ids: Sequence[str], callers: int, timeout_s: float = 10.0, seed: int = 0) -> None:
        self._address = address
        self._ids = ids
        self._callers = callers
        self._timeout_s = timeout_s
        self._seed = seed
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
        async with AsyncClient(self._address) as client, asyncio.TaskGroup() as group:
            for number in range(self._callers):
                group.create_task(self._call(client, random.Random(self._seed * self._callers + number)))  # noqa: S311

    async def _call(self, client: AsyncClient, draw: random.Random) -> None:
        while not self._stop.is_set():
            pair = draw.choice(self._ids), draw.choice(self._ids)
            began_s = time.monotonic()
            try:
                plan: Plan = await client.plan(*pair, bypass_cache=True, timeout_s=self._timeout_s)
            except NoPath:
                self.seen.no_path.append((time.monotonic(), pair))
            except PlanmeshError as error:
                self.seen.failures.append(Failed(time.monotonic(), pair, error))
                await asyncio.sleep(REFUSED_PAUSE_S)
            else:
                ended_s = time.monotonic()
                steps = [(step.source, step.target, step.cost) for step in plan.steps]
                claim = Claim(*pair, plan.cost, steps)
                self.seen.plans.append(Answered(ended_s, ended_s - began_s, plan.version, claim))
