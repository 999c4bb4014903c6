"""`planmesh verify`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from planmesh.cli.options import DataOption, GraphName, Json
from planmesh.cli.output import error_console, escape_markup, out_console, print_json, print_table
from planmesh.defaults import GRAPH_DEFAULT

if TYPE_CHECKING:
    from planmesh.snapshot.manifest import Manifest
    from planmesh.verify import Finding, Verification

FINDINGS_SHOWN: Final = 20
"""Findings printed in full; --json lists up to a thousand."""

PAIRS_MAX: Final = 1_000_000
"""Whole plans. On a graph of 10 M nodes, the plain search of one takes seconds."""


def verify(
    graph: GraphName = GRAPH_DEFAULT,
    pairs: Annotated[
        int,
        typer.Option(min=0, max=PAIRS_MAX, metavar="N", help="Whole plans to compare with a plain search; 0: none."),
    ] = 200,
    partition: Annotated[
        str | None,
        typer.Option(metavar="P", help="Only this partition, by its name in `planmesh partitions` or its number."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="S", help="The same seed draws the same pairs.")] = 1,
    data: DataOption = None,
    as_json: Json = False,
) -> None:
    """Verify a graph at rest: files, changes, indexes and overlay, and their meaning; exit with 1 if anything is wrong.

    The command reads only the data folder, so run it where that folder is; the mesh may be up or down. It writes
    nothing. It compares every file with its checksum, every shortcut with its halves, and every edge with the graph's.
    It replays the log of changes over the stored rows, and compares the outcome with the changed state in the catalog.
    A proof then compares distances between all neighbours of every contracted node; plain searches check a sample.

    Example: planmesh verify --graph packages --pairs 1000

    Example: planmesh verify --graph packages --partition 17 --json
    """
    from planmesh.local.options import default_data
    from planmesh.verify import VerifyOptions, find_snapshot
    from planmesh.verify import verify as run

    found = find_snapshot(data or default_data(), graph)
    number = None if partition is None else partition_number(found.manifest, partition)
    with _progress() as advance:
        outcome = run(found, VerifyOptions(pairs, seed, number), advance)
    if as_json:
        print_json(outcome.to_json())
    else:
        _print(outcome)
    if not outcome.ok:
        raise typer.Exit(1)


def partition_number(manifest: Manifest, wanted: str) -> int:
    """Return the number of the partition with this name or, if no partition has it, with this number."""
    for entry in manifest.partitions:
        if entry.name == wanted:
            return entry.number
    count = len(manifest.partitions)
    if wanted.isdecimal() and int(wanted) < count:
        return int(wanted)
    raise typer.BadParameter(
        f"expected the name of a partition, or a number below {count}, got {wanted!r}", param_hint="--partition"
    )


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each check on standard error if that is a terminal."""
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = error_console()
    bars = (TextColumn("{task.description:<12}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*bars, console=console, transient=True, disable=not console.is_terminal) as progress:
        tasks: dict[str, TaskID] = {}

        def advance(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield advance


def _print(outcome: Verification) -> None:
    """Print the verification for people."""
    console = out_console()
    console.print(
        f"graph {escape_markup(outcome.graph)}, version {outcome.version}, in {escape_markup(outcome.snapshot)}"
    )
    print_table(
        [("check", False), ("checked", True), ("what", False), ("findings", True), ("seconds", True)],
        [
            (tally.name, f"{tally.checked:,}", tally.unit, f"{tally.findings:,}", f"{tally.seconds:.2f}")
            for tally in outcome.tallies.values()
        ],
    )
    for finding in outcome.findings[:FINDINGS_SHOWN]:
        console.print(_finding_text(finding))
    if outcome.findings_total > FINDINGS_SHOWN:
        console.print(f"and {outcome.findings_total - FINDINGS_SHOWN:,} more; --json lists up to a thousand")
    for what in outcome.skipped:
        console.print(f"[yellow]skipped[/]: {escape_markup(what)}")
    if outcome.ok:
        console.print("[bold green]nothing is wrong[/]")
        return
    console.print(f"[bold red]{outcome.findings_total:,} findings[/]. Next:")
    for advice in dict.fromkeys(finding.advice for finding in outcome.findings):
        console.print(f"- {escape_markup(advice)}")


def _finding_text(finding: Finding) -> str:
    place = f"{finding.file}, partition {finding.partition}" if finding.partition else finding.file
    times = f" ({finding.count:,} times, the first shown)" if finding.count > 1 else ""
    nodes = f", nodes {' '.join(finding.nodes)}" if finding.nodes else ""
    text = f"{place}: {finding.check}{times}{nodes}: expected {finding.expected}; found {finding.found}"
    return f"[bold red]wrong[/]: {escape_markup(text)}"
