from __future__ import annotations

import time

import pytest

from planmesh.dispatch.broker_clock import BrokerClock


@pytest.fixture
def monotonic(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the monotonic clock says, which the test sets; the machine's own wall clock says 5."""
    now_s = [100.0]
    monkeypatch.setattr("planmesh.dispatch.broker_clock.time.monotonic", lambda: now_s[0])
    monkeypatch.setattr("planmesh.dispatch.broker_clock.time.time", lambda: 5.0)
    return now_s


def test_it_goes_by_the_machines_clock_until_redis_was_asked(monotonic: list[float]) -> None:
    assert BrokerClock().unix_s() == 5.0


def test_it_counts_on_from_what_redis_said_whatever_the_machines_clock_does(monotonic: list[float]) -> None:
    clock = BrokerClock()
    clock.note((1_000, 500_000), time.monotonic())
    monotonic[0] += 7.25
    assert clock.unix_s() == 1_007.75


def test_an_answer_is_that_of_the_middle_of_the_way(monotonic: list[float]) -> None:
    clock = BrokerClock()
    asked_at_s = time.monotonic()
    monotonic[0] += 2.0
    clock.note((1_000, 0), asked_at_s)
    assert clock.unix_s() == 1_001.0


def test_a_clock_of_redis_that_was_set_is_followed(monotonic: list[float]) -> None:
    clock = BrokerClock()
    clock.note((1_000, 0), time.monotonic())
    clock.note((4_600, 0), time.monotonic())
    assert clock.unix_s() == 4_600.0
