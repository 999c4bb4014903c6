"""Meshes of 4 to 400 workers, simulated from measured costs: how much they answer, and what stops them."""

from __future__ import annotations

import math
from dataclasses import dataclass
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
"""So many calls under way that whatever is scarce is busy all the time."""

SECONDS: Final = 0.8
WARM_UP_S: Final = 0.6


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
        callers=CALLERS_PER_WORKER * workers,
        caller_processes=0,
        hop_s=HOP_S,
        redis_servers=redis_servers,
    )


def grow(costs: Costs, redis_servers: int = 1) -> list[Grown]:
    """All sizes."""
    return [_grown(mesh_of(workers, costs, redis_servers), costs) for workers in WORKERS]


def _grown(mesh: Mesh, costs: Costs) -> Grown:
    most = simulate(mesh, costs, seconds=SECONDS, warm_up_s=WARM_UP_S)
    at_rate = {name: getattr(mesh, name) for name in Mesh.__dataclass_fields__}
    loaded = Mesh(**{**at_rate, "rate_per_s": LOADED * most.plans_per_second})
    return Grown(mesh, most, simulate(loaded, costs, seconds=SECONDS, warm_up_s=WARM_UP_S))


def _loop_s(costs: Costs, part: str) -> float:
    """Of a plan whose items travel alone."""
    cost = costs.parts[part]
    return cost.total_ms(costs.items_per_plan, costs.items_per_plan) * cost.loop_share / 1e3
