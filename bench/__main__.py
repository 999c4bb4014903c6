"""`make bench` and `make bench-full`: run the benchmark, write build/bench/results.json and the report.

python -m bench --size small|full|smoke [--graphs A,B] [--subjects A,B] [--fresh] [--retry] [--report-only] [--publish]

A stopped run resumes where it stopped, unless --fresh.
"""

from __future__ import annotations

import argparse
import datetime
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from bench.graphs import FULL, NEW_YORK, ROOT, SMALL, new_york_file
from bench.machine import describe_machine
from bench.report import write_report
from bench.results import Results, rows_json, write_aside
from bench.run import GraphRun, RunOptions, memory_bound_mb
from bench.subject import SUBJECTS

BUILD: Final = ROOT / "build" / "bench"
PUBLISHED: Final = ROOT / "docs" / "benchmarks"

SMALL_MEMORY_MB_MAX: Final = 6_144.0
"""Memory bound of a subject in a small run, which must leave a laptop usable."""

GRAPHS: Final = {"smoke": ("service-1k", "grid-1k"), "small": SMALL, "full": FULL}


def options_of(size: str) -> RunOptions:
    """Return how much a run of a size measures."""
    if size == "smoke":
        return RunOptions(20, 1.0, 300.0, 120.0, memory_bound_mb(), 40, 50, whole_mesh_graphs=("service-1k",))
    if size == "small":
        return RunOptions(
            *(200, 4.0, 300.0, 180.0, min(SMALL_MEMORY_MB_MAX, memory_bound_mb())),
            throughput_queries=1_000,
            agents=2_000,
            whole_mesh_graphs=("service-100k",),
        )
    return RunOptions(
        *(1_000, 60.0, 900.0, 7_200.0, memory_bound_mb()),
        throughput_queries=5_000,
        agents=10_000,
        whole_mesh_graphs=("service-100k", "service-1m", "service-10m"),
    )


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure planmesh and its peers.")
    parser.add_argument("--size", choices=sorted(GRAPHS), default="small")
    parser.add_argument("--graphs", help="Only these graphs, separated by commas; later runs may add the others.")
    parser.add_argument("--subjects", help="Only these subjects, separated by commas.")
    parser.add_argument("--fresh", action="store_true", help="Discard the results of earlier runs of this size.")
    parser.add_argument("--retry", action="store_true", help="Retry what an earlier run could not measure.")
    parser.add_argument("--report-only", action="store_true", help="Only write the report of the results so far.")
    parser.add_argument("--publish", action="store_true", help="Write the report to docs/benchmarks/ too.")
    parser.add_argument("--build", type=Path, default=BUILD, help="Folder for results and report.")
    asked = parser.parse_args()
    asked.graphs = asked.graphs.split(",") if asked.graphs else list(GRAPHS[asked.size])
    asked.subjects = asked.subjects.split(",") if asked.subjects else [kind.name for kind in SUBJECTS]
    unknown = set(asked.subjects) - {kind.name for kind in SUBJECTS}
    if unknown:
        parser.error(f"unknown subjects: {', '.join(sorted(unknown))}")
    return asked


def stop_on_signal(number: int, _: FrameType | None) -> NoReturn:
    """Exit through the `finally` clauses, which end every process that was started."""
    raise SystemExit(128 + number)


def main() -> int:
    """Run the benchmark. Return 1 if an answer of ours was wrong or nothing was measured."""
    asked = arguments()
    signal.signal(signal.SIGTERM, stop_on_signal)
    signal.signal(signal.SIGHUP, stop_on_signal)
    state = asked.build / f"{asked.size}.json"
    if state.exists() and (asked.report_only or not asked.fresh):
        results = Results.open(state)
    else:
        began = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
        results = Results(asked.size, describe_machine(), began)
    begun_s = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - begun_s:6.0f} s] {text}", flush=True)

    if asked.retry:
        results.not_run.clear()
    if not asked.report_only:
        for name in asked.graphs:
            if name == NEW_YORK and not new_york_file().is_file():
                note = "new-york was not run: its data is missing (PLANMESH_TEST_DATA names the folder)"
                if note not in results.notes:
                    results.notes.append(note)
                say(note)
                continue
            GraphRun(name, options_of(asked.size), results, lambda: results.save(state), say).run(asked.subjects)
    results.save(state)
    write_aside(asked.build / "results.json", rows_json(results.rows))
    written = [write_report(results, asked.build / "report")]
    if asked.publish:
        written.append(write_report(results, PUBLISHED))
        write_aside(PUBLISHED / "results.json", rows_json(results.rows))
    for path in written:
        say(f"report: {path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}")
    wrong = [row for row in results.rows if row.subject.startswith("planmesh") and not row.exact]
    for row in wrong:
        print(f"bench: {row.subject} was wrong on {row.wrong} of {row.checked} pairs of {row.graph}", file=sys.stderr)
    return 1 if wrong or not results.rows else 0


if __name__ == "__main__":
    sys.exit(main())
