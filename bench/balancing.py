"""Compares methods of balancing calls over gateways under skewed traffic: `make bench-balancing`.

Three gateways and three coordinators run behind Envoy, which is configured as deployed except for its policy. Callers
request plans of several graphs by Zipf's law. One replica is stopped for part of every tenth of a second, like a
process
on a busy machine. The policies take turns on the same processes with the same calls.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.balancing_report import render
from bench.caller import GRAPH_HEADER, Caller, Load
from bench.graphs import ROOT
from bench.local_stack import Balancer, LocalStack, Scale, local_stack
from bench.machine import describe_machine
from bench.results import write_aside
from bench.scaling.measuring import service_edges
from bench.slowing import SLOW_SHARE, slowed

WORK: Final = ROOT / "build" / "bench" / "balancing"
PUBLISHED: Final = ROOT / "docs" / "benchmarks"

REPLICAS: Final = 3
GRAPHS: Final = 6
NODES: Final = 2_000
SKEW: Final = 1.1
"""Zipf's exponent of the graphs: the first of six gets 42 % of the calls."""

DISTINCT_PAIRS: Final = 400
"""Different pairs of each graph: few enough that answers are cached, too many for all to be cached at once."""

CACHE_ENTRIES: Final = 800
"""Answers that a coordinator caches: a third of all pairs, so that the choice of the coordinator matters."""

IN_FLIGHT: Final = 24


@dataclass(frozen=True, slots=True)
class Policy:
    """A balancing policy: fields of Envoy's cluster, weights of the replicas, and whether calls are hashed."""

    name: str
    cluster: Mapping[str, Any]
    weights: tuple[int, ...] = ()
    by_graph: bool = False


def policies() -> list[Policy]:
    """Return the policies to compare. The weighted one knows the slow replica and how slow it is."""
    knowing = (round(10 * (1 - SLOW_SHARE)), *([10] * (REPLICAS - 1)))
    return [
        Policy("round robin", {"lb_policy": "ROUND_ROBIN"}),
        Policy("least in flight", {"lb_policy": "LEAST_REQUEST"}),
        Policy("consistent hash by graph (ring)", {"lb_policy": "RING_HASH"}, by_graph=True),
        Policy("consistent hash by graph (Maglev)", {"lb_policy": "MAGLEV"}, by_graph=True),
        Policy(
            "consistent hash by graph, bounded load",
            {
                "lb_policy": "RING_HASH",
                "common_lb_config": {"consistent_hashing_lb_config": {"hash_balance_factor": 150}},
            },
            by_graph=True,
        ),
        Policy("weighted round robin", {"lb_policy": "ROUND_ROBIN"}, weights=knowing),
    ]


@dataclass(frozen=True, slots=True)
class Setting:
    """An arrangement of the processes behind the balancer."""

    name: str
    about: str
    pinned: bool
    environment: Mapping[str, str]


SETTINGS: Final = (
    Setting(
        "deployed",
        "As in docker-compose.yml: every gateway calls all coordinators in turn, and answers are shared through Redis. "
        "The slow replica is a gateway.",
        pinned=False,
        environment={},
    ),
    Setting(
        "apart",
        "Each gateway has a coordinator of its own, which does not share its answers: the case for consistent hashing. "
        "The slow replica is a gateway with its coordinator.",
        pinned=True,
        environment={
            "PLANMESH_COORDINATOR_SHARED_CACHE_TTL_S": "0",
            "PLANMESH_COORDINATOR_CACHE_ENTRIES": str(CACHE_ENTRIES),
        },
    ),
)


@dataclass(frozen=True, slots=True)
class Round:
    """One interval of traffic under one policy."""

    setting: str
    policy: str
    slow: bool
    plans_per_second: float
    latency_ms: dict[str, float]
    cached_share: float
    calls: list[int]
    """Calls that each replica got, the slow one first."""

    errors: dict[str, int]


@dataclass(slots=True)
class BalancingResults:
    """The results of a run."""

    began: str
    machine: dict[str, str]
    setup: dict[str, float]
    settings: dict[str, str]
    rounds: list[Round] = field(default_factory=list)


def main() -> None:
    """Run the comparison and write the report."""
    names = [setting.name for setting in SETTINGS]
    parser = argparse.ArgumentParser(prog="python -m bench.balancing", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each interval of traffic (default 3)")
    parser.add_argument("--rounds", type=int, default=2, help="intervals for each policy (default 2)")
    parser.add_argument("--settings", default=",".join(names), help=f"which (default {','.join(names)})")
    parser.add_argument("--publish", action="store_true", help="write into docs/benchmarks, not build/bench/balancing")
    options = parser.parse_args()
    chosen = options.settings.split(",")
    if not set(chosen) <= set(names):
        parser.error(f"expected settings among {', '.join(names)}; got {options.settings}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # exit through `finally`, to end processes
    folder = PUBLISHED if options.publish else WORK
    results = _begun(folder, chosen, options.seconds)
    for setting in SETTINGS:
        if setting.name in chosen:
            _measure_setting(setting, options.seconds, options.rounds, results)
            write_aside(folder / "balancing.json", json.dumps(asdict(results), indent=1) + "\n")
            write_aside(folder / "balancing.md", render(asdict(results)))
    _say(f"written: {folder / 'balancing.md'}")


def _begun(folder: Path, chosen: Sequence[str], seconds: float) -> BalancingResults:
    """Return new results with those of an earlier run for the settings that are not chosen now."""
    setup = {
        "replicas": REPLICAS,
        "graphs": GRAPHS,
        "nodes": NODES,
        "skew": SKEW,
        "distinct_pairs": DISTINCT_PAIRS,
        "cache_entries": CACHE_ENTRIES,
        "in_flight": IN_FLIGHT,
        "slow_share": SLOW_SHARE,
        "seconds": seconds,
    }
    about = {setting.name: setting.about for setting in SETTINGS}
    results = BalancingResults(time.strftime("%Y-%m-%d"), describe_machine(), setup, about)
    earlier = folder / "balancing.json"
    if earlier.exists():
        kept = json.loads(earlier.read_text("utf-8"))["rounds"]
        results.rounds = [Round(**one) for one in kept if one["setting"] not in chosen]
    return results


def _measure_setting(setting: Setting, seconds: float, rounds: int, results: BalancingResults) -> None:
    """Measure every policy in turn on one mesh, `rounds` times: with equal replicas, then with a slow one."""
    graphs = tuple(f"graph-{number}" for number in range(GRAPHS))
    scale = Scale(REPLICAS, REPLICAS, 1, shards=1)
    with local_stack(WORK / "mesh", scale, pinned=setting.pinned, environment=setting.environment) as mesh:
        _load_graphs(mesh, graphs)
        for number in range(rounds):
            load = Load(
                *(IN_FLIGHT, seconds, graphs, SKEW, DISTINCT_PAIRS), cached=True, channels=4, seed=number + 1
            )  # fmt: skip
            for policy in policies():
                header = GRAPH_HEADER if policy.by_graph else ""
                with mesh.balancer(policy.cluster, policy.weights, header) as balancer:
                    Caller(balancer.address, load).run()  # fills the caches as this policy does after a while
                    for slow in (False, True):
                        one = _round(mesh, setting, balancer, policy, load, slow=slow)
                        results.rounds.append(one)
                        label = f"{policy.name}{', one slow' if slow else ''}"
                        _say(f"{label}: {one.plans_per_second:,.0f} plans/s, {one.latency_ms}, {one.calls}")


def _round(
    mesh: LocalStack, setting: Setting, balancer: Balancer, policy: Policy, load: Load, *, slow: bool
) -> Round:  # fmt: skip
    caller = Caller(balancer.address, load)
    pids = [mesh.pids[process][0] for process in (("gateway", "coordinator") if setting.pinned else ("gateway",))]
    try:
        before = _calls(mesh, balancer)
        with slowed(pids) if slow else nullcontext():
            called = caller.run()
        after = _calls(mesh, balancer)
    finally:
        caller.close()
    return Round(
        setting.name,
        policy.name,
        slow,
        round(called.plans_per_second, 1),
        called.latency_ms,
        round(called.cached / called.plans, 4) if called.plans else 0.0,
        [after[port] - before[port] for port in before],
        called.errors,
    )


def _load_graphs(mesh: LocalStack, graphs: Sequence[str]) -> None:
    """Load the same nodes under several names. The graphs differ only in how often they are requested."""
    edges = service_edges(WORK, NODES, _say)
    known = {graph["name"] for graph in mesh.planmesh("status")["graphs"]}
    for graph in graphs:
        if graph not in known:
            mesh.planmesh("load", str(edges), "--nodes", str(edges.with_name("edges.nodes.tsv")), "--graph", graph)


def _calls(mesh: LocalStack, balancer: Balancer) -> dict[int, int]:
    """Return the number of calls that the balancer has sent to each gateway, in the order of their start."""
    with urllib.request.urlopen(f"http://127.0.0.1:{balancer.admin_port}/clusters?format=json", timeout=10) as answer:
        (cluster,) = [one for one in json.load(answer)["cluster_statuses"] if one["name"] == "gateway"]
    found = {}
    for host in cluster["host_statuses"]:
        counters = {one["name"]: int(one.get("value", 0)) for one in host["stats"]}
        found[host["address"]["socket_address"]["port_value"]] = counters["rq_total"]
    return {port: found[port] for port in mesh.gateway_ports}


def _say(text: str) -> None:
    print(f"balancing: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
