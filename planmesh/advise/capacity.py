"""Capacity: processes, memory, processors and disk of a mesh for a number of nodes and a rate of plans."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from planmesh.advise import processes, sizing
from planmesh.advise.advice import check_bounds, rounded
from planmesh.advise.figures import Figures, Row
from planmesh.advise.processes import MEASURED
from planmesh.advise.sizing import GIBIBYTE_MIB, Number, NumberKind
from planmesh.errors import InvalidRequest
from planmesh.graph.model import NODES_MAX

EDGES_PER_NODE: Final = 4
EDGES_MAX: Final = 2_000_000_000
"""Edges of one load, as bounded in services/partition/ingest/spool.py."""

SHARDS_MAX: Final = 1_000
"""The bound of the settings."""

UTILISATION_MIN: Final = 0.05
"""A loop that is less busy than this does not answer noticeably sooner."""

PAIRS_OF_SIZES: Final = ("100k", "1m")

STATEMENTS: Final = (
    "Four edges per node, as in the measured graphs (domains of services).",
    "Every plan is computed: no answer comes from a cache. A cached answer takes a third of the time and no worker.",
    "Each coordinator and each worker has a machine of its own, so mapped files are counted once for each; processes "
    "on one machine would share them.",
    "Latency grows with utilisation as base / (1 - utilisation). The network is assumed to have no delay.",
    "Spare processes for failures are not included.",
    "Several Redis servers share the shards evenly.",
)


@dataclass(frozen=True, slots=True)
class Demand:
    """The requirements. `latency_ms` is the greatest 95th percentile of plans that bypass every cache, None for any."""

    nodes: int
    qps: float
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Capacity:
    """The answer. `limits` are today's bounds of a mesh that such a graph exceeds."""

    demand: Demand
    numbers: list[Number]
    rows: dict[str, Row]
    limits: list[str]

    def value(self, name: str) -> float:
        """Return the value of a number by its name."""
        (number,) = [one for one in self.numbers if one.name == name]
        return number.value

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of docs/reference/cli-json.md."""
        return {
            **asdict(self.demand),
            "numbers": [{**asdict(number), "value": rounded(number.value)} for number in self.numbers],
            "limits": self.limits,
            "assumptions": list(STATEMENTS),
            "rows": {name: row.model_dump(mode="json", exclude_defaults=True) for name, row in self.rows.items()},
        }


def size(figures: Figures, demand: Demand) -> Capacity:
    """Compute the capacity.

    Raises InvalidRequest for numbers out of bounds, and for a latency that no number of processes can reach.
    """
    check_bounds(demand.nodes, demand.qps)
    utilisation, latency = _utilisation(figures, demand)
    share = utilisation.value
    redis = processes.count_of(figures, "redis", demand.nodes, demand.qps, utilisation=share)
    shards = _shards(figures, demand.nodes, int(redis.value))
    counts = {
        process: processes.count_of(
            figures,
            process,
            demand.nodes,
            demand.qps,
            utilisation=share,
            least=least,
        )
        for process, least in (("gateway", 1), ("coordinator", 1), ("worker", int(shards.value)))
    }
    memory = [
        _memory(figures, process, demand.nodes, int(shards.value)) for process in ("gateway", "coordinator", "worker")
    ]
    memory.append(_partition_memory(figures, demand.nodes))
    numbers = [
        utilisation,
        *latency,
        replace(redis, name="redis_servers", unit="servers"),
        counts["gateway"],
        counts["coordinator"],
        shards,
        counts["worker"],
        processes.cores(figures, demand.nodes, demand.qps, share),
        *memory,
        _total(memory, counts),
        _disk(figures, demand.nodes),
        _load_time(figures, demand.nodes),
    ]
    used = dict.fromkeys(row for number in numbers for row in number.rows)
    limits = _limits(demand.nodes, int(shards.value))
    return Capacity(demand, numbers, {name: figures.rows[name] for name in used}, limits)


def _utilisation(figures: Figures, demand: Demand) -> tuple[Number, list[Number]]:
    """Return how busy the processes may be, and the resulting latencies."""
    resting = {point: sizing.latency(figures, demand.nodes, point) for point in ("p50", "p95")}
    share, how = figures.value("utilisation"), "as assumed, to leave room for bursts"
    if demand.latency_ms is not None:
        base_ms = resting["p95"].value
        allowed = 1 - base_ms / demand.latency_ms if demand.latency_ms > 0 else 0.0
        if not allowed >= UTILISATION_MIN:
            least_ms = base_ms / (1 - UTILISATION_MIN)
            raise InvalidRequest(
                f"expected a 95th percentile of at least {least_ms:.3g} ms on {demand.nodes:,} nodes, got "
                f"{demand.latency_ms:g}: one plan at a time takes that long without caches, and more processes do "
                "not change it; allow more, or count on answers from the cache",
                field="latency_ms",
            )
        if allowed < share:
            share, how = allowed, f"so that {base_ms:.3g} ms / (1 - utilisation) is {demand.latency_ms:g} ms"
    rows = ("utilisation", *resting["p95"].rows)
    latencies = [
        Number(name, one.value / (1 - share), "ms", NumberKind.ASSUMED, (*one.rows, "utilisation"), _busy(one, share))
        for name, one in ((f"latency_{point}", one) for point, one in resting.items())
    ]
    return Number("utilisation", share, "share", NumberKind.ASSUMED, rows, how), latencies


def _busy(resting: Number, share: float) -> str:
    return f"{resting.value:.3g} ms one at a time, / (1 - {share:.2g}) when all processes are that busy"


def _shards(figures: Figures, nodes: int, redis_servers: int) -> Number:
    """Return the number of shards at which a worker's share of the graph, in all versions, fits a worker's memory.

    Each Redis server has the queue of one shard at least.
    """
    mib = _files_mib(figures, "partitions", nodes) * figures.value("versions")
    each_mib = figures.value("worker_memory_gib") * GIBIBYTE_MIB
    rows = (*_file_rows("partitions"), "versions", "worker_memory_gib")
    how = f"{mib / GIBIBYTE_MIB:,.3g} GiB of indexes, at most {figures.value('worker_memory_gib'):g} GiB per worker"
    count = max(redis_servers, math.ceil(mib / each_mib))
    return Number("shards", count, "shards", _kind(nodes), rows, f"{how}; and a shard for each Redis server")


def _memory(figures: Figures, process: str, nodes: int, shards: int) -> Number:
    """Return the memory of one process: its own, plus the files that it maps."""
    own = f"process.{process}_memory_mib"
    mib, rows, how = figures.value(own), [own], "its own"
    versions = figures.value("versions")
    if process == "coordinator":
        mib += versions * sum(_files_mib(figures, name, nodes) for name in ("directory", "overlay"))
        rows += [*_file_rows("directory"), *_file_rows("overlay"), "versions"]
        how = f"its own, and the directory and the overlay of the whole graph in {versions:g} versions"
    if process == "worker":
        mib += versions * _files_mib(figures, "partitions", nodes) / shards
        rows += [*_file_rows("partitions"), "versions"]
        how = f"its own, and its shard's indexes in {versions:g} versions"
    return Number(f"{process}_memory", mib / GIBIBYTE_MIB, "GiB each", _kind(nodes), tuple(rows), how)


def _partition_memory(figures: Figures, nodes: int) -> Number:
    """Return the memory of the partition service and the builder, which hold a graph once while it is loaded."""
    mib = sizing.process_memory_mib(figures) + sizing.graph_mib_per_node(figures) * nodes
    rows = ("mesh.memory_mib.100k", "mesh.memory_mib.10m")
    how = "while a graph is loaded, with the builder: the peak of a whole mesh on one machine"
    return Number("partition_memory", mib / GIBIBYTE_MIB, "GiB", sizing.kind_for(nodes), rows, how)


def _total(memory: list[Number], counts: dict[str, Number]) -> Number:
    """Return the memory of all processes."""
    each = {number.name.removesuffix("_memory"): number.value for number in memory}
    gib = each["partition"] + sum(counts[process].value * each[process] for process in counts)
    rows = tuple(dict.fromkeys(row for number in (*memory, *counts.values()) for row in number.rows))
    return Number("memory", gib, "GiB", NumberKind.EXTRAPOLATED, rows, "all processes, without shared memory")


def _disk(figures: Figures, nodes: int) -> Number:
    """Return the size of the data folder, which the processes of a mesh share."""
    names, versions = ("directory", "overlay", "partitions"), figures.value("versions")
    gib = versions * sum(_files_mib(figures, name, nodes) for name in names) / GIBIBYTE_MIB
    rows = (*(row for name in names for row in _file_rows(name)), "versions")
    how = f"a snapshot in {versions:g} versions"
    return Number("disk", gib, "GiB", _kind(nodes), rows, how)


def _load_time(figures: Figures, nodes: int) -> Number:
    """Return the time from a file to the first plan, with one builder on two cores."""
    rows = ("mesh.load_s.100k", "mesh.load_s.10m")
    minutes = sizing.grown(figures, rows, nodes) / 60
    return Number(
        "load_time", minutes, "min", sizing.kind_for(nodes), rows, "one builder on 2 cores; more builders are faster"
    )


def _limits(nodes: int, shards: int) -> list[str]:
    limits = []
    if shards > SHARDS_MAX:
        limits.append(f"a mesh has at most {SHARDS_MAX:,} shards: allow a worker more memory")
    if nodes > NODES_MAX:
        limits.append(f"a graph has at most {NODES_MAX:,} nodes: their numbers are int32")
    if nodes * EDGES_PER_NODE > EDGES_MAX:
        limits.append(f"a load has at most {EDGES_MAX:,} directed edges, for {EDGES_MAX // EDGES_PER_NODE:,} nodes")
    return limits


def _files_mib(figures: Figures, name: str, nodes: int) -> float:
    """Return the size of a snapshot's files of one kind, extrapolated in proportion to the nodes."""
    small, large = (figures.value(row) for row in _file_rows(name))
    per_node = max(0.0, large - small) / (MEASURED[1] - MEASURED[0])
    return max(0.0, large + per_node * (nodes - MEASURED[1]))


def _file_rows(name: str) -> tuple[str, str]:
    small, large = (f"snapshot.{name}_mib.{size}" for size in PAIRS_OF_SIZES)
    return small, large


def _kind(nodes: int) -> NumberKind:
    return sizing.kind_for(nodes, MEASURED)
