"""The compose file's cluster answers, and recovers within moments from the death of any of its processes."""

from __future__ import annotations

import subprocess
import time

import pytest

from planmesh.measure.traffic import Traffic
from tests.compose.loaded import Loaded

pytestmark = pytest.mark.compose

CALLERS = 8
OUTAGE_S = 5.0
"""Time after a kill in which failures are allowed. Outside of it, less than one call in a hundred may fail."""
STEADY_S = 4.0
FAILED_SHARE_MAX = 0.01


@pytest.mark.timeout(900)
def test_plans_through_the_load_balancer_are_cheapest_paths(loaded: Loaded) -> None:
    printed = loaded.cluster.planmesh("measure", "--queries", "500", "--check", "--no-cache")
    assert "0 mismatches" in printed
    assert "no errors" in printed


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "service", ["gateway", "coordinator", "worker-0", "worker-1", "builder", "partition", "redis", "redis-1", "envoy"]
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
