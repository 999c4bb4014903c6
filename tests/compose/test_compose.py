"""The cluster of the compose file: it answers, and loses no more than moments when a process of it dies."""

from __future__ import annotations

import asyncio
import math
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from planmesh.client import PlanmeshClient
from planmesh.measure.check import Claim, ReferenceGraph
from planmesh.measure.measurement import export_reference
from tests.compose.cluster import ROOT, Cluster, cluster
from tests.compose.traffic import Seen, Traffic

pytestmark = pytest.mark.compose

BACKBONE = ROOT / "examples" / "backbone" / "backbone.json.gz"
CALLERS = 8
OUTAGE_S = 5.0
"""After a kill this long is allowed for failures; outside of it less than one call in a hundred may fail."""
STEADY_S = 6.0
FAILED_SHARE_MAX = 0.01


@dataclass(frozen=True, slots=True)
class Loaded:
    """A cluster that serves the backbone, and what it serves, to check plans with."""

    cluster: Cluster
    ids: tuple[str, ...]
    reference: ReferenceGraph

    def judge(self, seen: Seen) -> None:
        """Every plan is a cheapest path, and where none was found there is none."""
        claims = [claim for _, claim in seen.claims]
        claims += [Claim(*pair, math.inf, ()) for _, pair in seen.no_path]
        assert claims, seen.reasons()
        assert self.reference.check(claims, threads=2) == []


@pytest.fixture(scope="module")
def loaded() -> Iterator[Loaded]:
    with cluster() as running:
        running.planmesh("load", str(BACKBONE), "--strategy", "region", "--cost-column", "latency_ms")
        ids, reference = asyncio.run(_read(running.address))
        yield Loaded(running, ids, reference)


async def _read(address: str) -> tuple[tuple[str, ...], ReferenceGraph]:
    async with PlanmeshClient(address) as client:
        sample = await client.sample_nodes(10_000, seed=1)
        return sample.ids, await export_reference(client, "default", sample.version)


@pytest.mark.timeout(900)
def test_plans_through_the_load_balancer_are_cheapest_paths(loaded: Loaded) -> None:
    printed = loaded.cluster.planmesh("measure", "--queries", "500", "--check", "--no-cache")
    assert "0 mismatches" in printed
    assert "no errors" in printed


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "service", ["gateway", "coordinator", "worker-0", "worker-1", "builder", "partition", "redis", "envoy"]
)
def test_the_death_of_any_process_costs_moments(loaded: Loaded, service: str) -> None:
    with Traffic(loaded.cluster.address, loaded.ids, CALLERS) as traffic:
        time.sleep(STEADY_S)
        killed_s = time.monotonic()
        container = loaded.cluster.kill_one(service)
        loaded.cluster.wait_until_back(service, container)
        time.sleep(max(0.0, killed_s + OUTAGE_S - time.monotonic()) + STEADY_S)
    ended_s = time.monotonic()
    seen = traffic.seen
    loaded.judge(seen)
    for what, begin_s, end_s in (("before", 0.0, killed_s), ("after", killed_s + OUTAGE_S, ended_s)):
        calls, failed = seen.between(begin_s, end_s)
        assert calls > 100, f"{what} the kill of {service}: {calls} calls; {seen.reasons()}"
        assert failed < FAILED_SHARE_MAX * calls, f"{what} the kill of {service}: {failed} of {calls}: {seen.reasons()}"


@pytest.mark.timeout(900)
def test_a_rolling_restart_fails_no_plan(loaded: Loaded) -> None:
    with Traffic(loaded.cluster.address, loaded.ids, CALLERS) as traffic:
        time.sleep(2)
        for service in ("gateway", "coordinator", "worker-0", "worker-1", "builder", "partition"):
            for container in loaded.cluster.containers(service):
                subprocess.run(["docker", "restart", "--time", "25", container], check=True, capture_output=True)
                loaded.cluster.wait_until_back(service, container)
                time.sleep(2)
    loaded.judge(traffic.seen)
    assert traffic.seen.failures == [], traffic.seen.reasons()
