"""Steady, spike and soak: the number of agents over time, and the bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from load.schedule import (
    SECONDS_MAX,
    SECONDS_MIN,
    SHAPES,
    SPAWN_PER_S_MAX,
    USERS_PER_PROCESS_MAX,
    Schedule,
    Stage,
    soak,
    spike,
    steady,
)


def users_at(schedule: Schedule, *moments_s: float) -> list[int | None]:
    return [None if stage is None else stage.users for stage in map(schedule.at, moments_s)]


def test_steady_stays_and_ends() -> None:
    assert users_at(steady(16, 60), 0, 30, 59.9, 60, 1e9) == [16, 16, 16, None, None]


def test_a_spike_comes_at_once_and_goes_again() -> None:
    schedule = spike(128, 100)
    assert users_at(schedule, 0, 39.9, 40, 69.9, 70, 99.9, 100) == [16, 16, 128, 128, 16, 16, None]
    rising = schedule.at(50)
    assert rising is not None
    assert rising.spawn_per_s == SPAWN_PER_S_MAX


def test_a_soak_gathers_slowly() -> None:
    stage = soak(60, 600).at(0)
    assert stage == Stage(600, 60, 1.0)


@given(
    name=st.sampled_from(sorted(SHAPES)),
    users=st.integers(1, USERS_PER_PROCESS_MAX),
    seconds=st.floats(SECONDS_MIN, SECONDS_MAX),
)
def test_every_shape_keeps_its_bounds(name: str, users: int, seconds: float) -> None:
    schedule = SHAPES[name].schedule(users, seconds)
    assert schedule.seconds == seconds
    assert max(stage.users for stage in schedule.stages) == users
    assert all(stage.users >= 1 and 0 < stage.spawn_per_s <= SPAWN_PER_S_MAX for stage in schedule.stages)


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_a_shape_has_defaults(name: str) -> None:
    shape = SHAPES[name]
    schedule = shape.schedule()
    assert schedule.seconds == shape.seconds
    assert max(stage.users for stage in schedule.stages) == shape.users


def test_more_agents_need_more_processes() -> None:
    with pytest.raises(ValueError, match=f"at most {USERS_PER_PROCESS_MAX} agents for each Locust process"):
        SHAPES["steady"].schedule(USERS_PER_PROCESS_MAX + 1)
    assert SHAPES["steady"].schedule(USERS_PER_PROCESS_MAX + 1, processes=2).stages[0].users == 257


@pytest.mark.parametrize("seconds", [0, SECONDS_MIN - 1, SECONDS_MAX + 1, float("nan")])
def test_a_run_has_a_least_and_a_greatest_length(seconds: float) -> None:
    with pytest.raises(ValueError, match=f"expected {SECONDS_MIN} to {SECONDS_MAX} seconds"):
        SHAPES["soak"].schedule(1, seconds)


@pytest.mark.parametrize(
    "stages",
    [
        (),
        (Stage(10, 1, 1), Stage(10, 2, 1)),
        (Stage(10, 1, 1), Stage(5, 2, 1)),
        (Stage(SECONDS_MAX + 1, 1, 1),),
        (Stage(10, 0, 1),),
        (Stage(10, 1_000_000, 1),),
        (Stage(10, 1, 0),),
        (Stage(10, 1, SPAWN_PER_S_MAX + 1),),
    ],
)
def test_unbounded_schedules_are_refused(stages: tuple[Stage, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Schedule(stages)
