from __future__ import annotations

import time
from typing import Any, cast

import pytest

from planmesh.errors import DeadlineExceeded
from planmesh.rpc.deadline import Deadline


class Context:
    """The part of a call's context that a deadline reads."""

    def __init__(self, remaining_s: float | None) -> None:
        self.remaining_s = remaining_s

    def time_remaining(self) -> float | None:
        return self.remaining_s


@pytest.mark.parametrize(("remaining_s", "expected_s"), [(None, 10.0), (5.0, 5.0), (500.0, 60.0), (0.0, 0.0)])
def test_from_context_takes_the_callers_time_within_bounds(remaining_s: float | None, expected_s: float) -> None:
    before_s = time.monotonic()
    deadline = Deadline.from_context(cast(Any, Context(remaining_s)), default_s=10, max_s=60)
    assert before_s + expected_s <= deadline.at_s <= time.monotonic() + expected_s


def test_a_passed_deadline_raises() -> None:
    assert Deadline.after(-1).passed
    assert Deadline.after(-1).remaining_s() == 0
    with pytest.raises(DeadlineExceeded, match="the plan"):
        Deadline.after(0).raise_if_passed("the plan")
    Deadline.after(60).raise_if_passed()


def test_a_margin_is_earlier() -> None:
    assert Deadline(100.0).with_margin(0.5).at_s == 99.5
