from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from planmesh.ttl_rule import WINDOW, TtlRule


def ask(rule: TtlRule, hits: int, windows: int = 1) -> None:
    for _ in range(windows):
        for number in range(WINDOW):
            rule.note(hit=number < hits)


def test_a_low_rate_raises_it_step_by_step_up_to_the_bound_and_says_so() -> None:
    rule = TtlRule("answers", 300, 1_000)
    with capture_logs() as lines:
        ask(rule, 699)
        assert rule.ttl_s == 600
        ask(rule, 699, windows=5)
    assert rule.ttl_s == 1_000
    assert [(line["before_s"], line["ttl_s"], line["hit_rate"]) for line in lines] == [
        (300, 600, 0.699),
        (600, 1_000, 0.699),
    ]
    assert {line["cache"] for line in lines} == {"answers"}


def test_a_good_rate_and_half_a_window_change_nothing() -> None:
    rule = TtlRule("answers", 300, 1_000)
    ask(rule, 700, windows=3)
    for _ in range(WINDOW - 1):
        rule.note(hit=False)
    assert rule.ttl_s == 300


@pytest.mark.parametrize(("ttl_s", "ttl_s_max"), [(300, 0), (300, 300), (300, 200), (0, 1_000)])
def test_switched_off(ttl_s: float, ttl_s_max: float) -> None:
    rule = TtlRule("answers", ttl_s, ttl_s_max)
    ask(rule, 0, windows=3)
    assert rule.ttl_s == ttl_s
