"""Judges a scenario from what callers saw and when. Needs no mesh, clock or network."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from planmesh.chaos.scenario import Scenario
from planmesh.measure.check import Mismatch
from planmesh.measure.statistics import Percentiles, share
from planmesh.measure.traffic import Seen

BIN_S: Final = 0.5
"""Width of the slices in which steadiness is judged, and so the resolution of recovery times."""

QUORUM: Final = 0.2
"""Share of the answers per second before the fault. A slice below it counts as an outage, one above it as only slow."""

WRONG_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Timeline:
    """Times of a run's stages, in seconds of the monotonic clock."""

    steady_s: float
    """Start of the observed steady state. Callers connect before that."""
    injected_s: float
    healed_s: float
    ended_s: float


@dataclass(slots=True)
class Verdict:
    """The result of one scenario."""

    scenario: str
    problems: list[str] = field(default_factory=list)
    """Why the scenario failed; empty when it passed."""
    skipped: str = ""
    """Why the scenario was not run."""
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
        """Whether the scenario ran without a problem."""
        return not self.problems and not self.skipped

    @property
    def failed_share(self) -> float:
        """Share of the calls in the recovery window that failed."""
        return share(self.failed_in_window, self.calls_in_window)


def judge(
    scenario: Scenario, seen: Seen, mismatches: list[Mismatch], timeline: Timeline, problems: list[str]
) -> Verdict:
    """Judge one run. `problems` lists those already found by the fault, or in the mesh afterwards."""
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
        found.append(f"no call ended later than {bounds.recovery_s_max:g} s after the fault, so recovery is unknown")
    if verdict.recovery_s > bounds.recovery_s_max:
        found.append(
            f"expected steady answers within {bounds.recovery_s_max:g} s of the fault, got them "
            f"{_seconds(verdict.recovery_s)}"
        )
    unclear = {status: count for status, count in verdict.statuses.items() if status not in bounds.statuses}
    if unclear:
        found.append(
            f"calls failed with {_counts(unclear)}, expected {' or '.join(sorted(bounds.statuses))}: {_reasons(seen)}"
        )
    return verdict


def recovery_s(seen: Seen, timeline: Timeline, plans_per_s: float, failed_share_max: float) -> float:
    """Return the seconds from the fault to the end of the last unsteady slice: 0 when all were steady.

    Infinite when the run ended with an unsteady slice.
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
    """Return for how many seconds, up to the end of the run so far, all slices have been steady."""
    recovered_s = recovery_s(seen, timeline, plans_per_s, failed_share_max)
    if math.isinf(recovered_s):
        return 0.0
    return timeline.ended_s - max(timeline.healed_s, timeline.injected_s + recovered_s)


def _histograms(seen: Seen, begin_s: float, slices: int) -> tuple[list[int], list[int]]:
    """Count the calls and the failures that ended in each slice."""
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
    most_frequent = sorted(seen.reasons().items(), key=lambda item: -item[1])[:most]
    return "; ".join(f"{count} x {reason}" for reason, count in most_frequent)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def _seconds(seconds: float) -> str:
    return "never" if math.isinf(seconds) else f"after {seconds:.1f} s"
