"""What a mesh and a store need, each number with the rows that it was computed from. Pure: figures in, numbers out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from planmesh.advise.figures import Cloud, Figures, Instance

SMALL_NODES: Final = 10_000
LARGE_NODES: Final = 100_000
"""Sizes of the graphs that were measured; between them is interpolated, beyond them extrapolated."""

GIBIBYTE_MIB: Final = 1_024
STORES: Final = ("sqlite", "redis", "neo4j", "hybrid")
WITH_PATTERNS: Final = ("neo4j", "hybrid")


class NumberKind(StrEnum):
    """How near to a measurement a number is."""

    COMPUTED = "computed"
    """From rows, within the sizes that were measured."""

    EXTRAPOLATED = "extrapolated"
    """From rows, beyond the sizes or rates that were measured."""

    ASSUMED = "assumed"
    """One of the rows that it depends on most is an assumption."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number of the advice, and the rows that it was computed from."""

    name: str
    value: float
    unit: str
    kind: NumberKind
    rows: tuple[str, ...]
    how: str


@dataclass(frozen=True, slots=True)
class Machines:
    """So many machines of one kind."""

    instance: Instance
    count: int

    def monthly_usd(self, figures: Figures) -> float:
        """What they cost a month, without their disks."""
        return self.count * figures.value(self.instance.usd_per_hour) * figures.value("hours_per_month")


def kind_for(nodes: int) -> NumberKind:
    """Within the sizes that were measured, or beyond."""
    return NumberKind.COMPUTED if SMALL_NODES <= nodes <= LARGE_NODES else NumberKind.EXTRAPOLATED


def exponent(figures: Figures, small: str, large: str) -> float:
    """How a figure grows with the nodes, as a power; never less than 0, so that more nodes never need less."""
    ratio = figures.value(large) / figures.value(small)
    return max(0.0, math.log(ratio) / math.log(LARGE_NODES / SMALL_NODES))


def grown(figures: Figures, small: str, large: str, nodes: int) -> float:
    """A figure at a number of nodes, by the power law through both measured points; never below the smaller."""
    power = exponent(figures, small, large)
    return float(figures.value(large) * (max(nodes, SMALL_NODES) / LARGE_NODES) ** power)


def cores(figures: Figures, nodes: int, qps: float) -> Number:
    """Processor cores of the mesh for a rate of plans past every cache."""
    work = grown(figures, "search.p50_ms.10k", "search.p50_ms.100k", nodes) / figures.value("search.p50_ms.100k")
    core_s_per_plan = figures.value("mesh.cores") / figures.value("mesh.plans_per_second.100k") * work
    rows = ("mesh.plans_per_second.100k", "mesh.cores", "search.p50_ms.10k", "search.p50_ms.100k", "utilisation")
    return Number(
        "cores",
        qps * core_s_per_plan / figures.value("utilisation"),
        "vCPUs",
        NumberKind.EXTRAPOLATED,
        rows,
        f"{qps:g} plans/s x {core_s_per_plan * 1e3:.3g} ms of a core, {figures.value('utilisation'):.0%} busy; "
        "a core's time grows with the nodes as the search's did, and cores add up",
    )


def workers(figures: Figures, of_cores: Number) -> Number:
    """Worker processes: one for each core of their share."""
    count = max(1, math.ceil(of_cores.value * figures.value("worker_share")))
    return Number(
        "workers",
        count,
        "processes",
        NumberKind.ASSUMED,
        (*of_cores.rows, "worker_share"),
        f"{figures.value('worker_share'):.0%} of the cores, a process each; the rest is for gateways and coordinators",
    )


def graph_memory(figures: Figures, nodes: int) -> Number:
    """Memory of the graph's indexes, all machines together."""
    per_node_mib = _per_node(figures, "mesh.memory_mib.10k", "mesh.memory_mib.100k")
    return Number(
        "graph_memory",
        per_node_mib * nodes * figures.value("versions") / GIBIBYTE_MIB,
        "GiB",
        kind_for(nodes),
        ("mesh.memory_mib.10k", "mesh.memory_mib.100k", "versions"),
        f"{per_node_mib * 2**20:,.0f} bytes a node between the two sizes, {figures.value('versions'):g} versions",
    )


def process_memory_mib(figures: Figures) -> float:
    """Memory of a machine's processes before they have a graph."""
    small = figures.value("mesh.memory_mib.10k")
    return small - _per_node(figures, "mesh.memory_mib.10k", "mesh.memory_mib.100k") * SMALL_NODES


def mesh_disk(figures: Figures, nodes: int) -> Number:
    """Disk of the snapshots and of the rows that they were built from."""
    return Number(
        "mesh_disk",
        figures.value("mesh.disk_mib.100k") / LARGE_NODES * nodes * figures.value("versions") / GIBIBYTE_MIB,
        "GiB",
        kind_for(nodes),
        ("mesh.disk_mib.100k", "versions"),
        f"as on {LARGE_NODES:,} nodes, {figures.value('versions'):g} versions at a time",
    )


def latency(figures: Figures, nodes: int, point: str) -> Number:
    """A percentile of one plan at a time, past every cache."""
    rows = (f"mesh.{point}_ms.10k", f"mesh.{point}_ms.100k")
    how = "power law through both sizes, one caller at a time, caches bypassed"
    return Number(f"latency_{point}", grown(figures, *rows, nodes), "ms", kind_for(nodes), rows, how)


def mesh_machines(figures: Figures, instance: Instance, of_cores: Number, memory: Number) -> Machines | None:
    """How many of one kind carry the cores and the graph, which is spread over them; None when they are too small."""
    usable_mib = instance.memory_gib * GIBIBYTE_MIB * figures.value("memory_share") - process_memory_mib(figures)
    if usable_mib <= 0:
        return None
    for_memory = math.ceil(memory.value * GIBIBYTE_MIB / usable_mib)
    return Machines(instance, max(1, math.ceil(of_cores.value / instance.vcpus), for_memory))


def store_memory(figures: Figures, store: str, nodes: int) -> Number:
    """Memory of a store's own servers."""
    if store == "sqlite":
        return Number("store_memory", 0.0, "GiB", NumberKind.COMPUTED, (), "it has no server")
    if store == "redis":
        return _redis_memory(figures, nodes)
    front = ("hybrid.front_memory_mib",) if store == "hybrid" else ()
    mib = figures.value("neo4j.memory_mib.100k") + figures.value("neo4j.disk_mib.100k") / LARGE_NODES * nodes
    mib += sum(figures.value(row) for row in front)
    how = "the server as it was measured, and its files once more in its page cache"
    how += "; answers in the Redis in front" if front else ""
    rows = ("neo4j.memory_mib.100k", "neo4j.disk_mib.100k", *front)
    return Number("store_memory", mib / GIBIBYTE_MIB, "GiB", NumberKind.EXTRAPOLATED, rows, how)


def _redis_memory(figures: Figures, nodes: int) -> Number:
    rows = ("redis.memory_empty_mib", "redis.memory_mib.100k", "versions")
    empty, full, versions = (figures.value(row) for row in rows)
    mib = empty + max(0.0, full - empty) / LARGE_NODES * nodes * versions
    how = f"as on {LARGE_NODES:,} nodes; a replacement stands beside the old graph until it is whole"
    return Number("store_memory", mib / GIBIBYTE_MIB, "GiB", kind_for(nodes), rows, how)


def store_disk(figures: Figures, store: str, nodes: int) -> Number:
    """Disk of a store's files, all of them memory in Redis."""
    if store == "redis":
        return Number("store_disk", 0.0, "GiB", NumberKind.COMPUTED, (), "it is kept in memory")
    row = "sqlite.disk_mib.100k" if store == "sqlite" else "neo4j.disk_mib.100k"
    gib = figures.value(row) / LARGE_NODES * nodes * figures.value("versions") / GIBIBYTE_MIB
    how = f"as on {LARGE_NODES:,} nodes, twice while a graph is replaced"
    return Number("store_disk", gib, "GiB", kind_for(nodes), (row, "versions"), how)


def store_machine(figures: Figures, cloud: Cloud, memory: Number) -> Machines | None:
    """The cheapest machine that holds a store's server; no machine for none; None when it fits on none."""
    fitting = [one for one in cloud.instances if one.memory_gib * figures.value("memory_share") >= memory.value]
    if not fitting:
        return None
    cheapest = min(fitting, key=lambda one: (figures.value(one.usd_per_hour), one.name))
    return Machines(cheapest, 1 if memory.value > 0 else 0)


def _per_node(figures: Figures, small: str, large: str) -> float:
    """What one more node takes, from the two sizes; never less than nothing."""
    return max(0.0, figures.value(large) - figures.value(small)) / (LARGE_NODES - SMALL_NODES)
