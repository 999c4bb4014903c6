"""`planmesh advise`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from planmesh.cli.options import Json
from planmesh.cli.output import escape_markup, out_console, print_json, print_table

if TYPE_CHECKING:
    from planmesh.advise import Advice
    from planmesh.advise.advice import Option
    from planmesh.advise.figures import Row
    from planmesh.advise.sizing import Number

COLUMNS = (("store", False), ("its machines", False), ("machines of the mesh", False), ("USD a month", True))


def advise(
    nodes: Annotated[int, typer.Option(min=1, metavar="N", help="Nodes of the graph.")],
    qps: Annotated[float, typer.Option(min=0.001, metavar="Q", help="Plans per second at peak load.")],
    patterns: Annotated[bool, typer.Option("--patterns", help="Only stores that support pattern queries.")] = False,
    cloud: Annotated[
        str, typer.Option(metavar="NAME", help="Cloud whose machines and prices to use: aws or gcp.")
    ] = "aws",
    budget: Annotated[
        float | None, typer.Option(min=0.01, metavar="USD", help="Maximum cost per month.", show_default="none")
    ] = None,
    as_json: Json = False,
) -> None:
    """Recommend a store, the number of workers and machines, with the monthly cost; needs no mesh.

    Each number comes with the table rows that it was computed from, and each row with its source. Exits with 1 if the
    budget is too small.

    Example: planmesh advise --nodes 10000000 --qps 50000
    """
    from planmesh.advise import advise as compute
    from planmesh.advise import read_figures
    from planmesh.advise.advice import Question

    advice = compute(read_figures(), Question(nodes, qps, patterns, cloud, budget))
    if as_json:
        print_json(advice.to_json())
    else:
        _print(advice)
    if advice.within_budget is False:
        raise typer.Exit(1)


def _print(advice: Advice) -> None:
    console, best = out_console(), advice.best
    console.print(
        f"[bold green]advised[/]: the store {best.store}, {_machines(best, of_mesh=True)} for the mesh, "
        f"{best.monthly_usd:,.0f} USD per month on {advice.question.cloud}"
    )
    if advice.within_budget is False:
        pays = (
            f"it pays for {advice.qps_within_budget:,.4g} plans/s"
            if advice.qps_within_budget
            else "not even for the idle graph"
        )
        console.print(f"[bold red]not within the budget[/] of {advice.question.budget_usd:,.0f} USD per month: {pays}")
    print_numbers(advice.numbers)
    console.print()
    print_table(COLUMNS, [_option(option) for option in advice.options])
    console.print("\nassumed:")
    for text in advice.to_json()["assumptions"]:
        console.print(f"- {escape_markup(text)}")
    console.print()
    print_rows(advice.rows)


def print_numbers(numbers: Sequence[Number]) -> None:
    """Print a table of numbers, each with the rows it was computed from."""
    print_table(
        [("what", False), ("value", True), ("unit", False), ("kind", False), ("rows", False), ("how", False)],
        [
            (number.name, f"{number.value:,.4g}", number.unit, number.kind, ", ".join(number.rows), number.how)
            for number in numbers
        ],
    )


def print_rows(rows: Mapping[str, Row]) -> None:
    """Print a table of rows, each with its source."""
    print_table(
        [("row", False), ("value", True), ("unit", False), ("kind", False), ("from", False)],
        [(name, f"{row.value:g}", row.unit, row.kind, _origin(row)) for name, row in rows.items()],
    )


def _option(option: Option) -> tuple[str, str, str, str]:
    if option.store_machines is None:
        return (option.store, "fits no machine of the table", _machines(option, of_mesh=True), "-")
    return (
        option.store,
        _machines(option, of_mesh=False),
        _machines(option, of_mesh=True),
        f"{option.monthly_usd:,.0f}",
    )


def _machines(option: Option, *, of_mesh: bool) -> str:
    machines = option.mesh_machines if of_mesh else option.store_machines
    return f"{machines.count:,} x {machines.instance.name}" if machines is not None and machines.count else "none"


def _origin(row: Row) -> str:
    where = ", ".join(f"{name} {value}" for name, value in row.where.items())
    return "; ".join(text for text in (row.source, where, row.date, row.note) if text)
