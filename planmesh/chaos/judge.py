"""Was a scenario passed? From what callers saw and when, without a mesh, a clock or a network."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from planmesh.chaos.scenario import Scenario
from planmesh.measure.check import Mismatch
from planmesh.measure.statistics import Percentiles, share
from planmesh.measure.traffic import Seen

BIN_S: Final = 0.5
"""Steadiness is judged in slices of this: recovery times are known no better."""

QUORUM: Final = 0.2
"""Of the answers a second before the fault; a slice with fewer is an outage, with more only slow."""

WRONG_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Timeline:
    """Moments of a run, in seconds of the monotonic clock."""

    steady_s: float
    """From here on the steady state is observed; before, connections are made."""
    injected_s: float
    healed_s: float
    ended_s: float


@dataclass(slots=True)
class Verdict:
    """What came out of one scenario."""

    scenario: str
    problems: list[str] = field(default_factory=list)
    """Why it failed; empty when it passed."""
    skipped: str = ""
    """Why it was not run."""
    plans: int = 0
    wrong: int = 0
    plans_per_s: float = 0.0
    """Before the fault."""
    p50_ms: float = 0.0
    """Before the fault."""
    p99_after_ms: float = 0.0
    """Of plans that ended within the bound of recovery after the fault."""
    calls_in_window: int = 0
    failed_in_window: int = 0
    calls_outside: int = 0
    failed_outside: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    recovery_s: float = 0.0
    notes: list[str] = field(default_factory=list)
    seed: int = 0

    @property
    def passed(self) -> bool:
        """It ran, and nothing was wrong."""
        return not self.problems and not self.skipped

    @property
    def failed_share(self) -> float:
        """Of the calls within the window."""
        return share(self.failed_in_window, self.calls_in_window)


def judge(
    scenario: Scenario, seen: Seen, mismatches: list[Mismatch], timeline: Timeline, problems: list[str]
) -> Verdict:
    """Judge one run. `problems` are those that were found already: by the fault, or in the mesh afterwards."""
    bounds, steady = scenario.bounds, scenario.steady
    window_end_s = timeline.injected_s + bounds.recovery_s_max
    verdict = Verdict(scenario.name, problems=list(problems), statuses=seen.statuses(), wrong=len(mismatches))
    verdict.plans = len(seen.plans) + len(seen.no_path)
    before, failed_before = seen.between(timeline.steady_s, timeline.injected_s)
    answered_before = before - failed_before
    verdict.plans_per_s = answered_before / (timeline.injected_s - timeline.steady_s)
    verdict.p50_ms = _latencies(seen, timeline.steady_s, timeline.injected_s).p50
    verdict.p99_after_ms = _latencies(seen, timeline.injected_s, window_end_s).p99
    verdict.calls_in_window, verdict.failed_in_window = seen.between(timeline.injected_s, window_end_s)
    after, failed_after = seen.between(window_end_s, timeline.ended_s)
    verdict.calls_outside, verdict.failed_outside = before + after, failed_before + failed_after
    verdict.recovery_s = recovery_s(seen, timeline, verdict.plans_per_s, steady.failed_share_max)
    found = verdict.problems
    if verdict.plans_per_s < steady.plans_per_s_min or failed_before > steady.failed_share_max * before:
        found.append(
            f"not steady before the fault: {verdict.plans_per_s:.0f} plans/s, {failed_before} of {before} calls failed"
        )
    if mismatches:
        shown = "; ".join(f"{one.start} → {one.goal}: {one.reason}" for one in mismatches[:WRONG_SHOWN])
        found.append(f"{len(mismatches)} wrong plans: {shown}")
    if verdict.failed_share > bounds.failed_share_max:
        found.append(
            f"{verdict.failed_in_window} of {verdict.calls_in_window} calls failed within {bounds.recovery_s_max:g} s "
            f"of the fault, expected at most {bounds.failed_share_max:.1%}: {_reasons(seen)}"
        )
    if failed_after > steady.failed_share_max * after:
        found.append(f"{failed_after} of {after} calls failed after that: {_reasons(seen)}")
    if not after:
        found.append(f"no call ended later than {bounds.recovery_s_max:g} s after the fault, so nothing is known of it")
    if verdict.recovery_s > bounds.recovery_s_max:
        found.append(
            f"answers were steady {_seconds(verdict.recovery_s)} after the fault, expected within "
            f"{bounds.recovery_s_max:g} s"
        )
    unclear = {status: count for status, count in verdict.statuses.items() if status not in bounds.statuses}
    if unclear:
        found.append(
            f"calls failed with {_counts(unclear)}, expected {' or '.join(sorted(bounds.statuses))}: {_reasons(seen)}"
        )
    return verdict


def recovery_s(seen: Seen, timeline: Timeline, plans_per_s: float, failed_share_max: float) -> float:
    """Seconds from the fault to the end of the last slice that was not steady; 0 when all were.

    Infinite when the last slice was not.
    """
    last = 0.0
    slices = int((timeline.ended_s - timeline.injected_s) / BIN_S)
    calls, failed = _histograms(seen, timeline.injected_s, slices)
    for number in range(slices):
        answered = calls[number] - failed[number]
        if failed[number] > failed_share_max * calls[number] or answered < QUORUM * plans_per_s * BIN_S:
            last = (number + 1) * BIN_S
    return math.inf if slices and last == slices * BIN_S else last


def steady_for_s(seen: Seen, timeline: Timeline, plans_per_s: float, failed_share_max: float) -> float:
    """Seconds at the end of a run, as far as it has come, in which all slices were steady."""
    recovered_s = recovery_s(seen, timeline, plans_per_s, failed_share_max)
    if math.isinf(recovered_s):
        return 0.0
    return timeline.ended_s - max(timeline.healed_s, timeline.injected_s + recovered_s)


def _histograms(seen: Seen, begin_s: float, slices: int) -> tuple[list[int], list[int]]:
    """Calls and failures that ended in each slice."""
    calls, failed = [0] * slices, [0] * slices
    failures = [failure.at_s for failure in list(seen.failures)]
    answers = [plan.at_s for plan in list(seen.plans)] + [at_s for at_s, _ in list(seen.no_path)]
    for moments, counts in ((answers, (calls,)), (failures, (calls, failed))):
        for at_s in moments:
            number = math.floor((at_s - begin_s) / BIN_S)
            if 0 <= number < slices:
                for count in counts:
                    count[number] += 1
    return calls, failed


def _latencies(seen: Seen, begin_s: float, end_s: float) -> Percentiles:
    return Percentiles.of([plan.took_s * 1e3 for plan in seen.plans if begin_s <= plan.at_s < end_s])


def _reasons(seen: Seen, most: int = 3) -> str:
    told = sorted(seen.reasons().items(), key=lambda item: -item[1])[:most]
    return "; ".join(f"{count} x {reason}" for reason, count in told)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def _seconds(seconds: float) -> str:
    return "never" if math.isinf(seconds) else f"{seconds:.1f} s"
