"""Meshes of 4 to 400 workers, simulated from measured costs: their throughput, and what limits it."""

from __future__ import annotations

import json
import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Final

from bench.graphs import ROOT
from bench.results import write_aside
from bench.scaling.costs import Costs
from bench.scaling.mesh_model import Mesh
from bench.scaling.simulation import simulate

FILE: Final = ROOT / "docs" / "benchmarks" / "scaling-growth.json"
SHARDS_PER_REDIS: Final = 1
"""Shards that share a Redis server, where a mesh grows beyond one server."""

WORKERS: Final = (4, 8, 16, 32, 64, 128, 256, 400)
"""Workers of all shards. Half of them form one shard each, up to PER_SHARD."""

PER_SHARD: Final = 8
HOP_S: Final = 0.0001
"""One-way delay between two machines of a data centre. An assumption: all measurements used one machine."""

LOADED: Final = 0.6
"""Share of the greatest throughput at which latency is simulated, as `planmesh size` plans it."""

CALLERS_PER_WORKER: Final = 24
CALLERS_PER_REDIS: Final = 2_000
"""Calls in progress: enough to keep the bottleneck busy, few enough that none waits longer than the warm-up."""

SECONDS: Final = 0.4
WARM_UP_S: Final = 0.4


@dataclass(frozen=True, slots=True)
class Grown:
    """One size of a mesh: its greatest throughput, and the latency at LOADED of it."""

    redis_servers: int
    workers: int
    """Workers of all shards."""

    shards: int
    gateways: int
    coordinators: int
    plans_per_second: float
    busiest: str
    """The kind of process with the busiest loops at the greatest throughput; `busy` is their utilisation."""

    busy: float
    tasks_per_plan: float
    p50_ms: float
    p95_ms: float


def mesh_of(workers: int, costs: Costs, redis_servers: int | None = None) -> Mesh:
    """Return a mesh with this many workers, and enough gateways and coordinators that their loops are not the limit.

    By default it has a Redis server for each SHARDS_PER_REDIS shards.
    """
    shards = max(2, math.ceil(workers / PER_SHARD))
    redis_servers = redis_servers or math.ceil(shards / SHARDS_PER_REDIS)
    per_shard = max(1, workers // shards)
    rate = workers / _loop_s(costs, "worker")
    others = {process: max(1, math.ceil(rate * _loop_s(costs, process))) for process in ("gateway", "coordinator")}
    return Mesh(
        gateways=others["gateway"],
        coordinators=others["coordinator"],
        workers=per_shard,
        shards=shards,
        cores=None,
        callers=min(CALLERS_PER_WORKER * workers, CALLERS_PER_REDIS * redis_servers),
        caller_processes=0,
        hop_s=HOP_S,
        redis_servers=redis_servers,
    )


def grow(costs: Costs, redis_servers: int | None = None) -> list[Grown]:
    """Simulate all sizes in parallel, by default with a Redis server for each SHARDS_PER_REDIS shards."""
    meshes = [mesh_of(workers, costs, redis_servers) for workers in reversed(WORKERS)]
    with ProcessPoolExecutor() as pool:
        return list(pool.map(_grown, meshes, repeat(costs)))[::-1]


def write_grown(costs: Costs, path: Path = FILE) -> None:
    """Simulate with one Redis, and with servers that grow with the mesh, and write the results."""
    grown = [asdict(one) | {"grows": servers is None} for servers in (1, None) for one in grow(costs, servers)]
    write_aside(path, json.dumps(grown, indent=1) + "\n")


def read_grown(path: Path = FILE) -> tuple[list[Grown], list[Grown]]:
    """Read the last results: with one Redis server, and with servers that grow with the mesh."""
    alone: list[Grown] = []
    growing: list[Grown] = []
    for values in json.loads(path.read_text("utf-8")):
        (growing if values.pop("grows") else alone).append(Grown(**values))
    return alone, growing


def _grown(mesh: Mesh, costs: Costs) -> Grown:
    most = simulate(mesh, costs, seconds=SECONDS, warm_up_s=WARM_UP_S)
    at_rate = replace(mesh, rate_per_s=LOADED * most.plans_per_second)
    loaded = simulate(at_rate, costs, seconds=SECONDS, warm_up_s=WARM_UP_S)
    loops = {name: share for name, share in most.busy.items() if name not in ("machine", "client")}
    busiest = max(loops, key=lambda name: loops[name])
    return Grown(
        redis_servers=mesh.redis_servers,
        workers=mesh.workers * mesh.shards,
        shards=mesh.shards,
        gateways=mesh.gateways,
        coordinators=mesh.coordinators,
        plans_per_second=round(most.plans_per_second, 1),
        busiest=busiest,
        busy=round(loops[busiest], 3),
        tasks_per_plan=round(most.tasks_per_plan, 3),
        p50_ms=round(loaded.p50_ms, 3),
        p95_ms=round(loaded.p95_ms, 3),
    )


def _loop_s(costs: Costs, process: str) -> float:
    """Return the loop time of a plan that is computed alone."""
    cost = costs.processes[process]
    return cost.total_ms(costs.items_per_plan) * cost.loop_share / 1e3
