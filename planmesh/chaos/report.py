"""The results of a run, as objects for programs and as rows of a Markdown table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from planmesh.chaos.judge import Verdict
from planmesh.chaos.runner import RunOptions
from planmesh.chaos.scenario import Scenario
from planmesh.errors import InvalidRequest

BEGIN: Final = "<!-- chaos: begin -->"
END: Final = "<!-- chaos: end -->"
"""A run writes the table between these two marks."""

COLUMNS: Final = ("scenario", "fault", "steady state", "may be felt", "what was seen", "recovery", "result")


def verdict_object(verdict: Verdict, scenario: Scenario) -> dict[str, Any]:
    """Return the JSON object of docs/reference/cli-json.md. `recovery_s` is null without a recovery."""
    return {
        "scenario": verdict.scenario,
        "passed": verdict.passed,
        "skipped": verdict.skipped or None,
        "problems": verdict.problems,
        "plans": verdict.plans,
        "wrong": verdict.wrong,
        "plans_per_second": round(verdict.plans_per_s, 1),
        "p50_ms": round(verdict.p50_ms, 3),
        "p99_in_window_ms": round(verdict.p99_after_ms, 3),
        "window_s": scenario.bounds.recovery_s_max,
        "calls_in_window": verdict.calls_in_window,
        "failed_in_window": verdict.failed_in_window,
        "calls_outside": verdict.calls_outside,
        "failed_outside": verdict.failed_outside,
        "statuses": verdict.statuses,
        "recovery_s": None if math.isinf(verdict.recovery_s) else verdict.recovery_s,
        "notes": verdict.notes,
        "seed": verdict.seed,
    }


def scenario_object(scenario: Scenario) -> dict[str, Any]:
    """Return a scenario's declaration as the JSON object of docs/reference/cli-json.md."""
    return {
        "scenario": scenario.name,
        "fault": scenario.about,
        "steady": str(scenario.steady),
        "lasts_s": scenario.lasts_s,
        "failed_share_max": scenario.bounds.failed_share_max,
        "recovery_s_max": scenario.bounds.recovery_s_max,
        "statuses": sorted(scenario.bounds.statuses),
        "proxied": scenario.proxied,
        "unfit": scenario.fault().unfit() or None,
    }


def felt_text(scenario: Scenario) -> str:
    """Summarise a scenario's bounds."""
    bounds = scenario.bounds
    if bounds.failed_share_max == 0:
        return f"no failure, steady within {bounds.recovery_s_max:g} s"
    return f"≤ {bounds.failed_share_max:.0%} failed, steady within {bounds.recovery_s_max:g} s"


def seen_text(verdict: Verdict) -> str:
    """Summarise what callers saw."""
    if verdict.skipped:
        return f"not run: {verdict.skipped}"
    wrong = f"{verdict.wrong} wrong" if verdict.wrong else "none wrong"
    failed = ", ".join(f"{count} {status}" for status, count in sorted(verdict.statuses.items()))
    share = f"{verdict.failed_share:.1%} of the window's {verdict.calls_in_window:,} calls" if failed else ""
    return f"{verdict.plans:,} plans, {wrong}; " + (f"{failed} ({share})" if failed else "no failure")


def recovery_text(verdict: Verdict) -> str:
    """Return how long it took until answers were steady again, as text."""
    if verdict.skipped or not verdict.plans:
        return "-"
    if math.isinf(verdict.recovery_s):
        return "never"
    return f"{verdict.recovery_s:.1f} s" if verdict.recovery_s else "at once"


def result_text(verdict: Verdict) -> str:
    """Return "skipped", "passed" or "failed"."""
    return "skipped" if verdict.skipped else "passed" if verdict.passed else "failed"


def row(verdict: Verdict, scenario: Scenario) -> str:
    """Return a line of the Markdown table."""
    cells = (
        f"`{scenario.name}`",
        scenario.about,
        f"{verdict.plans_per_s:.0f} plans/s, {verdict.p50_ms:.0f} ms" if verdict.plans else "-",
        felt_text(scenario),
        seen_text(verdict),
        recovery_text(verdict),
        result_text(verdict),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def write_report(
    path: Path, verdicts: Sequence[tuple[Verdict, Scenario]], order: Sequence[str], options: RunOptions, machine: str
) -> None:
    """Write the table between the marks of a page; create the page if it does not exist.

    Keeps the rows of scenarios that were not run. Raises InvalidRequest when the page lacks the marks.
    """
    text = path.read_text() if path.exists() else f"# Faults\n\n{BEGIN}\n{END}\n"
    before, begin, rest = text.partition(BEGIN)
    between, end, after = rest.partition(END)
    if not begin or not end:
        raise InvalidRequest(f"{path}: expected the lines {BEGIN} and {END}, to write the table between them")
    rows = {_name_of(line): line for line in between.splitlines() if line.startswith("| `")}
    rows |= {scenario.name: row(verdict, scenario) for verdict, scenario in verdicts}
    ordered = [rows[name] for name in order if name in rows]
    mesh = f"a graph of {options.nodes:,} nodes, {options.workers} workers on {options.shards} shards"
    about = (
        f"Written by `planmesh chaos --report`: {machine}; {mesh}, "
        f"{options.callers} callers without a pause, every answer checked; seed {options.seed}."
    )
    table = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS), *ordered]
    path.write_text(before + BEGIN + "\n\n" + about + "\n\n" + "\n".join(table) + "\n\n" + END + after)


def _name_of(line: str) -> str:
    return line.split("`")[1]
