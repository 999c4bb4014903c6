"""The number of agents over time: steady, spike and soak. Pure, with bounds on users, rate and time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

USERS_PER_PROCESS_MAX: Final = 256
"""Agents of one Locust process. Each call in progress occupies a thread of gevent's pool."""
USERS_MAX: Final = 4_096
"""Agents of all processes. A machine has no use for more than sixteen processes."""
SECONDS_MIN: Final = 5
SECONDS_MAX: Final = 24 * 3_600
SPAWN_PER_S_MAX: Final = 100.0
"""Agents started or stopped per second. A faster start would measure Locust."""
CALLS_PER_S_MIN: Final = 0.1
CALLS_PER_S_MAX: Final = 100.0
"""Calls per second of one agent."""

RAMP_S: Final = 3.0
"""Time in which the agents of a steady run start."""
CALM_SHARE: Final = 1 / 8
"""Share of the agents that run before and after a spike."""
SPIKE_BEGINS, SPIKE_ENDS = 0.4, 0.7
"""Begin and end of the spike, as shares of the run."""


@dataclass(frozen=True, slots=True)
class Stage:
    """From the end of the previous stage until `until_s`: `users` agents, started or stopped at `spawn_per_s`."""

    until_s: float
    users: int
    spawn_per_s: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """Consecutive stages."""

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        ends = [stage.until_s for stage in self.stages]
        if not ends or ends != sorted(set(ends)) or not 0 < ends[-1] <= SECONDS_MAX:
            raise ValueError(f"expected stages that end one after another within {SECONDS_MAX} s, got ends at {ends}")
        for stage in self.stages:
            if not 1 <= stage.users <= USERS_MAX or not 0 < stage.spawn_per_s <= SPAWN_PER_S_MAX:
                raise ValueError(
                    f"expected 1 to {USERS_MAX} users and at most {SPAWN_PER_S_MAX:g} started per second, got {stage}"
                )

    def at(self, elapsed_s: float) -> Stage | None:
        """Return the stage at a time; None after the last one."""
        return next((stage for stage in self.stages if elapsed_s < stage.until_s), None)

    @property
    def seconds(self) -> float:
        """Length of the run."""
        return self.stages[-1].until_s


def steady(users: int, seconds: float) -> Schedule:
    """Make a schedule with a constant number of agents."""
    return Schedule((Stage(seconds, users, _spawn_per_s(users, RAMP_S)),))


def spike(users: int, seconds: float) -> Schedule:
    """Make a schedule with few agents, then all `users` at once, then few again."""
    calm = max(round(users * CALM_SHARE), 1)
    return Schedule(
        (
            Stage(seconds * SPIKE_BEGINS, calm, _spawn_per_s(calm, RAMP_S)),
            Stage(seconds * SPIKE_ENDS, users, SPAWN_PER_S_MAX),
            Stage(seconds, calm, SPAWN_PER_S_MAX),
        )
    )


def soak(users: int, seconds: float) -> Schedule:
    """Make a schedule that starts the agents over a tenth of the run. Finds leaks and gradual slowdown."""
    return Schedule((Stage(seconds, users, _spawn_per_s(users, seconds / 10)),))


def _spawn_per_s(users: int, ramp_s: float) -> float:
    return min(users / ramp_s, SPAWN_PER_S_MAX)


@dataclass(frozen=True, slots=True)
class ShapeDefaults:
    """A shape's schedule and its defaults."""

    make: Callable[[int, float], Schedule]
    users: int
    seconds: float
    refusals_fail: bool
    """Whether refusals with a retry hint count as failures. In a spike they do not: the mesh is meant to refuse."""

    def schedule(self, users: int | None = None, seconds: float | None = None, processes: int = 1) -> Schedule:
        """Make the schedule for a number of Locust processes. Raises ValueError if a number is out of bounds."""
        wanted = self.users if users is None else users
        if wanted > processes * USERS_PER_PROCESS_MAX:
            raise ValueError(
                f"expected at most {USERS_PER_PROCESS_MAX} agents for each Locust process, got {wanted} for "
                f"{processes}; docs/operations/load-testing.md says how to run more processes"
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
