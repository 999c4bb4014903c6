"""Needs of a mesh and a store. Each number cites the rows it was computed from. Pure: figures in, numbers out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from planmesh.advise.figures import Cloud, Figures, Instance

SMALL_NODES: Final = 100_000
LARGE_NODES: Final = 10_000_000
"""Sizes of the graphs that a mesh was measured with. Figures are interpolated between them, extrapolated beyond."""

STORE_NODES: Final = 100_000
"""Size of the graph that stores were measured with."""

MESH_ROWS: Final = ("100k", "10m")
"""Suffixes of the rows for both sizes."""

GIBIBYTE_MIB: Final = 1_024
STORES: Final = ("sqlite", "redis", "neo4j", "hybrid")
WITH_PATTERNS: Final = ("neo4j", "hybrid")


class NumberKind(StrEnum):
    """How closely a number rests on measurements."""

    COMPUTED = "computed"
    """From rows, within the measured sizes."""

    EXTRAPOLATED = "extrapolated"
    """From rows, beyond the measured sizes or rates."""

    ASSUMED = "assumed"
    """Depends mostly on a row that is an assumption."""


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
    """`count` machines of one type."""

    instance: Instance
    count: int

    def monthly_usd(self, figures: Figures) -> float:
        """Return the cost per month, without disks."""
        return self.count * figures.value(self.instance.usd_per_hour) * figures.value("hours_per_month")


def kind_for(nodes: int, measured: tuple[int, int] = (SMALL_NODES, LARGE_NODES)) -> NumberKind:
    """Return COMPUTED within the measured sizes, EXTRAPOLATED beyond."""
    return NumberKind.COMPUTED if measured[0] <= nodes <= measured[1] else NumberKind.EXTRAPOLATED


def grown(
    figures: Figures, rows: tuple[str, str], nodes: int, measured: tuple[int, int] = (SMALL_NODES, LARGE_NODES)
) -> float:
    """Return a figure for a number of nodes, by the power law through both measured points; never below the first.

    The exponent is at least 0, so that more nodes never need less.
    """
    small, large = (figures.value(row) for row in rows)
    power = max(0.0, math.log(large / small) / math.log(measured[1] / measured[0]))
    return max(small, large) * float((max(nodes, measured[0]) / measured[1]) ** power)


def graph_memory(figures: Figures, nodes: int) -> Number:
    """Return the memory of the graph's indexes on all machines together."""
    per_node_mib = graph_mib_per_node(figures)
    return Number(
        "graph_memory",
        per_node_mib * nodes * figures.value("versions") / GIBIBYTE_MIB,
        "GiB",
        kind_for(nodes),
        ("mesh.memory_mib.100k", "mesh.memory_mib.10m", "versions"),
        f"{per_node_mib * 2**20:,.0f} bytes per node between the two sizes, {figures.value('versions'):g} versions",
    )


def process_memory_mib(figures: Figures) -> float:
    """Return the memory of a machine's processes before they have a graph."""
    return max(0.0, figures.value("mesh.memory_mib.100k") - graph_mib_per_node(figures) * SMALL_NODES)


def mesh_disk(figures: Figures, nodes: int) -> Number:
    """Return the disk space of the snapshots and of the rows from which they were built."""
    return Number(
        "mesh_disk",
        figures.value("mesh.disk_mib.100k") / STORE_NODES * nodes * figures.value("versions") / GIBIBYTE_MIB,
        "GiB",
        kind_for(nodes, (STORE_NODES, STORE_NODES)),
        ("mesh.disk_mib.100k", "versions"),
        f"as on {STORE_NODES:,} nodes, {figures.value('versions'):g} versions at a time",
    )


def latency(figures: Figures, nodes: int, point: str) -> Number:
    """Return a percentile of the latency of one plan at a time, without caches."""
    small, large = (f"mesh.{point}_ms.{size}" for size in MESH_ROWS)
    how = "power law through both sizes, one caller at a time, caches bypassed"
    return Number(f"latency_{point}", grown(figures, (small, large), nodes), "ms", kind_for(nodes), (small, large), how)


def mesh_machines(figures: Figures, instance: Instance, of_cores: Number, memory: Number) -> Machines | None:
    """Return how many machines of a type have enough cores and memory in total; None if the type is too small."""
    usable_mib = instance.memory_gib * GIBIBYTE_MIB * figures.value("memory_share") - process_memory_mib(figures)
    if usable_mib <= 0:
        return None
    for_memory = math.ceil(memory.value * GIBIBYTE_MIB / usable_mib)
    return Machines(instance, max(1, math.ceil(of_cores.value / instance.vcpus), for_memory))


def store_memory(figures: Figures, store: str, nodes: int) -> Number:
    """Return the memory of a store's servers."""
    if store == "sqlite":
        return Number("store_memory", 0.0, "GiB", NumberKind.COMPUTED, (), "it has no server")
    if store == "redis":
        return _redis_memory(figures, nodes)
    front = ("hybrid.front_memory_mib",) if store == "hybrid" else ()
    mib = figures.value("neo4j.memory_mib.100k") + figures.value("neo4j.disk_mib.100k") / STORE_NODES * nodes
    mib += sum(figures.value(row) for row in front)
    how = "the server as measured, and its files once more in its page cache"
    how += "; answers in the Redis in front" if front else ""
    rows = ("neo4j.memory_mib.100k", "neo4j.disk_mib.100k", *front)
    return Number("store_memory", mib / GIBIBYTE_MIB, "GiB", NumberKind.EXTRAPOLATED, rows, how)


def _redis_memory(figures: Figures, nodes: int) -> Number:
    rows = ("redis.memory_empty_mib", "redis.memory_mib.100k", "versions")
    empty, full, versions = (figures.value(row) for row in rows)
    mib = empty + max(0.0, full - empty) / STORE_NODES * nodes * versions
    how = f"as on {STORE_NODES:,} nodes; a replacement is complete before the old graph goes"
    return Number("store_memory", mib / GIBIBYTE_MIB, "GiB", kind_for(nodes, (STORE_NODES, STORE_NODES)), rows, how)


def store_disk(figures: Figures, store: str, nodes: int) -> Number:
    """Return the disk space of a store's files. Redis has none."""
    if store == "redis":
        return Number("store_disk", 0.0, "GiB", NumberKind.COMPUTED, (), "it is kept in memory")
    row = "sqlite.disk_mib.100k" if store == "sqlite" else "neo4j.disk_mib.100k"
    gib = figures.value(row) / STORE_NODES * nodes * figures.value("versions") / GIBIBYTE_MIB
    how = f"as on {STORE_NODES:,} nodes, twice while a graph is replaced"
    return Number("store_disk", gib, "GiB", kind_for(nodes, (STORE_NODES, STORE_NODES)), (row, "versions"), how)


def store_machine(figures: Figures, cloud: Cloud, memory: Number) -> Machines | None:
    """Return the cheapest machine that holds a store's server, with count 0 if it has none; None if none fits."""
    fitting = [one for one in cloud.instances if one.memory_gib * figures.value("memory_share") >= memory.value]
    if not fitting:
        return None
    cheapest = min(fitting, key=lambda one: (figures.value(one.usd_per_hour), one.name))
    return Machines(cheapest, 1 if memory.value > 0 else 0)


def graph_mib_per_node(figures: Figures) -> float:
    """Return the memory, over a whole mesh, of one more node: the slope between the two sizes, at least 0."""
    small, large = (figures.value(f"mesh.memory_mib.{size}") for size in MESH_ROWS)
    return max(0.0, large - small) / (LARGE_NODES - SMALL_NODES)
