"""`make test-live`: runs histories of concurrent updates and plans under faults, and checks them."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Final

from tests.live.checker import Report, check
from tests.live.history import read_history
from tests.live.run import LONG, Size, run

SHOWN_MAX: Final = 20
"""Findings of a history that are printed."""


def show(name: str, report: Report) -> None:
    """Print the outcomes and the findings of a history."""
    print(f"{name}: {report.versions:,} versions, {len(report.findings)} faults")
    print("   ", ", ".join(f"{count} {outcome}" for outcome, count in sorted(report.outcomes.items())), flush=True)
    for finding in report.findings[:SHOWN_MAX]:
        print(finding)


def main() -> int:
    """Run and check the histories, and return the exit code: 1 after a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.live", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="how many runs (default: %(default)s)")
    parser.add_argument("--first", type=int, default=1, help="the first seed (default: %(default)s)")
    parser.add_argument("--calls", type=int, default=LONG.calls, help="calls of a run (default: %(default)s)")
    parser.add_argument("--faults", type=int, default=LONG.faults, help="faults of a run (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=LONG.workers, help="workers (default: %(default)s)")
    parser.add_argument("--coordinators", type=int, choices=(1, 2), default=LONG.coordinators, help="(default: 2)")
    parser.add_argument("--histories", type=Path, default=Path("build/live"), help="folder (default: %(default)s)")
    parser.add_argument("--check", type=Path, help="run nothing, check this history")
    given = parser.parse_args()
    if given.check is not None:
        report = check(read_history(given.check))
        show(str(given.check), report)
        return int(bool(report.findings))
    given.histories.mkdir(parents=True, exist_ok=True)
    faulty = []
    for seed in range(given.first, given.first + given.seeds):
        path = given.histories / f"seed-{seed}.jsonl"
        with tempfile.TemporaryDirectory(prefix="planmesh-live-") as data:
            run(seed, Size(given.calls, given.faults, given.workers, given.coordinators), Path(data), path)
        report = check(read_history(path))
        show(str(path), report)
        if report.findings:
            faulty.append(str(path))
    print(f"{given.seeds} histories, {len(faulty)} with faults" + "".join(f"\n  {path}" for path in faulty))
    return int(bool(faulty))


if __name__ == "__main__":
    raise SystemExit(main())
