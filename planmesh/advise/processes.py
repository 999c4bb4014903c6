"""Processor time that a plan costs each process, and the processes needed for a rate. Pure: figures in, numbers out."""

from __future__ import annotations

import math
from typing import Final

from planmesh.advise.figures import Figures
from planmesh.advise.sizing import Number, NumberKind, grown

PROCESSES: Final = ("envoy", "gateway", "coordinator", "redis", "worker")
LOOPS: Final = ("gateway", "coordinator", "redis", "worker")
"""Processes with a single-threaded loop, which can use one core at most."""

MEASURED: Final = (100_000, 1_000_000)
SIZES: Final = ("100k", "1m")
"""Sizes of the graphs that the processes were measured with, and the suffixes of the rows for these sizes."""


BUSY_PLANS: Final = 8
"""Plans in progress at one coordinator when the rows with `busy` were measured."""

BUSY_RATE: Final = "process.busy_qps.100k"
"""The row with the rate of these plans."""


def rows_of(process: str, what: str = "ms") -> tuple[str, str]:
    """Return the names of the rows with a process's processor time per plan (`ms`), or its loop's alone (`loop_ms`)."""
    small, large = (f"process.{process}_{what}.{size}" for size in SIZES)
    return small, large


def core_s(figures: Figures, process: str, nodes: int, what: str = "ms") -> float:
    """Return the processor time, in seconds, that a process spends on a plan without caches.

    `what` is `ms` or `loop_ms` for a plan that is alone, `busy_ms` or `busy_loop_ms` for one of BUSY_PLANS in progress.
    """
    return grown(figures, rows_of(process, what), nodes, MEASURED) / 1e3


def share_together(figures: Figures, utilisation: float) -> float:
    """Return how far plans cost what they do together, from 0 (as alone) to 1 (as BUSY_PLANS in progress).

    A coordinator with BUSY_PLANS in progress was busy for a measured share of the time. One that may not be so busy has
    fewer plans in progress, in proportion.
    """
    busy_share = figures.value(BUSY_RATE) * core_s(figures, "coordinator", MEASURED[0], "busy_loop_ms")
    return min(1.0, utilisation / busy_share)


def alone_up_to_qps(figures: Figures, utilisation: float) -> float:
    """Return the rate of one coordinator, up to which plans cost what plans alone do."""
    return share_together(figures, utilisation) * figures.value(BUSY_RATE)


def used_cores(
    figures: Figures, process: str, nodes: int, qps: float, utilisation: float, *, loop: bool = False
) -> float:
    """Return the cores that all processes of a kind use, or with `loop` that their loops use.

    Beyond the rate of `alone_up_to_qps`, each coordinator has several plans in progress.
    """
    what = "loop_ms" if loop else "ms"
    together = share_together(figures, utilisation)
    alone_qps = min(qps, alone_up_to_qps(figures, utilisation))
    alone_s = core_s(figures, process, nodes, what)
    busy_s = core_s(figures, process, nodes, f"busy_{what}")
    return alone_qps * alone_s + (qps - alone_qps) * (together * busy_s + (1 - together) * alone_s)


def cores(figures: Figures, nodes: int, qps: float, utilisation: float | None = None) -> Number:
    """Return the processor cores of the mesh and its load balancer, for a rate of plans without caches."""
    busy = figures.value("utilisation") if utilisation is None else utilisation
    used = sum(used_cores(figures, process, nodes, qps, busy) for process in PROCESSES)
    rows = [row for process in PROCESSES for row in _rows_at(figures, process, "ms", qps, busy)]
    how = f"{qps:g} plans/s x {used / qps * 1e3:.3g} ms of a core, {busy:.0%} busy; cores add up"
    return Number("cores", used / busy, "vCPUs", NumberKind.EXTRAPOLATED, (*dict.fromkeys(rows), "utilisation"), how)


def count_of(
    figures: Figures, process: str, nodes: int, qps: float, *, utilisation: float | None = None, least: int = 1
) -> Number:
    """Return how many processes of a kind are needed, so that no loop is busier than the utilisation."""
    busy = figures.value("utilisation") if utilisation is None else utilisation
    used = used_cores(figures, process, nodes, qps, busy, loop=True)
    count = max(least, math.ceil(used / busy))
    rows = (*_rows_at(figures, process, "loop_ms", qps, busy), "utilisation")
    loop_ms = used / qps * 1e3
    how = f"one carries {busy / loop_ms * 1e3:,.4g} plans/s: {loop_ms:.3g} ms of its loop each, {busy:.0%} busy"
    return Number(f"{process}s", count, "processes", NumberKind.EXTRAPOLATED, rows, how)


def _rows_at(figures: Figures, process: str, what: str, qps: float, utilisation: float) -> tuple[str, ...]:
    """Return the rows that `used_cores` reads."""
    if qps <= alone_up_to_qps(figures, utilisation):
        return rows_of(process, what)
    of_rate = (BUSY_RATE, *rows_of("coordinator", "busy_loop_ms"))
    return (*rows_of(process, what), *rows_of(process, f"busy_{what}"), *of_rate)
