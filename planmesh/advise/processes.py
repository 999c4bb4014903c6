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


def rows_of(process: str, what: str = "ms") -> tuple[str, str]:
    """Return the names of the rows with a process's processor time per plan (`ms`), or its loop's alone (`loop_ms`)."""
    small, large = (f"process.{process}_{what}.{size}" for size in SIZES)
    return small, large


def core_s(figures: Figures, process: str, nodes: int, what: str = "ms") -> float:
    """Return the processor time, in seconds, that a process spends on a plan without caches."""
    return grown(figures, rows_of(process, what), nodes, MEASURED) / 1e3


def cores(figures: Figures, nodes: int, qps: float, utilisation: float | None = None) -> Number:
    """Return the processor cores of the mesh and its load balancer, for a rate of plans without caches."""
    busy = figures.value("utilisation") if utilisation is None else utilisation
    per_plan_s = sum(core_s(figures, process, nodes) for process in PROCESSES)
    rows = [row for process in PROCESSES for row in rows_of(process)]
    how = f"{qps:g} plans/s x {per_plan_s * 1e3:.3g} ms of a core, {busy:.0%} busy; cores add up"
    return Number("cores", qps * per_plan_s / busy, "vCPUs", NumberKind.EXTRAPOLATED, (*rows, "utilisation"), how)


def count_of(
    figures: Figures, process: str, nodes: int, qps: float, *, utilisation: float | None = None, least: int = 1
) -> Number:
    """Return how many processes of a kind are needed, so that no loop is busier than the utilisation."""
    busy = figures.value("utilisation") if utilisation is None else utilisation
    loop_s = core_s(figures, process, nodes, "loop_ms")
    count = max(least, math.ceil(qps * loop_s / busy))
    rows = (*rows_of(process, "loop_ms"), "utilisation")
    how = f"one carries {busy / loop_s:,.4g} plans/s: {loop_s * 1e3:.3g} ms of its loop each, {busy:.0%} busy"
    return Number(f"{process}s", count, "processes", NumberKind.EXTRAPOLATED, rows, how)
