"""`docker compose up --scale` changes throughput as the simulation of docs/operations/scaling.md predicts.

Everything runs on one machine, whose cores the callers share, so more processes change little. Therefore each scale is
also measured with every container limited to a fraction of a core, as on a small machine of its own: there, throughput
grows with the replicas. The inputs of the simulation are processor times: those of each process under other loads, and
that of the caller's calls at each scale. It never gets a throughput that it is compared with.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from bench.caller import Called, Load
from bench.local_stack import Scale
from bench.scaling.costs import Costs, estimate
from bench.scaling.measuring import called_warm, idle_sample, measured_load
from bench.scaling.mesh_model import Mesh
from bench.scaling.simulation import simulate
from tests.compose.cluster import Cluster
from tests.compose.loaded import Loaded

pytestmark = pytest.mark.compose

SERVICES = {
    "envoy": ("envoy",),
    "gateway": ("gateway",),
    "coordinator": ("coordinator",),
    "redis": ("redis", "redis-1"),
    "worker": ("worker-0", "worker-1"),
}
LIMITED = ("gateway", "coordinator", "worker")
LIMIT_CORES = 0.2
LIMIT_PERIOD_S = 0.05
"""Short, so that a call does not wait long for its container's next period."""

IN_FLIGHT = 64
CALIBRATED = (1, 8, 64)
"""Calls in progress while processor time is measured; the compared loads have another number."""
MEASURE_S = 5.0
CALIBRATE_S = 4.0
APART_MAX = 0.25

AS_FILE = Scale(2, 2, 2)
MORE_WORKERS = Scale(1, 1, 2)
ONE = Scale(1, 1, 1)


@dataclass(frozen=True, slots=True)
class Found:
    """The measured throughput by scale, with and without limits, and the costs of a plan."""

    called: dict[tuple[Scale, bool], Called]
    costs: Costs

    def times_one(self, scale: Scale, *, limited: bool) -> float:
        """Return the throughput relative to that of one replica each."""
        return self.called[scale, limited].plans_per_second / self.called[ONE, limited].plans_per_second

    def predicted_times_one(self, scale: Scale, *, limited: bool) -> float:
        """Return the simulated throughput relative to that of one replica each."""
        return self._predicted(scale, limited=limited) / self._predicted(ONE, limited=limited)

    def _predicted(self, scale: Scale, *, limited: bool) -> float:
        mesh = Mesh(
            gateways=scale.gateways,
            coordinators=scale.coordinators,
            workers=scale.workers,
            cores=os.cpu_count() or 1,
            callers=IN_FLIGHT,
            limits=dict.fromkeys(LIMITED, LIMIT_CORES) if limited else {},
            limit_period_s=LIMIT_PERIOD_S,
        )
        return simulate(mesh, self.costs.slowed(self.slowed(scale, limited=limited))).plans_per_second

    def slowed(self, scale: Scale, *, limited: bool) -> float:
        """Return how much slower a core was than at one replica each, judged by the caller's constant work."""
        return self.called[scale, limited].call_ms / self.called[ONE, limited].call_ms


@pytest.fixture(scope="module")
def found(loaded: Loaded) -> Iterator[Found]:
    """Measure from the scale of the file down, because gateways notice removed coordinators at once."""
    running = loaded.cluster
    called: dict[tuple[Scale, bool], Called] = {}
    try:
        for scale in (AS_FILE, MORE_WORKERS, ONE):
            scale_to(running, scale)
            called[scale, False] = load(running)
            if scale != MORE_WORKERS:
                limit(running, LIMIT_CORES)
                called[scale, True] = load(running)
                limit(running, None)
        processes = {
            process: [pid for one in services for pid in running.pids(one)] for process, services in SERVICES.items()
        }
        idle = idle_sample(processes)
        loads = [measured_load(running.address, processes, Load(number, CALIBRATE_S), idle) for number in CALIBRATED]
        yield Found(called, estimate(loads))
    finally:  # other tests use the cluster too
        limit(running, None)
        scale_to(running, AS_FILE)


def load(running: Cluster) -> Called:
    """Call through the load balancer. Every call must be answered."""
    called = called_warm(running.address, Load(IN_FLIGHT, MEASURE_S))
    assert called.errors == {}
    return called


def scale_to(running: Cluster, scale: Scale) -> None:
    workers = [f"--scale=worker-{shard}={scale.workers}" for shard in (0, 1)]
    others = [f"--scale=gateway={scale.gateways}", f"--scale=coordinator={scale.coordinators}"]
    running.compose("up", "--detach", "--wait", "--no-recreate", *others, *workers)


def limit(running: Cluster, cores: float | None) -> None:
    """Limit each container of the limited processes; None removes the limit."""
    containers = [one for process in LIMITED for service in SERVICES[process] for one in running.containers(service)]
    period_us = round(LIMIT_PERIOD_S * 1e6)
    limits = [f"--cpu-period={period_us}", f"--cpu-quota={-1 if cores is None else round(cores * period_us)}"]
    subprocess.run(["docker", "update", *limits, *containers], check=True, capture_output=True)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("scale", "limited"),
    [(AS_FILE, False), (AS_FILE, True), (MORE_WORKERS, False)],
    ids=["2/2/2", "2/2/2 limited", "1/1/2"],
)
def test_throughput_changes_as_the_simulation_predicts(found: Found, scale: Scale, limited: bool) -> None:
    measured = found.times_one(scale, limited=limited)
    predicted = found.predicted_times_one(scale, limited=limited)
    print(f"{scale} over {ONE}: {measured:.2f} times, predicted {predicted:.2f}; {found}")
    assert abs(predicted / measured - 1) < APART_MAX, (measured, predicted, found)


@pytest.mark.timeout(900)
def test_replicas_with_their_own_processor_share_raise_throughput(found: Found) -> None:
    """Fails if neither measurement nor simulation ever changed, which the comparison above would not notice."""
    assert found.times_one(AS_FILE, limited=True) * found.slowed(AS_FILE, limited=True) > 1.4
