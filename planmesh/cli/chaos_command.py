"""`planmesh chaos`."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planmesh.cli.options import Json
from planmesh.cli.output import error_console, escape_markup, out_console, print_json, print_table

if TYPE_CHECKING:
    from planmesh.chaos.judge import Verdict
    from planmesh.chaos.runner import RunOptions
    from planmesh.chaos.scenario import Scenario


def chaos(
    scenario: Annotated[
        list[str] | None,
        typer.Option("--scenario", metavar="NAME", help="Run this scenario; repeatable.  [default: all]"),
    ] = None,
    show_list: Annotated[bool, typer.Option("--list", help="List the scenarios and run none.")] = False,
    nodes: Annotated[int, typer.Option(min=100, max=200_000, metavar="N", help="Size of the graph.")] = 5_000,
    callers: Annotated[
        int,
        typer.Option(
            min=1, max=256, metavar="N", help="Concurrent callers; each waits for its answer before its next query."
        ),
    ] = 8,
    seed: Annotated[int, typer.Option(min=0, metavar="S", help="The same seed draws the same graph and pairs.")] = 1,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", dir_okay=False, help="Write the table into this Markdown page; its other rows stay."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Inject faults into a mesh under load, check every answer, and judge the effect on callers.

    The command starts its own mesh in a temporary folder and touches no other. A scenario takes ten to forty seconds.
    Exits with 1 if one fails: a wrong plan, too many failures, slow recovery, or work left over.

    Examples: planmesh chaos --list; planmesh chaos --scenario kill-worker --scenario cut-redis; planmesh chaos
    --report docs/operations/reliability.md
    """
    from planmesh.chaos.catalogue import SCENARIOS
    from planmesh.chaos.report import write_report
    from planmesh.chaos.runner import RunOptions

    chosen = _choose(SCENARIOS, scenario)
    if show_list:
        _print_list(chosen, as_json=as_json)
        return
    options = RunOptions(nodes=nodes, callers=callers, seed=seed)
    order = [one.name for one in SCENARIOS]

    def keep(verdicts: list[tuple[Verdict, Scenario]]) -> None:
        """Write the results so far, so that an interrupted run keeps them."""
        if report is not None:
            write_report(report, verdicts, order, options, _machine())

    keep([])  # reports an unusable page before the first fault
    verdicts = asyncio.run(_run(chosen, options, keep, as_json=as_json))
    if not as_json:
        _print_verdicts(verdicts)
    if any(verdict.problems for verdict, _ in verdicts):
        raise typer.Exit(1)


def _choose(scenarios: tuple[Scenario, ...], names: list[str] | None) -> list[Scenario]:
    known = {one.name: one for one in scenarios}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise typer.BadParameter(
            f"expected one of {', '.join(known)}, got {', '.join(unknown)}", param_hint="--scenario"
        )
    return [known[name] for name in dict.fromkeys(names or known)]


def _print_list(scenarios: list[Scenario], *, as_json: bool) -> None:
    from planmesh.chaos.report import felt_text, scenario_object

    if as_json:
        print_json({"scenarios": [scenario_object(one) for one in scenarios]})
        return
    print_table(
        [("scenario", False), ("fault", False), ("may be felt", False), ("", False)],
        [(one.name, one.about, felt_text(one), one.fault().unfit()) for one in scenarios],
    )


async def _run(
    scenarios: list[Scenario],
    options: RunOptions,
    keep: Callable[[list[tuple[Verdict, Scenario]]], None],
    *,
    as_json: bool,
) -> list[tuple[Verdict, Scenario]]:
    """Run the scenarios, and print each result on standard error; with `as_json` also as an object on standard output.

    Calls `keep` with all verdicts so far after each scenario.
    """
    from planmesh.chaos.report import recovery_text, result_text, seen_text, verdict_object
    from planmesh.chaos.runner import run

    console = error_console()
    by_name = {one.name: one for one in scenarios}
    verdicts: list[tuple[Verdict, Scenario]] = []
    console.print(f"seed {options.seed}: a private mesh, {options.nodes:,} nodes, {options.callers} callers")
    with console.status("starting") as shown:

        def announce(name: str, what: str) -> None:
            done = f"{len(verdicts)}/{len(scenarios)}"
            shown.update(escape_markup(f"{done} {name}: {what}" if name else f"{done} {what}"))

        async for verdict in run(scenarios, options, announce):
            one = by_name[verdict.scenario]
            verdicts.append((verdict, one))
            keep(verdicts)
            if as_json:
                print_json(verdict_object(verdict, one))
            colour = {"passed": "green", "failed": "bold red", "skipped": "yellow"}[result_text(verdict)]
            seen = escape_markup(seen_text(verdict))
            console.print(
                f"[{colour}]{result_text(verdict)}[/] [bold]{verdict.scenario}[/]: {seen}, "
                f"recovery {recovery_text(verdict)}"
            )
            for line in verdict.notes:
                console.print(f"  {escape_markup(line)}", style="dim")
            for line in verdict.problems:
                console.print(f"  [red]{escape_markup(line)}[/]")
    return verdicts


def _print_verdicts(verdicts: list[tuple[Verdict, Scenario]]) -> None:
    from planmesh.chaos.report import felt_text, recovery_text, result_text, seen_text

    print_table(
        [("scenario", False), ("may be felt", False), ("what was seen", False), ("recovery", True), ("", False)],
        [
            (one.name, felt_text(one), seen_text(verdict), recovery_text(verdict), result_text(verdict))
            for verdict, one in verdicts
        ],
    )
    failed = sum(bool(verdict.problems) for verdict, _ in verdicts)
    skipped = sum(bool(verdict.skipped) for verdict, _ in verdicts)
    out_console().print(f"{len(verdicts) - failed - skipped} passed, {failed} failed, {skipped} skipped")


def _machine() -> str:
    return f"{os.cpu_count()} processors ({platform.machine()}), Python {platform.python_version()}"
