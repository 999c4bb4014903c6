"""Checks many random graphs and keeps counterexamples: `python -m tests.exactness --graphs 100000`.

The seed and its number determine each graph, so a run that was stopped can continue; `--state` names the file with its
progress. A wrong answer ends the run with exit code 1. Its graph, reduced as far as possible, is written to
tests/exactness/counterexamples, and `make test` checks it from then on. A run in which a bound was never reached fails
too, because it shows nothing about that bound.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.exactness.cases import BOUND_NAMES, check_seeds, draw
from tests.exactness.counterexample import fails, shrink, to_text

COUNTEREXAMPLES: Final = Path(__file__).parent / "counterexamples"
REPORT_EVERY: Final = 1_000
"""Graphs between two lines of progress, if there is no terminal for a progress bar."""

CHUNK: Final = 50
"""Graphs that a process checks between two reports."""


def keep_counterexample(seed: str, problem: str) -> Path:
    """Reduce the case of a seed, write it to COUNTEREXAMPLES, and return its path."""
    case = draw(seed)
    if fails(case):
        case = shrink(case)
    COUNTEREXAMPLES.mkdir(exist_ok=True)
    path = COUNTEREXAMPLES / f"{seed.replace(':', '-')}.txt"
    path.write_text(to_text(case, f"Found by make test-exact: {problem}"))
    return path


def chunks(seed: str, begin: int, end: int) -> Iterator[list[str]]:
    """Yield the seeds of graphs `begin` to `end` - 1, CHUNK at a time."""
    for first in range(begin, end, CHUNK):
        yield [f"{seed}:{number}" for number in range(first, min(first + CHUNK, end))]


def main() -> int:
    """Check the graphs and return the exit code: 1 after a wrong answer, or if a bound was never reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.exactness", description=__doc__)
    parser.add_argument("--graphs", type=int, default=100_000, help="how many graphs in all (default: %(default)s)")
    parser.add_argument(
        "--seed", default="exact", help="any word; a different one draws different graphs (default: %(default)s)"
    )
    parser.add_argument(
        "--state",
        type=Path,
        default=Path("build/test-exact.json"),
        help="file with the progress (default: %(default)s)",
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--fresh", action="store_true", help="start again at graph 0")
    given = parser.parse_args()
    state = {"seed": given.seed, "done": 0, "reached": {}}
    if given.state.exists() and not given.fresh:
        before = json.loads(given.state.read_text())
        state = before if before["seed"] == given.seed else state
    reached = Counter(state["reached"])
    done = int(state["done"])
    console = Console(stderr=True)
    console.print(f"seed {given.seed!r}: graphs {done} to {given.graphs}, {given.processes} processes")
    columns = TextColumn("checked"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as progress, ProcessPoolExecutor(given.processes) as pool:
        task = progress.add_task("checked", total=given.graphs, completed=done)
        for seeds, (counts, wrong, problem) in _checked(pool, given.seed, done, given.graphs):
            reached += counts
            if wrong:
                progress.stop()
                path = keep_counterexample(wrong, problem)
                sys.stdout.write(f"wrong: seed {wrong}: {problem}\nkept as {path}\n")
                return 1
            done += len(seeds)
            progress.update(task, completed=done)
            if not console.is_terminal and done % REPORT_EVERY == 0:
                console.print(f"{done} of {given.graphs}")
            given.state.parent.mkdir(parents=True, exist_ok=True)
            given.state.write_text(json.dumps({"seed": given.seed, "done": done, "reached": reached}))
    for name in BOUND_NAMES:
        sys.stdout.write(f"{name}: reached {reached[name]} times\n")
    sys.stdout.write(f"{done} graphs of seed {given.seed!r}: every plan is exact\n")
    never = [name for name in BOUND_NAMES if not reached[name]]
    if never:
        sys.stdout.write(f"never reached, so the run shows nothing about them: {', '.join(never)}\n")
    return 1 if never else 0


def _checked(
    pool: Executor, seed: str, begin: int, end: int
) -> Iterator[tuple[list[str], tuple[Counter[str], str, str]]]:
    """Yield chunks of seeds with the results of `check_seeds`, in order."""
    return zip(chunks(seed, begin, end), pool.map(check_seeds, chunks(seed, begin, end)), strict=True)


if __name__ == "__main__":
    sys.exit(main())
