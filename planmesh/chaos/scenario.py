"""What a scenario declares: a fault, the steady state before it, and how much of it callers may notice."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from planmesh.chaos.graph import Variant
from planmesh.chaos.mesh import ChaosMesh

CLEAR_STATUSES: Final = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED"})
"""The statuses of refused plans while a process is down: both say that the same request may succeed later."""

Load = Callable[[Variant], Coroutine[Any, Any, int]]
"""Loads a variant of the graph and returns its version. Raises the error with which the mesh refuses it."""


@dataclass(slots=True)
class Stage:
    """What a fault has access to."""

    mesh: ChaosMesh
    random: random.Random
    folder: Path
    """For the fault's own files."""
    new_variant: Callable[[], Variant]
    """Returns the same graph with costs that were never loaded."""
    load: Load
    notes: list[str] = field(default_factory=list)
    """Observations of the fault, for the report."""
    problems: list[str] = field(default_factory=list)
    """Expectations that did not hold. Any of them fails the scenario."""

    def expect(self, so: bool, otherwise: str) -> None:
        """Record `otherwise` as a problem unless `so` holds."""
        if not so:
            self.problems.append(otherwise)


class Fault:
    """A fault that can be undone. Each step does nothing unless a subclass overrides it.

    The fault lasts from `inject` to `heal`. `prepare` runs before the load begins, and `restore` after it has ended,
    even
    after an error; so `restore` must work at any time after `prepare`.
    """

    def unfit(self) -> str:
        """Say why the fault cannot be injected on this machine; "" if it can."""
        return ""

    async def prepare(self, stage: Stage) -> None:
        """Set up what the fault needs."""

    async def inject(self, stage: Stage) -> None:
        """Start the fault."""

    async def heal(self, stage: Stage) -> None:
        """End the fault."""

    async def restore(self, stage: Stage) -> None:
        """Undo everything that `prepare` changed."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of a fault callers may notice."""

    failed_share_max: float
    """Share of the calls that may fail, among those that end within `recovery_s_max` of the fault."""
    recovery_s_max: float
    """Seconds from the fault until answers are steady again."""
    statuses: frozenset[str] = CLEAR_STATUSES
    """The statuses with which calls may fail."""


@dataclass(frozen=True, slots=True)
class SteadyState:
    """What must hold before the fault, and again after it."""

    failed_share_max: float = 0.01
    plans_per_s_min: float = 5.0
    """Fewer plans say too little about the share that failed."""

    def __str__(self) -> str:
        return f"≥ {self.plans_per_s_min:g} plans/s, all exact, < {self.failed_share_max:.0%} failed"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One experiment."""

    name: str
    about: str
    """Says in one sentence what the scenario does."""
    fault: Callable[[], Fault]
    bounds: Bounds
    lasts_s: float = 0.0
    """How long the fault lasts before it is healed."""
    proxied: bool = False
    """Whether processes connect through proxies, which slows all plans somewhat."""
    redis_servers: int = 1
    """How many Redis servers the mesh has. Proxied scenarios need one."""
    steady: SteadyState = SteadyState()
    updated: bool = False
    """Whether the graph is updated all the time. Its fault must not load a graph."""
