"""How many agents there are at which second: steady, spike and soak. Pure, and bounded in users, rate and time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

USERS_PER_PROCESS_MAX: Final = 256
"""Agents of one Locust process: each call under way holds a thread of gevent's pool."""
USERS_MAX: Final = 4_096
"""Agents of all processes; sixteen of them are more than a machine has use for."""
SECONDS_MIN: Final = 5
SECONDS_MAX: Final = 24 * 3_600
SPAWN_PER_S_MAX: Final = 100.0
"""Agents started or stopped in a second: a faster start measures Locust."""
CALLS_PER_S_MIN: Final = 0.1
CALLS_PER_S_MAX: Final = 100.0
"""Calls of one agent in a second."""

RAMP_S: Final = 3.0
"""In which a steady crowd gathers."""
CALM_SHARE: Final = 1 / 8
"""Part of the agents that are there before and after a spike."""
SPIKE_BEGINS, SPIKE_ENDS = 0.4, 0.7
"""When, as shares of the run."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Until `until_s` after the beginning there are `users`, coming or going at `spawn_per_s`."""

    until_s: float
    users: int
    spawn_per_s: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """Stages, one after another."""

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        ends = [stage.until_s for stage in self.stages]
        if not ends or ends != sorted(set(ends)) or not 0 < ends[-1] <= SECONDS_MAX:
            raise ValueError(f"expected stages that end one after another within {SECONDS_MAX} s, got ends at {ends}")
        for stage in self.stages:
            if not 1 <= stage.users <= USERS_MAX or not 0 < stage.spawn_per_s <= SPAWN_PER_S_MAX:
                raise ValueError(
                    f"expected 1 to {USERS_MAX} users and at most {SPAWN_PER_S_MAX:g} started a second, got {stage}"
                )

    def at(self, elapsed_s: float) -> Stage | None:
        """The stage of a moment; None when all have ended."""
        return next((stage for stage in self.stages if elapsed_s < stage.until_s), None)

    @property
    def seconds(self) -> float:
        """How long the run lasts."""
        return self.stages[-1].until_s


def steady(users: int, seconds: float) -> Schedule:
    """The same crowd from beginning to end."""
    return Schedule((Stage(seconds, users, _spawn_per_s(users, RAMP_S)),))


def spike(users: int, seconds: float) -> Schedule:
    """A calm crowd, then at once all `users`, then calm again."""
    calm = max(round(users * CALM_SHARE), 1)
    return Schedule(
        (
            Stage(seconds * SPIKE_BEGINS, calm, _spawn_per_s(calm, RAMP_S)),
            Stage(seconds * SPIKE_ENDS, users, SPAWN_PER_S_MAX),
            Stage(seconds, calm, SPAWN_PER_S_MAX),
        )
    )


def soak(users: int, seconds: float) -> Schedule:
    """A crowd that gathers over a tenth of the run and stays: for leaks and for what slows down with time."""
    return Schedule((Stage(seconds, users, _spawn_per_s(users, seconds / 10)),))


def _spawn_per_s(users: int, ramp_s: float) -> float:
    return min(users / ramp_s, SPAWN_PER_S_MAX)


@dataclass(frozen=True, slots=True)
class ShapeDefaults:
    """A shape by name: how its schedule is made, and of what when nothing else is asked."""

    make: Callable[[int, float], Schedule]
    users: int
    seconds: float
    refusals_fail: bool
    """Whether a refusal with a retry hint is a failure. Not in a spike: there it is what the mesh promises."""

    def schedule(self, users: int | None = None, seconds: float | None = None, processes: int = 1) -> Schedule:
        """The schedule, for so many Locust processes. Raises ValueError when a number is out of its bounds."""
        wanted = self.users if users is None else users
        if wanted > processes * USERS_PER_PROCESS_MAX:
            raise ValueError(
                f"expected at most {USERS_PER_PROCESS_MAX} agents for each Locust process, got {wanted} for "
                f"{processes}; docs/operations/load-testing.md tells how to run more processes"
            )
        lasting_s = self.seconds if seconds is None else seconds
        if not SECONDS_MIN <= lasting_s <= SECONDS_MAX:
            raise ValueError(f"expected {SECONDS_MIN} to {SECONDS_MAX} seconds, got {lasting_s:g}")
        return self.make(wanted, lasting_s)


SHAPES: Final[Mapping[str, ShapeDefaults]] = {
    "steady": ShapeDefaults(steady, users=16, seconds=60, refusals_fail=True),
    "spike": ShapeDefaults(spike, users=128, seconds=60, refusals_fail=False),
    "soak": ShapeDefaults(soak, users=16, seconds=1_800, refusals_fail=True),
}
