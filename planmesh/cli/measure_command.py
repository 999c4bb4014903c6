"""`planmesh measure`."""

from __future__ import annotations

import asyncio
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from planmesh.cli.connection import connect_async
from planmesh.cli.measure_store import measure_beside_store
from planmesh.cli.options import QUERY_TIMEOUT_S_DEFAULT, Address, Detail, DetailOption, GraphName, Json, Timeout
from planmesh.cli.output import error_console, escape_markup, out_console, print_json, print_table
from planmesh.defaults import ADDRESS_DEFAULT, GRAPH_DEFAULT

if TYPE_CHECKING:
    from planmesh.measure.measurement import Measurement, MeasureOptions
    from planmesh.measure.pair_lines import Pair

CONCURRENCY_DEFAULT: Final = 16

MISMATCHES_SHOWN: Final = 20
"""Wrong answers printed in full. The count includes all."""


def measure(
    queries: Annotated[
        int, typer.Option(min=1, max=1_000_000, metavar="N", help="Number of plans; at most the number of --pairs.")
    ] = 1000,
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=4_096,
            metavar="N",
            help="Concurrent callers; each waits for its answer before its next query.",
            show_default="16, with --store 1",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="S", help="The same seed draws the same pairs.")] = 1,
    pairs: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False, help="Use these pairs: START, a tab and GOAL per line."
        ),
    ] = None,
    detail: Detail = DetailOption.STEPS,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Neither read answer caches nor write to them.")] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Compare every answer with plain bidirectional Dijkstra, and its steps with the graph."
        ),
    ] = False,
    store: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Also query this store, which has the mesh's graph; every answer is checked."),
    ] = None,
    store_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.001, max=3_600, help="Time limit of a query to the store.")
    ] = 10.0,
    store_total: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0.001, max=86_400, help="Stop after the store's queries took this long."),
    ] = 300.0,
    graph: GraphName = GRAPH_DEFAULT,
    address: Address = ADDRESS_DEFAULT,
    timeout: Timeout = QUERY_TIMEOUT_S_DEFAULT,
    as_json: Json = False,
) -> None:
    """Measure plans through the gateway, and the floor: empty calls over the same two hops at the same time.

    A few plans warm up connections first and are not counted. Exits with 1 if there were errors or mismatches.
    With --store the same pairs go to that store and to the mesh, in alternating groups of ten.

    Example: planmesh measure --queries 2000 --concurrency 64 --no-cache --check

    Example: planmesh measure --queries 2000 --detail cost --no-cache
    """
    from planmesh.measure.measurement import MeasureOptions

    chosen = _read_pairs_file(pairs, queries) if pairs is not None else None
    if store is not None:
        if detail is not DetailOption.STEPS:
            raise typer.BadParameter("expected steps with --store, whose answers have steps", param_hint="--detail")
        from planmesh.measure.store_comparison import StoreMeasureOptions

        measure_beside_store(
            store,
            StoreMeasureOptions(
                graph=graph,
                queries=queries,
                concurrency=concurrency or 1,
                seed=seed,
                pairs=chosen,
                bypass_cache=no_cache,
                timeout_s=timeout,
                store_timeout_s=store_timeout,
                store_total_s=store_total,
            ),
            address,
            as_json=as_json,
        )
        return
    options = MeasureOptions(
        graph=graph,
        queries=queries,
        concurrency=concurrency or CONCURRENCY_DEFAULT,
        seed=seed,
        pairs=chosen,
        bypass_cache=no_cache,
        check=check,
        timeout_s=timeout,
        detail=detail.value,
    )
    measurement = asyncio.run(_run(options, address))
    if as_json:
        print_json(measurement.to_json())
    else:
        _print_measurement(measurement)
    _print_failures(measurement)
    if measurement.failures or measurement.mismatches:
        raise typer.Exit(1)


async def _run(options: MeasureOptions, address: str) -> Measurement:
    from planmesh.measure.measurement import measure as run_measurement

    console = error_console()
    with console.status("measuring") as shown:

        def progress(what: str, share_done: float) -> None:
            shown.update(f"{what} {share_done:.0%}" if share_done else what)

        async with connect_async(address) as client:
            return await run_measurement(client, options, progress)


def _read_pairs_file(path: Path, count: int) -> list[Pair]:
    """Read at most `count` pairs from a file."""
    from planmesh.measure.pair_lines import read_pairs

    with path.open(encoding="utf-8") as file:
        found = list(islice(read_pairs(file, path.name), count))
    if not found:
        raise typer.BadParameter(f"expected at least one pair in {path}, found none", param_hint="--pairs")
    return found


def _print_measurement(measurement: Measurement) -> None:
    values = measurement.to_json()
    rows = [
        (name, *(f"{values[key][point]:.2f}" for point in ("p50", "p95", "p99", "max")), f"{values[rate]:,.0f}")
        for name, key, rate in (
            ("plans", "latency_ms", "plans_per_second"),
            ("floor", "floor_ms", "floor_per_second"),
        )
    ]
    print_table([("", False), *((f"{name} ms", True) for name in ("p50", "p95", "p99", "max")), ("per s", True)], rows)
    mismatches = "not checked" if measurement.mismatches is None else f"{len(measurement.mismatches)} mismatches"
    errors = ", ".join(f"{count} {code}" for code, count in values["errors"].items()) or "no errors"
    out_console().print(
        f"{values['answered']:,} answered, {values['no_path']:,} without a path, {errors}, {mismatches}; "
        f"{values['cross_partition_share']:.1%} crossed partitions, {values['cache_hit_rate']:.1%} from a cache, "
        f"{values['tasks']:,} tasks for {values['queries']:,} plans"
    )


def _print_failures(measurement: Measurement) -> None:
    """Print wrong and failed answers, pair by pair, on standard error."""
    console = error_console()
    for mismatch in (measurement.mismatches or [])[:MISMATCHES_SHOWN]:
        pair = escape_markup(f"{mismatch.start} → {mismatch.goal}")
        console.print(f"[bold red]mismatch[/]: {pair}: {escape_markup(mismatch.reason)}")
    for (start, goal), error in measurement.failures[:MISMATCHES_SHOWN]:
        console.print(f"[bold red]failed[/]: {escape_markup(f'{start} → {goal}: {error.message}')}")
