"""`planmesh size`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from planmesh.cli.advise_command import print_numbers, print_rows
from planmesh.cli.options import Json
from planmesh.cli.output import escape_markup, out_console, print_json

if TYPE_CHECKING:
    from planmesh.advise import Capacity


def size(
    nodes: Annotated[int, typer.Option(min=1, metavar="N", help="Nodes of the graph.")],
    qps: Annotated[float, typer.Option(min=0.001, metavar="Q", help="Plans per second at peak load.")],
    latency_ms: Annotated[
        float | None,
        typer.Option(min=0.001, metavar="P95", help="Maximum 95th percentile of plans, in ms.", show_default="any"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compute the processes, memory, processors and disk that a mesh needs; needs no mesh.

    Each number comes with the table rows that it was computed from, and each row with its source. The command prints
    its assumptions too; `planmesh advise` computes the cost of machines.

    Examples:
    planmesh size --nodes 1000000 --qps 500

    planmesh size --nodes 10000000 --qps 50000 --latency-ms 40

    planmesh size --nodes 1000000000 --qps 1000 --json
    """
    from planmesh.advise import Demand, read_figures
    from planmesh.advise import size as compute

    capacity = compute(read_figures(), Demand(nodes, qps, latency_ms))
    if as_json:
        print_json(capacity.to_json())
    else:
        _print(capacity)


def _print(capacity: Capacity) -> None:
    console = out_console()
    counts = ", ".join(_count(name, capacity.value(name)) for name in ("gateways", "coordinators", "workers"))
    demand = capacity.demand
    console.print(
        f"[bold green]needed[/] for {demand.nodes:,} nodes and {demand.qps:,g} plans/s: {counts}, "
        f"{_amount(capacity, 'cores')} cores, {_amount(capacity, 'memory')} GiB of memory, "
        f"{_amount(capacity, 'disk')} GiB of disk"
    )
    for limit in capacity.limits:
        console.print(f"[bold red]beyond a bound[/]: {escape_markup(limit)}")
    print_numbers(capacity.numbers)
    console.print("\nassumed:")
    for text in capacity.to_json()["assumptions"]:
        console.print(f"- {escape_markup(text)}")
    console.print()
    print_rows(capacity.rows)


def _count(name: str, count: float) -> str:
    return f"{count:,.0f} {name if count != 1 else name.removesuffix('s')}"


def _amount(capacity: Capacity, name: str) -> str:
    value = capacity.value(name)
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
