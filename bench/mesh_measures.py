"""Measures of a mesh as a whole, with the machinery of `planmesh measure`."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from typing import Any

from bench.graphs import BenchGraph
from planmesh.client import AsyncClient, Plan
from planmesh.errors import NoPath
from planmesh.measure.closed_loop import run_closed_loop
from planmesh.measure.measurement import MeasureOptions
from planmesh.measure.measurement import measure as run_measurement
from planmesh.measure.statistics import Percentiles
from planmesh.rpc.status import code_of

PLAN_S_MAX = 60.0
RELATIVE_TOLERANCE = 1e-9


def throughput(address: str, graph: BenchGraph, pairs: list[list[int]], clients: int) -> dict[str, Any]:
    """Plans past the caches from many clients, and empty calls over the same two hops between them."""
    named = [(graph.node_id(start), graph.node_id(goal)) for start, goal in pairs]

    async def run() -> dict[str, Any]:
        async with AsyncClient(address) as client:
            options = MeasureOptions(
                "default", len(named), clients, pairs=named, bypass_cache=True, timeout_s=PLAN_S_MAX
            )
            measurement = await run_measurement(client, options, lambda _what, _share: None)
            return measurement.to_json()

    return asyncio.run(run())


def agents(
    address: str, graph: BenchGraph, pairs: list[list[int]], costs: list[float], count: int, plans: int
) -> dict[str, Any]:
    """`count` agents at once, each asking `plans` times; every answer's cost is compared with the reference's."""
    expected = {
        (graph.node_id(start), graph.node_id(goal)): cost for (start, goal), cost in zip(pairs, costs, strict=True)
    }
    asked = [list(expected)[number % len(expected)] for number in range(count * plans)]

    async def run() -> dict[str, Any]:
        async with AsyncClient(address) as client:

            async def ask(pair: tuple[str, str]) -> Plan:
                return await client.plan(*pair, bypass_cache=True, timeout_s=PLAN_S_MAX)

            outcomes = await run_closed_loop(ask, asked, count)
            await client.plan(*asked[0], timeout_s=PLAN_S_MAX)  # it still answers
        wrong = sum(
            not math.isclose(plan.cost, expected[pair], rel_tol=RELATIVE_TOLERANCE) for pair, plan in outcomes.answers
        )
        wrong += sum(isinstance(error, NoPath) for _, error in outcomes.errors)
        refused = [error for _, error in outcomes.errors if code_of(error).name == "RESOURCE_EXHAUSTED"]
        return {
            "agents": count,
            "calls": len(asked),
            "answered": len(outcomes.answers),
            "wrong": wrong,
            "errors": dict(Counter(code_of(error).name for _, error in outcomes.errors)),
            "refused_with_hint": sum(getattr(error, "retry_after_s", 0.0) > 0.0 for error in refused),
            "seconds": outcomes.seconds,
            "latency_ms": Percentiles.of(outcomes.latencies_ms).to_json(),
        }

    return asyncio.run(run())
