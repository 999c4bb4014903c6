from __future__ import annotations

import time

import pytest

from planmesh.dispatch.broker_clock import BrokerClock


@pytest.fixture
def monotonic(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of the monotonic clock, which the test sets. The machine's own wall clock shows 5."""
    now_s = [100.0]
    monkeypatch.setattr("planmesh.dispatch.broker_clock.time.monotonic", lambda: now_s[0])
    monkeypatch.setattr("planmesh.dispatch.broker_clock.time.time", lambda: 5.0)
    return now_s


def test_before_the_first_answer_of_redis_the_machines_clock_is_used(monotonic: list[float]) -> None:
    assert BrokerClock().unix_s() == 5.0


def test_after_an_answer_of_redis_the_monotonic_clock_counts_on(monotonic: list[float]) -> None:
    clock = BrokerClock()
    clock.note((1_000, 500_000), time.monotonic())
    monotonic[0] += 7.25
    assert clock.unix_s() == 1_007.75


def test_the_time_of_redis_belongs_to_the_middle_of_the_round_trip(monotonic: list[float]) -> None:
    clock = BrokerClock()
    asked_at_s = time.monotonic()
    monotonic[0] += 2.0
    clock.note((1_000, 0), asked_at_s)
    assert clock.unix_s() == 1_001.0


def test_a_change_of_redis_clock_is_followed(monotonic: list[float]) -> None:
    clock = BrokerClock()
    clock.note((1_000, 0), time.monotonic())
    clock.note((4_600, 0), time.monotonic())
    assert clock.unix_s() == 4_600.0
