"""Meshes of 4 to 400 workers, simulated from measured costs: how much they answer, and what stops them."""

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
from bench.scaling.simulation import Mesh, simulate

FILE: Final = ROOT / "docs" / "benchmarks" / "scaling-growth.json"
SEVERAL_REDIS: Final = 8

WORKERS: Final = (4, 8, 16, 32, 64, 128, 256, 400)
"""In all; half of them a shard at first, and no more than PER_SHARD."""

PER_SHARD: Final = 8
HOP_S: Final = 0.0001
"""One way between two machines of a data centre: an assumption, for all of this was measured on one."""

LOADED: Final = 0.6
"""Of the greatest throughput: where latency is looked at, as `planmesh size` plans it."""

CALLERS_PER_WORKER: Final = 24
CALLERS_PER_REDIS: Final = 2_000
"""So many calls under way that whatever is scarce is busy all the time, and none waits for longer than a warm-up."""

SECONDS: Final = 0.4
WARM_UP_S: Final = 0.4


@dataclass(frozen=True, slots=True)
class Grown:
    """One size of a mesh: the greatest throughput, and the latency at LOADED of it."""

    redis_servers: int
    workers: int
    """In all."""

    shards: int
    gateways: int
    coordinators: int
    plans_per_second: float
    busiest: str
    """The part whose loops are busiest at the greatest throughput; `busy` is how busy, as a share."""

    busy: float
    tasks_per_plan: float
    p50_ms: float
    p95_ms: float


def mesh_of(workers: int, costs: Costs, redis_servers: int = 1) -> Mesh:
    """A mesh of so many workers, with gateways and coordinators enough that their loops are not what stops it."""
    shards = max(2, math.ceil(workers / PER_SHARD))
    per_shard = max(1, workers // shards)
    rate = workers / _loop_s(costs, "worker")
    others = {part: max(1, math.ceil(rate * _loop_s(costs, part))) for part in ("gateway", "coordinator")}
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


def grow(costs: Costs, redis_servers: int = 1) -> list[Grown]:
    """All sizes, simulated side by side."""
    meshes = [mesh_of(workers, costs, redis_servers) for workers in reversed(WORKERS)]
    with ProcessPoolExecutor() as pool:
        return list(pool.map(_grown, meshes, repeat(costs)))[::-1]


def write_grown(costs: Costs, path: Path = FILE) -> None:
    """Simulate with one Redis, as a mesh has, and with several."""
    grown = [asdict(one) for servers in (1, SEVERAL_REDIS) for one in grow(costs, servers)]
    write_aside(path, json.dumps(grown, indent=1) + "\n")


def read_grown(path: Path = FILE) -> dict[int, list[Grown]]:
    """What was simulated last, by the number of Redis servers."""
    by_servers: dict[int, list[Grown]] = {}
    for values in json.loads(path.read_text("utf-8")):
        one = Grown(**values)
        by_servers.setdefault(one.redis_servers, []).append(one)
    return by_servers


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


def _loop_s(costs: Costs, part: str) -> float:
    """Of a plan whose items travel alone."""
    cost = costs.parts[part]
    return cost.total_ms(costs.items_per_plan, costs.items_per_plan) * cost.loop_share / 1e3
