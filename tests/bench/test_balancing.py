"""The comparison of balancing policies: what Envoy is told, and what the page makes of segments of load."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import pytest

from bench.balancing import REPLICAS, SETTINGS, Policy, Round, policies
from bench.balancing_report import render
from bench.caller import GRAPH_HEADER, zipf_shares
from bench.local_stack import StackFailed, envoy_configuration, find_envoy
from bench.slowing import SLOW_SHARE

PORTS = (5001, 5002, 5003)
POLICIES = policies()


def rounds(setting: str) -> list[Round]:
    """Two segments of each policy, alike and slow; the later one is half as good."""
    made = []
    for number in (1, 2):
        for place, policy in enumerate(POLICIES):
            for slow in (False, True):
                rate = 100.0 * (place + 1) / number / (1 + slow)
                latency = {"p50": 1e3 / rate, "p95": 2e3 / rate, "p99": 4e3 / rate, "max": 9e3 / rate}
                made.append(Round(setting, policy.name, slow, rate, latency, 0.25, [100, 200, 300], {}))
    return made


def test_the_weighted_policy_knows_the_slow_replica_and_the_others_know_nothing() -> None:
    (weighted,) = [policy for policy in POLICIES if policy.weights]
    assert len(weighted.weights) == REPLICAS
    assert weighted.weights[0] / weighted.weights[1] == pytest.approx(1 - SLOW_SHARE)


def told(policy: Policy) -> dict[str, Any]:
    """What Envoy is configured with for a policy."""
    weights = dict(zip(PORTS, policy.weights or (1,) * REPLICAS, strict=True))
    return envoy_configuration(4000, 4001, weights, policy.cluster, GRAPH_HEADER if policy.by_graph else "")


def cluster_of(configuration: dict[str, Any], without: Iterable[str] = ()) -> dict[str, Any]:
    """The gateways', but for some fields."""
    cluster = configuration["static_resources"]["clusters"][0]
    return {name: value for name, value in cluster.items() if name not in without}


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_only_the_policy_differs_from_what_is_deployed(policy: Policy) -> None:
    changed = ("load_assignment", *policy.cluster)
    deployed = envoy_configuration(4000, 4001, dict.fromkeys(PORTS, 1), {})
    assert cluster_of(deployed)["lb_policy"] == "LEAST_REQUEST"
    assert cluster_of(told(policy))["lb_policy"] == policy.cluster["lb_policy"]
    assert cluster_of(told(policy), changed) == cluster_of(deployed, changed)
    assert (GRAPH_HEADER in json.dumps(told(policy))) is policy.by_graph


@pytest.fixture(scope="module")
def envoy() -> str:
    try:
        return find_envoy()
    except StackFailed as error:
        pytest.skip(str(error))


@pytest.mark.tools
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_envoy_takes_what_it_is_told(policy: Policy, envoy: str) -> None:
    checked = subprocess.run(
        [envoy, "--mode", "validate", "--config-yaml", json.dumps(told(policy))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_the_page_has_medians_and_what_they_are_to_round_robin() -> None:
    results = {
        "began": "2026-01-01",
        "machine": {"cores": "2", "processor": "one"},
        "setup": {
            **{"replicas": 3, "graphs": 6, "nodes": 2_000, "skew": 1.1, "distinct_pairs": 400, "in_flight": 24},
            **{"cache_entries": 800, "slow_share": 0.6, "seconds": 3},
        },
        "settings": {setting.name: setting.about for setting in SETTINGS},
        "rounds": [asdict(one) for one in rounds("deployed")],
    }
    page = render(results)
    assert "## Deployed" in page
    assert "## Apart" not in page  # nothing was measured of it
    assert "| round robin | 1.00 | 1.00 | 1.00 | 1.00 |" in page
    assert "| least in flight | 2.00 | 0.500 | 2.00 | 0.500 |" in page
    # Half-way between both segments; the slow replica is the first, 100 of 600 calls.
    assert "| round robin | alike | 75.0 |" in page
    assert "| 25% | 17% | 1.50 | 0 |" in page


def test_a_skewed_load_is_skewed() -> None:
    shares = zipf_shares(6, 1.1)
    assert sum(shares) == pytest.approx(1)
    assert shares == sorted(shares, reverse=True)
    assert shares[0] / shares[1] == pytest.approx(2**1.1)
