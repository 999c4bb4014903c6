"""Checks many random graphs, and keeps what it finds: `python -m tests.exactness --graphs 100000`.

Every graph follows from the seed and its number, so a run that was stopped goes on where it was: `--state` names the
file that remembers. A wrong answer ends the run with exit code 1, and its graph, made as small as it can be, is written
to tests/exactness/counterexamples, where `make test` checks it from then on. A run in which a bound was never reached
fails too: it would have shown nothing about that bound.
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
"""Graphs between two lines where there is no terminal to draw a bar on."""

CHUNK: Final = 50
"""Graphs that a process checks between two reports."""


def keep_counterexample(seed: str, problem: str) -> Path:
    """Make the case of a seed small, and write it where the tests find it."""
    case = draw(seed)
    if fails(case):
        case = shrink(case)
    COUNTEREXAMPLES.mkdir(exist_ok=True)
    path = COUNTEREXAMPLES / f"{seed.replace(':', '-')}.txt"
    path.write_text(to_text(case, f"Found by make test-exact: {problem}"))
    return path


def chunks(seed: str, begin: int, end: int) -> Iterator[list[str]]:
    """The seeds of graphs `begin` to `end`, some at a time."""
    for first in range(begin, end, CHUNK):
        yield [f"{seed}:{number}" for number in range(first, min(first + CHUNK, end))]


def main() -> int:
    """Run; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.exactness", description=__doc__)
    parser.add_argument("--graphs", type=int, default=100_000, help="how many graphs in all (default: %(default)s)")
    parser.add_argument(
        "--seed", default="exact", help="any word; another one draws other graphs (default: %(default)s)"
    )
    parser.add_argument("--state", type=Path, default=Path("build/test-exact.json"), help="where progress is kept")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--fresh", action="store_true", help="begin again at graph 0")
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
    sys.stdout.write(f"{done} graphs of seed {given.seed!r}: every plan exact\n")
    never = [name for name in BOUND_NAMES if not reached[name]]
    if never:
        sys.stdout.write(f"never reached, so nothing is shown about them: {', '.join(never)}\n")
    return 1 if never else 0


def _checked(
    pool: Executor, seed: str, begin: int, end: int
) -> Iterator[tuple[list[str], tuple[Counter[str], str, str]]]:
    """Chunks of seeds with their results, in order."""
    return zip(chunks(seed, begin, end), pool.map(check_seeds, chunks(seed, begin, end)), strict=True)


if __name__ == "__main__":
    sys.exit(main())
