"""Memory, processor time and, if its price is known, cost of a process. Read when metrics are exported."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

import psutil
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from planmesh.telemetry import names

HOUR_S: Final = 3_600.0


def observe_process(
    meter: Meter, *, usd_per_hour: float = 0.0, shard: int | None = None, clock_s: Callable[[], float] = time.monotonic
) -> None:
    """Register instruments that observe this process at every export; without an exporter they are never read.

    `shard` (of a query worker) becomes an attribute of all of them. Memory is the resident memory, including mapped
    files, so workers that share a snapshot's pages each count them. The cost is the price, in USD an hour, times the
    time since this call; without a price there is no such metric. Divided by the number of plans, it is the cost of a
    plan, for any number of replicas.
    """
    process = psutil.Process()
    about = {} if shard is None else {names.SHARD: shard}
    began_s = clock_s()

    def memory(_: CallbackOptions) -> Iterable[Observation]:
        yield Observation(process.memory_info().rss, about)

    def processor_time(_: CallbackOptions) -> Iterable[Observation]:
        used = process.cpu_times()
        yield Observation(used.user, {**about, names.CPU_MODE: "user"})
        yield Observation(used.system, {**about, names.CPU_MODE: "system"})

    def cost(_: CallbackOptions) -> Iterable[Observation]:
        yield Observation(usd_per_hour * (clock_s() - began_s) / HOUR_S, about)

    meter.create_observable_up_down_counter(
        names.METRIC_MEMORY,
        [memory],
        unit="By",
        description="Resident memory; pages of snapshots that several workers map count for each of them.",
    )
    meter.create_observable_counter(
        names.METRIC_CPU_TIME, [processor_time], unit="s", description="Processor time, by mode."
    )
    if usd_per_hour:
        meter.create_observable_counter(
            names.METRIC_PROCESS_COST,
            [cost],
            unit="{USD}",
            description="Price of the process since its start: PLANMESH_USD_PER_HOUR multiplied by its time.",
        )
