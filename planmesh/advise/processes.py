"""What a plan takes of each process of a mesh, and how many processes carry a rate. Pure: figures in, numbers out."""

from __future__ import annotations

import math
from typing import Final

from planmesh.advise.figures import Figures
from planmesh.advise.sizing import Number, NumberKind, grown

PROCESSES: Final = ("envoy", "gateway", "coordinator", "redis", "worker")
LOOPS: Final = ("gateway", "coordinator", "redis", "worker")
"""Processes whose processes do one thing at a time: one core is the most that such a process's loop can use."""

MEASURED: Final = (100_000, 1_000_000)
SIZES: Final = ("100k", "1m")
"""Sizes of the graphs that the processes were measured with, and how the rows of both end."""


def rows_of(process: str, what: str = "ms") -> tuple[str, str]:
    """The rows of a process's processor time a plan (`ms`), or of that of its loop alone (`loop_ms`)."""
    small, large = (f"process.{process}_{what}.{size}" for size in SIZES)
    return small, large


def core_s(figures: Figures, process: str, nodes: int, what: str = "ms") -> float:
    """Seconds of a core that a plan past every cache takes of a process."""
    return grown(figures, rows_of(process, what), nodes, MEASURED) / 1e3


def cores(figures: Figures, nodes: int, qps: float, utilisation: float | None = None) -> Number:
    """Processor cores of the mesh, its load balancer included, for a rate of plans past every cache."""
    busy = figures.value("utilisation") if utilisation is None else utilisation
    per_plan_s = sum(core_s(figures, process, nodes) for process in PROCESSES)
    rows = [row for process in PROCESSES for row in rows_of(process)]
    how = f"{qps:g} plans/s x {per_plan_s * 1e3:.3g} ms of a core, {busy:.0%} busy; cores add up"
    return Number("cores", qps * per_plan_s / busy, "vCPUs", NumberKind.EXTRAPOLATED, (*rows, "utilisation"), how)


def count_of(
    figures: Figures, process: str, nodes: int, qps: float, *, utilisation: float | None = None, least: int = 1
) -> Number:
    """Processes of a process: so many that the loop of none is busier than the utilisation."""
    busy = figures.value("utilisation") if utilisation is None else utilisation
    loop_s = core_s(figures, process, nodes, "loop_ms")
    count = max(least, math.ceil(qps * loop_s / busy))
    rows = (*rows_of(process, "loop_ms"), "utilisation")
    how = f"one carries {busy / loop_s:,.4g} plans/s: {loop_s * 1e3:.3g} ms of its loop each, {busy:.0%} busy"
    return Number(f"{process}s", count, "processes", NumberKind.EXTRAPOLATED, rows, how)
