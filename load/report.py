"""The figures that Locust has no columns for, as text, as CSV, and as a table in Locust's HTML report."""

from __future__ import annotations

import csv
import html
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from load.tally import Row, Tally
from planmesh.measure.statistics import per_second

PLAN_NAMES: Final = frozenset({"Plan hot", "Plan cold"})
"""The calls that request a single plan."""

COLUMNS: Final = (
    "Name",
    "Calls",
    "Failures",
    "Refused",
    "Plans",
    "Cached share",
    "Cross-partition share",
    "No path",
    "p50 ms",
    "p95 ms",
    "p99 ms",
)

REPORT_ROOT: Final = '<div id="root">'
"""Where Locust's report begins; the table goes before it."""

STYLE: Final = "border-collapse:collapse;font-family:sans-serif;margin:1em"
CELL: Final = "border:1px solid #999;padding:.3em .6em;text-align:right"


def table(tally: Tally) -> Iterator[tuple[str, ...]]:
    """Yield the rows under COLUMNS: one for each name, one for plans of both kinds, one for all calls."""
    for name in sorted(tally.rows):
        yield _cells(name, tally.rows[name])
    yield _cells("Plan hot and cold", tally.total(PLAN_NAMES))
    yield _cells("All", tally.total())


def _cells(name: str, row: Row) -> tuple[str, ...]:
    shares = (f"{row.cached_share:.4f}", f"{row.crossed_share:.4f}") if row.plans else ("", "")
    latencies = (f"{row.percentile_ms(percent):.2f}" if row.buckets else "" for percent in (50, 95, 99))
    counts = (str(row.calls), str(row.failures), str(row.refused), str(row.plans))
    return (name, *counts, *shares, str(row.no_path), *latencies)


def summary(tally: Tally) -> str:
    """Return the figures of the run as a few lines for a terminal."""
    plans, everything = tally.total(PLAN_NAMES), tally.total()
    seconds = tally.seconds
    latencies = ", ".join(f"p{percent} {plans.percentile_ms(percent):.2f} ms" for percent in (50, 95, 99))
    lines = [
        f"plans          {everything.plans:,} in {seconds:.1f} s, {per_second(everything.plans, seconds):,.1f} a second"
        f" ({everything.calls:,} calls, {per_second(everything.calls, seconds):,.1f} a second)",
        f"one plan       {latencies}",
    ]
    for name in sorted(tally.rows):
        row = tally.rows[name]
        latencies = ", ".join(f"p{percent} {row.percentile_ms(percent):.2f} ms" for percent in (50, 95, 99))
        lines.append(f"  {name:<12} {latencies} ({row.buckets.total():,} answered)")
    lines += [
        f"cache hits     {everything.cached_share:.1%} of plans",
        f"crossed        {everything.crossed_share:.1%} of plans went through more than one partition",
        f"no path        {everything.no_path:,}",
        f"refused        {everything.refused:,} with a retry hint, and backed off",
        f"failures       {everything.failures:,}",
    ]
    lines += [
        f"  {count:>6,} {status}: {tally.examples.get(status, '')}" for status, count in tally.statuses.most_common()
    ]
    return "\n".join(lines)


def write_csv(tally: Tally, path: Path) -> None:
    """Write the table to PATH, and the statuses to PATH with `_statuses` before the suffix."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *table(tally)])
    with path.with_stem(f"{path.stem}_statuses").open("w", encoding="utf-8", newline="") as file:
        rows = [(status, str(count), tally.examples.get(status, "")) for status, count in tally.statuses.most_common()]
        csv.writer(file).writerows([("Status", "Count", "Example"), *rows])


def add_to_html(tally: Tally, path: Path) -> None:
    """Insert the table and the summary at the top of Locust's HTML report.

    Raises ValueError if the file is not such a report.
    """
    page = path.read_text(encoding="utf-8")
    if REPORT_ROOT not in page:
        raise ValueError(f"{path}: expected a report of Locust, which contains {REPORT_ROOT}")
    rows = [
        "<tr>" + "".join(f'<{tag} style="{CELL}">{html.escape(cell)}</{tag}>' for cell in cells) + "</tr>"
        for tag, cells in [("th", COLUMNS), *(("td", cells) for cells in table(tally))]
    ]
    section = (
        f'<section id="planmesh"><table style="{STYLE}">{"".join(rows)}</table>'
        f'<pre style="margin:1em">{html.escape(summary(tally))}</pre></section>'
    )
    path.write_text(page.replace(REPORT_ROOT, section + REPORT_ROOT, 1), encoding="utf-8")
