"""The hedge time, as a function of the latencies of replies."""

from __future__ import annotations

import pytest

from planmesh.dispatch.hedge_times import (
    BACK_OFF,
    DOUBLINGS_MAX,
    HEDGE_FACTOR,
    HEDGE_S_FIRST,
    HEDGE_S_MAX,
    HEDGE_UPDATE_REPLIES,
    LATENCIES_KEPT,
    HedgeTimes,
)


def noted(floor_s: float, *latencies_s: float) -> HedgeTimes:
    times = HedgeTimes(floor_s)
    for latency_s in latencies_s:
        times.note(latency_s)
    return times


def test_it_stays_at_its_first_value_until_enough_replies_have_come() -> None:
    assert noted(0.05, *[0.01] * (HEDGE_UPDATE_REPLIES - 1)).hedge_s == HEDGE_S_FIRST
    assert noted(0.001, *[0.01] * HEDGE_UPDATE_REPLIES).hedge_s == pytest.approx(HEDGE_FACTOR * 0.01)


def test_an_early_late_reply_raises_it_above_its_latency() -> None:
    assert noted(0.05, 3.0).hedge_s == BACK_OFF * 3.0
    assert noted(0.05, 9.0).hedge_s == HEDGE_S_MAX


def test_it_is_never_below_its_floor_or_above_its_bound() -> None:
    assert noted(0.05, *[0.001] * HEDGE_UPDATE_REPLIES).hedge_s == 0.05
    assert noted(0.05, *[5.0] * HEDGE_UPDATE_REPLIES).hedge_s == HEDGE_S_MAX


def test_a_copy_that_waits_for_hours_has_the_longest_delay() -> None:
    times = noted(0.05, *[0.001] * HEDGE_UPDATE_REPLIES)
    assert [times.delay_s(attempt) for attempt in (1, 2, 3)] == [0.05, 0.1, 0.2]
    assert times.delay_s(DOUBLINGS_MAX + 10_000) == HEDGE_S_MAX


def test_one_slow_reply_in_twenty_does_not_count_but_two_do() -> None:
    quick = [0.01] * 100
    assert noted(0.001, *quick, *([*[0.01] * 30, 0.03] * 2)).hedge_s == pytest.approx(HEDGE_FACTOR * 0.01)
    assert noted(0.001, *[0.01, 0.03] * HEDGE_UPDATE_REPLIES).hedge_s == pytest.approx(HEDGE_FACTOR * 0.03)


def test_old_latencies_are_forgotten() -> None:
    assert noted(0.001, *[1.0] * LATENCIES_KEPT, *[0.01] * LATENCIES_KEPT).hedge_s == pytest.approx(0.04)


def test_the_delay_doubles_with_each_attempt_up_to_the_bound() -> None:
    times = HedgeTimes(0.05)
    assert [times.delay_s(attempt) for attempt in (1, 2, 3, 4)] == [2.0, 4.0, 8.0, HEDGE_S_MAX]
