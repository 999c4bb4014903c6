"""`planmesh measure --store URL`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import typer

from planmesh.cli.connection import connect_async
from planmesh.cli.output import error_console, escape_markup, out_console, print_json, print_table

if TYPE_CHECKING:
    from planmesh.measure.store_comparison import StoreMeasurement, StoreMeasureOptions

SHOWN_MAX: Final = 20
"""Wrong and failed answers printed in full per side. The counts include all."""

POINTS: Final = ("p50", "p95", "p99", "max")


def measure_beside_store(url: str, options: StoreMeasureOptions, address: str, *, as_json: bool) -> None:
    """Measure and print. Exit with 1 if an answer was wrong, or anything failed except for the store's time-outs."""
    measurement = asyncio.run(_run(url, options, address))
    if as_json:
        print_json(measurement.to_json())
    else:
        _print(measurement.to_json())
    _print_failures(measurement)
    if not measurement.is_good:
        raise typer.Exit(1)


async def _run(url: str, options: StoreMeasureOptions, address: str) -> StoreMeasurement:
    from planmesh.measure.store_comparison import measure_store
    from planmesh.store.urls import open_store, parse_store_url

    threshold = 0
    if parse_store_url(url).kind == "hybrid":
        from planmesh.store.hybrid import HybridOptions
        from planmesh.store.urls import read_options

        threshold = read_options(parse_store_url(url), HybridOptions).hot_threshold
    console = error_console()
    with console.status("measuring") as shown:

        def progress(what: str, share_done: float) -> None:
            shown.update(f"{what} {share_done:.0%}" if share_done else what)

        store = await open_store(url)
        try:
            async with connect_async(address) as client:
                return await measure_store(client, store, replace(options, hot_threshold=threshold), progress)
        finally:
            await store.close()


def _print(values: dict[str, Any]) -> None:
    rows = []
    for name, side in values["sides"].items():
        errors = ", ".join(f"{count} {reason}" for reason, count in side["errors"].items()) or "0"
        counts = (side["answered"], side["no_path"], side["time_outs"])
        points = (f"{side['latency_ms'][point]:,.2f}" for point in POINTS)
        rows.append((name, *points, *(f"{count:,}" for count in counts), errors, f"{side['mismatches']:,}"))
    if values["hot"] is not None:
        hot = values["hot"]
        for name, key in (("store, hot", "latency_ms"), ("mesh, the same", "mesh_latency_ms")):
            points = (f"{hot[key][point]:,.2f}" for point in POINTS)
            wrong = f"{hot['mismatches']:,}" if key == "latency_ms" else ""
            rows.append((name, *points, f"{hot['answers']:,}", "", "", "", wrong))
    columns = [("", False), *((f"{point} ms", True) for point in POINTS)]
    print_table([*columns, *((name, True) for name in ("answered", "no path", "time-outs", "errors", "wrong"))], rows)
    ratio = values["ratio"]["p50"]
    out_console().print(
        f"{values['asked']:,} of {values['queries']:,} pairs queried in {escape_markup(values['server'])} at "
        f"{escape_markup(values['store'])}; at the median it takes "
        + (f"{ratio:,.3g} times as long as the mesh" if ratio else "no time that could be measured")
        + f"; they disagree on {values['disagreements']:,}"
        + ("; the store's graph changed meanwhile" if values["store_changed"] else "")
    )


def _print_failures(measurement: StoreMeasurement) -> None:
    """Print wrong and failed answers, pair by pair, on standard error."""
    console = error_console()
    for name, side in (("store", measurement.store), ("mesh", measurement.mesh)):
        for mismatch in side.mismatches[:SHOWN_MAX]:
            pair = escape_markup(f"{mismatch.start} → {mismatch.goal}")
            console.print(f"[bold red]{name}, mismatch[/]: {pair}: {escape_markup(mismatch.reason)}")
        for (start, goal), error in side.failures[:SHOWN_MAX]:
            console.print(f"[bold red]{name}, failed[/]: {escape_markup(f'{start} → {goal}: {error.message}')}")
