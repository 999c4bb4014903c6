"""A mesh as discrete events: callers, the balancer, gateways, coordinators, shard queues, workers, and the replies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bench.scaling.costs import REST, Costs
from bench.scaling.mesh_model import Mesh, Process, World
from bench.scaling.processors import Steps
from bench.scaling.simulated_coordinator import Coordinator


@dataclass(frozen=True, slots=True)
class Simulated:
    """The results of the time after the warm-up. `busy` is the mean share of a core used by each kind of process."""

    plans_per_second: float
    p50_ms: float
    p95_ms: float
    tasks_per_plan: float
    items_per_task: float
    hedged_share: float
    busy: dict[str, float]
    answered_by_slow: float
    """Share of the items that slow workers answered."""


def simulate(mesh: Mesh, costs: Costs, *, seconds: float = 4.0, warm_up_s: float = 1.0, seed: int = 1) -> Simulated:
    """Simulate `seconds` of a mesh after a warm-up. Equal arguments give equal results."""
    return _Simulation(mesh, costs, seed).run(warm_up_s, seconds)


class _Simulation:
    """The callers, the balancer and the gateways of a mesh, and the measurement."""

    def __init__(self, mesh: Mesh, costs: Costs, seed: int) -> None:
        self._world = world = World(mesh, costs, seed)
        self._mesh, self._costs, self._environment = mesh, costs, world.environment
        self._latencies_s: list[float] = []
        self._coordinators = [Coordinator(world) for _ in range(mesh.coordinators)]
        self._gateways = [Process(world, "gateway") for _ in range(mesh.gateways)]
        self._calls_at = [0] * mesh.gateways
        self._next_coordinator = [world.draw.randrange(mesh.coordinators) for _ in range(mesh.gateways)]
        self._envoy = Process(world, "envoy")
        self._clients = [Process(world, "client") for _ in range(mesh.caller_processes)]

    def run(self, warm_up_s: float, seconds: float) -> Simulated:
        """Warm up, then measure for `seconds`."""
        if self._mesh.rate_per_s > 0:
            self._environment.process(self._arrivals())
        else:
            for number in range(self._mesh.callers):
                self._environment.process(self._caller(number))
        self._environment.run(warm_up_s)
        before = self._counts()
        self._latencies_s.clear()
        self._environment.run(warm_up_s + seconds)
        after = self._counts()
        tasks, items, hedged = (after[name] - before[name] for name in ("tasks", "items", "hedged"))
        busy = {name: (after[name] - before[name]) / seconds for name in after if name not in ("tasks", "items")}
        busy.pop("hedged")
        slow, answered = (self._world.items_answered(slow_only=slow_only) for slow_only in (True, False))
        plans = len(self._latencies_s)
        if not plans:
            return Simulated(0.0, float("inf"), float("inf"), 0.0, 0.0, 0.0, busy, 0.0)
        p50_s, p95_s = np.percentile(np.array(self._latencies_s), (50, 95)).tolist()
        return Simulated(
            plans_per_second=plans / seconds,
            p50_ms=1e3 * p50_s,
            p95_ms=1e3 * p95_s,
            tasks_per_plan=tasks / plans,
            items_per_task=items / tasks if tasks else 0.0,
            hedged_share=hedged / items if items else 0.0,
            busy=busy,
            answered_by_slow=slow / answered if answered else 0.0,
        )

    def _counts(self) -> dict[str, float]:
        world = self._world
        kinds: dict[str, Iterable[Process]] = {
            "gateway": self._gateways,
            "coordinator": self._coordinators,
            "worker": [worker for shard in world.shards for worker in shard.workers],
            "redis": world.redis,
            "client": self._clients,
        }
        busy = {name: [process.loop.busy_s for process in processes] for name, processes in kinds.items()}
        means = {name: sum(all_s) / len(all_s) for name, all_s in busy.items() if all_s}
        counted = {"tasks": world.tasks, "items": world.items, "hedged": world.hedged}
        return {**means, "machine": world.machine.busy_s, **counted}

    def _caller(self, number: int) -> Steps:
        while True:
            yield from self._call(number)

    def _arrivals(self) -> Steps:
        number = 0
        while True:
            yield self._environment.timeout(self._world.draw.expovariate(self._mesh.rate_per_s))
            self._environment.process(self._call(number))
            number += 1

    def _call(self, number: int) -> Steps:
        """Make one call: from the caller through the balancer to a gateway and a coordinator, and back."""
        began_s = self._environment.now
        client = self._clients[number % len(self._clients)] if self._clients else None
        if client is not None:
            yield from client.spend(client.cost.plan_ms / 2)
        rest = self._costs.processes.get(REST)
        if rest is not None and rest.plan_ms > 0:
            self._environment.process(self._world.machine.run(rest.plan_ms / 1e3))
        yield from self._hop(self._envoy)
        number_of_gateway = self._least_request()
        gateway = self._gateways[number_of_gateway]
        self._calls_at[number_of_gateway] += 1
        yield from self._hop(gateway, new_call=True)
        yield from self._next(number_of_gateway).plan()
        yield from self._hop(gateway)
        self._calls_at[number_of_gateway] -= 1
        yield from self._hop(self._envoy)
        if client is not None:
            yield from client.spend(client.cost.plan_ms / 2)
        self._latencies_s.append(self._environment.now - began_s)

    def _hop(self, process: Process, *, new_call: bool = False) -> Steps:
        """Travel to a process that forwards the call, which spends half of its cost of a call."""
        if self._mesh.hop_s:
            yield self._environment.timeout(self._mesh.hop_s)
        yield from process.spend(process.cost.plan_ms / 2, new_call=new_call)

    def _least_request(self) -> int:
        """Choose a gateway as Envoy does: draw two, and take the one with fewer calls in progress."""
        draw = self._world.draw
        one, two = draw.randrange(self._mesh.gateways), draw.randrange(self._mesh.gateways)
        return one if self._calls_at[one] <= self._calls_at[two] else two

    def _next(self, gateway: int) -> Coordinator:
        """Choose a coordinator as gRPC's round robin does, separately for each gateway."""
        number = self._next_coordinator[gateway]
        self._next_coordinator[gateway] = (number + 1) % len(self._coordinators)
        return self._coordinators[number]
