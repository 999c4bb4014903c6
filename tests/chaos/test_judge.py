"""Verdicts on runs that are written as one character per half second."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from planmesh.chaos.judge import Timeline, Verdict, judge, recovery_s, steady_for_s
from planmesh.chaos.scenario import Bounds, Fault, Scenario
from planmesh.errors import InternalError, PlanmeshError, ServiceUnavailable
from planmesh.measure.check import Claim, Mismatch
from planmesh.measure.traffic import Answered, Failed, Seen

SCENARIO = Scenario("fault", "a fault", Fault, Bounds(failed_share_max=0.5, recovery_s_max=6.0))
TIMELINE = Timeline(steady_s=0.0, injected_s=4.0, healed_s=5.0, ended_s=14.0)
PER_S = 10
AWAY = ServiceUnavailable("away")


def seen_of(answered: str, error: PlanmeshError = AWAY) -> Seen:
    """Build what callers saw in each half second: `+` all answered, `-` all failed, ` ` nothing ended."""
    seen = Seen()
    for number, half in enumerate(answered):
        for call in range(PER_S // 2):
            at_s = number / 2 + call / PER_S
            if half == "+":
                seen.plans.append(Answered(at_s, 0.01, 1, Claim("a", "b", 1.0, ())))
            elif half == "-":
                seen.failures.append(Failed(at_s, ("a", "b"), error))
    return seen


def judged(answered: str, scenario: Scenario = SCENARIO, error: PlanmeshError = AWAY) -> Verdict:
    return judge(scenario, seen_of(answered, error), [], TIMELINE, [])


STEADY = "+" * 28


def with_outage(begin_s: float, seconds: float, mark: str = "-") -> str:
    begin, count = int(begin_s * 2), int(seconds * 2)
    return STEADY[:begin] + mark * count + STEADY[begin + count :]


def test_a_run_that_nobody_felt_passes() -> None:
    verdict = judged(STEADY, replace(SCENARIO, bounds=Bounds(0.0, 6.0)))
    assert verdict.passed, verdict.problems
    assert (verdict.plans, verdict.plans_per_s, verdict.recovery_s) == (140, PER_S, 0.0)
    assert (verdict.calls_in_window, verdict.calls_outside) == (60, 80)


@pytest.mark.parametrize("mark", ["-", " "])
def test_recovery_is_the_time_from_the_fault_until_all_is_steady_again(mark: str) -> None:
    verdict = judged(with_outage(4.0, 2.5, mark))
    assert verdict.passed, verdict.problems
    assert verdict.recovery_s == 2.5
    assert verdict.failed_in_window == (25 if mark == "-" else 0)


@pytest.mark.parametrize(
    ("answered", "problem"),
    [
        (with_outage(1.0, 1.0), "not steady before the fault"),
        ("+       " + STEADY[8:], "not steady before the fault"),
        (with_outage(4.0, 4.0), "of 60 calls failed within 6 s of the fault, expected at most 50.0%"),
        (with_outage(10.5, 1.0), "10 of 40 calls failed after that"),
        (with_outage(4.0, 10.0, " "), "no call ended later than 6 s"),
        (with_outage(4.0, 10.0, " "), "expected steady answers within 6 s of the fault, got them never"),
        (with_outage(9.5, 1.5, " "), "expected steady answers within 6 s of the fault, got them after 7.0 s"),
    ],
)
def test_what_is_beyond_a_bound_fails(answered: str, problem: str) -> None:
    verdict = judged(answered)
    assert not verdict.passed
    assert any(problem in found for found in verdict.problems), verdict.problems


def test_wrong_plans_and_problems_of_the_fault_fail() -> None:
    wrong = [Mismatch("a", "b", "it costs more")]
    verdict = judge(SCENARIO, seen_of(STEADY), wrong, TIMELINE, ["the fault did nothing"])
    assert verdict.problems == ["the fault did nothing", "1 wrong plans: a → b: it costs more"]


def test_a_failure_has_to_say_that_the_request_may_pass_later() -> None:
    verdict = judged(with_outage(4.0, 0.5), error=InternalError("a defect"))
    assert verdict.statuses == {"INTERNAL": 5}
    assert any("5 INTERNAL, expected" in problem and "a defect" in problem for problem in verdict.problems)


def test_steadiness_counts_from_the_healing_and_from_the_last_slice_that_was_not() -> None:
    assert steady_for_s(seen_of(STEADY), TIMELINE, PER_S, 0.01) == 9.0
    assert steady_for_s(seen_of(with_outage(5.0, 2.0)), TIMELINE, PER_S, 0.01) == 7.0
    assert steady_for_s(seen_of(with_outage(12.0, 2.0)), TIMELINE, PER_S, 0.01) == 0.0
    assert math.isinf(recovery_s(seen_of(with_outage(12.0, 2.0)), TIMELINE, PER_S, 0.01))
