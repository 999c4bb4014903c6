"""What a scenario declares: a fault, what is steady before it, and how much and how long it may be felt."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from planmesh.chaos.graph import Variant
from planmesh.chaos.mesh import ChaosMesh

CLEAR_STATUSES: Final = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED"})
"""What a plan may be refused with while a process is away: both say that the same request may pass later."""

Load = Callable[[Variant], Coroutine[Any, Any, int]]
"""Loads a variant of the graph; the version it is served as. Raises what the mesh refuses it with."""


@dataclass(slots=True)
class Stage:
    """What a fault works on."""

    mesh: ChaosMesh
    random: random.Random
    folder: Path
    """For files of the fault's own."""
    new_variant: Callable[[], Variant]
    """The same graph at costs that were never loaded."""
    load: Load
    notes: list[str] = field(default_factory=list)
    """What the fault saw, for the report."""
    problems: list[str] = field(default_factory=list)
    """What else had to happen and did not; any fails the scenario."""

    def expect(self, so: bool, otherwise: str) -> None:
        """Note a problem unless something is so."""
        if not so:
            self.problems.append(otherwise)


class Fault:
    """Harm that can be taken back. Each step does nothing unless a kind of fault says otherwise.

    Between `inject` and `heal` the harm lasts. `prepare` comes before the load begins, `restore` after it ended, even
    when something failed meanwhile, so it must bear being called at any time after `prepare`.
    """

    def unfit(self) -> str:
        """Why this cannot be done on this machine; "" when it can."""
        return ""

    async def prepare(self, stage: Stage) -> None:
        """Bring in what the fault needs."""

    async def inject(self, stage: Stage) -> None:
        """Do the harm."""

    async def heal(self, stage: Stage) -> None:
        """Take it back."""

    async def restore(self, stage: Stage) -> None:
        """Leave the mesh as it was found."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of a fault callers may feel."""

    failed_share_max: float
    """Of the calls that end within `recovery_s_max` of the fault."""
    recovery_s_max: float
    """Seconds from the fault until answers are steady again."""
    statuses: frozenset[str] = CLEAR_STATUSES
    """With which calls may fail."""


@dataclass(frozen=True, slots=True)
class SteadyState:
    """What has to hold before the fault, and again after it."""

    failed_share_max: float = 0.01
    plans_per_s_min: float = 5.0
    """Fewer plans tell nothing about the share that failed."""

    def __str__(self) -> str:
        return f"≥ {self.plans_per_s_min:g} plans/s, all exact, < {self.failed_share_max:.0%} failed"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One experiment."""

    name: str
    about: str
    """What is done, in one sentence."""
    fault: Callable[[], Fault]
    bounds: Bounds
    lasts_s: float = 0.0
    """How long the harm is left before it is taken back."""
    proxied: bool = False
    """The processes talk through proxies, which slows all plans somewhat."""
    steady: SteadyState = SteadyState()
