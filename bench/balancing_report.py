"""The page that compares balancing policies: ratios first, then every figure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, Final

from bench.statistics import shown

BASE: Final = "round robin"
"""The policy that the ratios refer to."""

SLOW_HEADS: Final = ("replicas alike", "one replica slow")


def render(results: dict[str, Any]) -> str:
    """Render the page."""
    setup = results["setup"]
    lines = [
        "# Balancing calls over replicas",
        "",
        f"A run of `make bench-balancing`, {results['began']}, on {results['machine']['cores']} cores "
        f"({results['machine']['processor']}), callers and mesh on the same machine. "
        f"{setup['replicas']:g} gateways and as many coordinators behind Envoy; only Envoy's policy changes; "
        f"{setup['in_flight']:g} calls in progress; {setup['graphs']:g} graphs of {setup['nodes']:,.0f} nodes, "
        f"requested by Zipf's law with exponent {setup['skew']:g} (the first gets {_first_share(setup):.0%} of the "
        f"calls), {setup['distinct_pairs']:g} different pairs of each. *Slow* is one replica whose processes are "
        f"stopped for {setup['slow_share']:.0%} of every 100 ms.",
        "",
    ]
    for setting, about in results["settings"].items():
        rounds = [one for one in results["rounds"] if one["setting"] == setting]
        if rounds:
            lines += [f"## {setting.capitalize()}", "", about, "", *_ratios(rounds), "", *_figures(rounds), ""]
    lines += [
        "## How it was measured",
        "",
        "The policies take turns on the same processes, each with an Envoy of its own. Before each, an interval of the "
        "same traffic fills the caches. Figures are medians of the intervals "
        f"({setup['seconds']:g} s each). *Cached* is the share of answers from a cache, *to the slow one* that "
        "replica's share of the calls (a third when all get as many), *imbalance* the busiest replica's calls over the "
        "mean. The weighted policy knows which replica is slow and how slow, which is unknown in practice.",
        "",
    ]
    return "\n".join(lines)


def _first_share(setup: dict[str, float]) -> float:
    weights = [rank ** -setup["skew"] for rank in range(1, int(setup["graphs"]) + 1)]
    return float(weights[0] / sum(weights))


def _of(rounds: Sequence[dict[str, Any]], policy: str, *, slow: bool) -> dict[str, float]:
    """Return the medians over a policy's intervals."""
    own = [one for one in rounds if one["policy"] == policy and one["slow"] is slow]
    calls = [one["calls"] for one in own]
    figures = {point: [one["latency_ms"][point] for one in own] for point in ("p50", "p95", "p99")}
    figures["rate"] = [one["plans_per_second"] for one in own]
    figures["cached"] = [one["cached_share"] for one in own]
    figures["first"] = [of[0] / sum(of) for of in calls]
    figures["imbalance"] = [max(of) / statistics.mean(of) for of in calls]
    figures["errors"] = [sum(one["errors"].values()) for one in own]
    return {name: statistics.median(values) for name, values in figures.items()}


def _ratios(rounds: Sequence[dict[str, Any]]) -> list[str]:
    """Render throughput and p99 relative to the base policy, with equal replicas and with a slow one."""
    lines = [
        f"Against {BASE} (throughput above 1 and p99 below 1 are better):",
        "",
        "| policy | throughput, replicas alike | p99 | throughput, one slow | p99 |",
        "| --- | --: | --: | --: | --: |",
    ]
    for policy in dict.fromkeys(one["policy"] for one in rounds):
        cells = []
        for slow in (False, True):
            own, base = _of(rounds, policy, slow=slow), _of(rounds, BASE, slow=slow)
            cells += [shown(own["rate"] / base["rate"]), shown(own["p99"] / base["p99"])]
        lines.append(f"| {policy} | {' | '.join(cells)} |")
    return lines


def _figures(rounds: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        "| policy | replicas | plans/s | p50 ms | p95 ms | p99 ms | cached | to the slow one | imbalance | errors |",
        "| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for slow, head in zip((False, True), SLOW_HEADS, strict=True):
        for policy in dict.fromkeys(one["policy"] for one in rounds):
            own = _of(rounds, policy, slow=slow)
            latencies = " | ".join(shown(own[point]) for point in ("p50", "p95", "p99"))
            lines.append(
                f"| {policy} | {head.removeprefix('replicas ')} | {shown(own['rate'])} | {latencies} | "
                f"{own['cached']:.0%} | {own['first']:.0%} | {own['imbalance']:.2f} | {own['errors']:g} |"
            )
    return lines
