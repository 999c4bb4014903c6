"""Meshes of 4 to 400 workers, simulated from measured costs: how much they answer, and what stops them."""

from __future__ import annotations

import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Final

from bench.scaling.costs import Costs
from bench.scaling.simulation import Mesh, Simulated, simulate

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
    """One size of a mesh; `loaded` is the same mesh at LOADED of what it can do."""

    mesh: Mesh
    most: Simulated
    loaded: Simulated

    @property
    def workers(self) -> int:
        """In all."""
        return self.mesh.workers * self.mesh.shards

    @property
    def busiest(self) -> str:
        """The part whose loops are busiest at the greatest throughput."""
        loops = {name: share for name, share in self.most.busy.items() if name not in ("machine", "client")}
        return max(loops, key=lambda name: loops[name])


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


def _grown(mesh: Mesh, costs: Costs) -> Grown:
    most = simulate(mesh, costs, seconds=SECONDS, warm_up_s=WARM_UP_S)
    loaded = replace(mesh, rate_per_s=LOADED * most.plans_per_second)
    return Grown(mesh, most, simulate(loaded, costs, seconds=SECONDS, warm_up_s=WARM_UP_S))


def _loop_s(costs: Costs, part: str) -> float:
    """Of a plan whose items travel alone."""
    cost = costs.parts[part]
    return cost.total_ms(costs.items_per_plan, costs.items_per_plan) * cost.loop_share / 1e3
