"""Measure plans/s and what a plan costs, beside the commit before plans were computed in batches, in one run.

python -m bench.throughput [--graphs service-1m,roads-1m] [--rounds 3] [--seconds 6] [--json]

Both meshes run at the same time, and are measured in turns, caller included: 64 callers and one, of plans without
caches and of empty calls over the same two hops (the floor), then `PlanMany` of 5,000 pairs. Then it measures a matrix
and searches in one process beside routingkit-cch, and computes what the measured costs mean for growth. It writes
docs/benchmarks/throughput.md and .json.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import orjson

from bench.graph_making import make_graph
from bench.graphs import NEW_YORK, PAIR_SEED, ROADS, ROOT, BenchGraph, kind_of
from bench.machine import describe_machine
from bench.processor_time import sample
from bench.releases import NOW, RunningMesh, earlier, mesh_of
from bench.results import write_aside
from bench.throughput_peers import peer_rows
from bench.throughput_report import BEFORE, Found, Round, report
from planmesh.client import AsyncClient, Plan
from planmesh.errors import NoPath
from planmesh.measure.closed_loop import Outcomes, run_closed_loop
from planmesh.measure.statistics import per_second

PAGE: Final = ROOT / "docs" / "benchmarks" / "throughput.md"
CALLERS: Final = 64
PAIRS_TOGETHER: Final = 5_000
GRAPHS: Final = f"service-1m,{ROADS}-1m"
TURNS: Final = 4
"""Turns of plans and of empty calls in a round."""
PLAN_S_MAX: Final = 60.0

Pairs = list[tuple[str, str]]


class Subject:
    """A mesh that is measured, and the pairs that it is asked."""

    def __init__(self, mesh: RunningMesh, client: AsyncClient, pairs: Pairs) -> None:
        self._mesh = mesh
        self._client = client
        self._pairs = pairs
        self._asked = 0

    def next_pairs(self, count: int) -> Pairs:
        """Return the next pairs, from the first again after the last."""
        first, self._asked = self._asked, self._asked + count
        return [self._pairs[number % len(self._pairs)] for number in range(first, first + count)]

    async def plans(self, count: int, callers: int) -> Outcomes[Any, Any]:
        """Ask for plans without caches. Raises the first error that is not "no path"."""

        async def ask(pair: tuple[str, str]) -> Plan:
            return await self._client.plan(*pair, bypass_cache=True, timeout_s=PLAN_S_MAX)

        found = await run_closed_loop(ask, self.next_pairs(count), callers)
        for _, error in found.errors:
            if not isinstance(error, NoPath):
                raise error
        return found

    async def pings(self, count: int, callers: int) -> Outcomes[Any, Any]:
        """Make empty calls over the two hops of a plan."""

        async def ping(_: None) -> None:
            await self._client.ping(timeout_s=PLAN_S_MAX)

        return await run_closed_loop(ping, [None] * count, callers)

    async def beside_floor(self, seconds: float, callers: int) -> tuple[Outcomes[Any, Any], Outcomes[Any, Any]]:
        """Measure plans and empty calls in turns, each for about `seconds`."""
        warm, warm_floor = await self.plans(4 * callers, callers), await self.pings(4 * callers, callers)
        plans, floor = Outcomes[Any, Any](), Outcomes[Any, Any]()
        for _ in range(TURNS):
            for all_found, rate, call in (
                (floor, per_second(warm_floor.count, warm_floor.seconds), self.pings),
                (plans, per_second(warm.count, warm.seconds), self.plans),
            ):
                all_found.extend(await call(max(callers, round(rate * seconds / TURNS)), callers))
        return plans, floor

    async def many(self, detail: str) -> float:
        """Ask for a PlanMany, and return the pairs answered in a second."""
        pairs = self.next_pairs(PAIRS_TOGETHER)
        begun_s, count = time.perf_counter(), 0
        async for answer in self._client.plan_many(pairs, detail=detail, bypass_cache=True, timeout_s=PLAN_S_MAX):
            count += 1
            if answer.error is not None and not isinstance(answer.error, NoPath):
                raise answer.error
        assert count == len(pairs), f"{count} of {len(pairs)} pairs were answered"
        return per_second(count, time.perf_counter() - begun_s)

    def processor_s(self) -> dict[str, float]:
        """Return the processor time so far of the mesh's processes, by kind."""
        return {kind: used.all_s for kind, used in sample(self._mesh.pids).processes.items()}

    async def round(self, seconds: float) -> Round:
        """Measure everything once."""
        plans, floor = await self.beside_floor(seconds, CALLERS)
        before = self.processor_s()
        counted = await self.plans(round(per_second(plans.count, plans.seconds) * seconds / TURNS), CALLERS)
        after = self.processor_s()
        alone, alone_floor = await self.beside_floor(seconds / TURNS, 1)
        await self.many("steps")
        before_many = self.processor_s()
        many = await self.many("steps")
        many_s = sum(self.processor_s().values()) - sum(before_many.values())
        return Round(
            plans_per_second=per_second(plans.count, plans.seconds),
            floor_per_second=per_second(floor.count, floor.seconds),
            alone_p50_ms=statistics.median(alone.latencies_ms),
            alone_floor_p50_ms=statistics.median(alone_floor.latencies_ms),
            many_per_second=many,
            many_costs_per_second=await self.many("cost") if self._mesh.release is NOW else None,
            many_processor_ms=1e3 * many_s / PAIRS_TOGETHER,
            processor_ms={kind: 1e3 * (after[kind] - before[kind]) / counted.count for kind in after},
        )


def measure(name: str, rounds: int, seconds: float) -> Found:
    """Measure a graph on both releases, in turns whose order alternates."""
    graph = make_graph(name)
    with ExitStack() as stack:
        releases = (earlier(BEFORE, _say), NOW)
        meshes = []
        for release in releases:
            _say(f"{name}: load it ({release.name})")
            meshes.append(stack.enter_context(mesh_of(release, graph.source, graph.nodes_file)))
        found = Found(name, graph.graph.node_count, {release.name: [] for release in releases})
        for number in range(rounds):
            for mesh in meshes if number % 2 else meshes[::-1]:
                one = asyncio.run(_round(mesh, _pairs_of(graph), seconds))
                found.rounds[mesh.release.name].append(one)
                _say(
                    f"{name}, round {number + 1} of {rounds}, {mesh.release.name}: {one.plans_per_second:,.0f} plans/s"
                )
    return found


async def _round(mesh: RunningMesh, pairs: Pairs, seconds: float) -> Round:
    async with AsyncClient(mesh.address) as client:
        return await Subject(mesh, client, pairs).round(seconds)


def _pairs_of(graph: BenchGraph) -> Pairs:
    ends = np.random.default_rng(PAIR_SEED).integers(0, graph.graph.node_count, (2 * PAIRS_TOGETHER, 2))
    return [(graph.node_id(start), graph.node_id(goal)) for start, goal in ends.tolist()]


def _say(text: str) -> None:
    print(f"throughput: {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print the page or JSON, and write both."""
    parser = argparse.ArgumentParser(prog="python -m bench.throughput", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--graphs", default=GRAPHS, help=f"of bench.graphs, comma-separated (default {GRAPHS})")
    parser.add_argument("--rounds", type=int, default=3, help="of each graph and release (default 3)")
    parser.add_argument("--seconds", type=float, default=6.0, help="of a measurement with 64 callers (default 6)")
    parser.add_argument("--no-peers", action="store_true", help="leave out the matrix, the peer, growth and the price")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the page")
    options = parser.parse_args()
    began, machine = time.strftime("%Y-%m-%d"), describe_machine()
    names = options.graphs.split(",")
    graphs = [measure(name, options.rounds, options.seconds) for name in names]
    roads = next((name for name in names if kind_of(name) == ROADS), NEW_YORK)
    peers = [] if options.no_peers else list(peer_rows(roads, _say))
    record = {"began": began, "before": BEFORE, "machine": machine, "graphs": [asdict(found) for found in graphs]}
    record["peers"] = [asdict(row) for row in peers]
    encoded, page = (
        orjson.dumps(record, option=orjson.OPT_INDENT_2).decode() + "\n",
        report(graphs, peers, machine, began),
    )
    write_aside(PAGE.with_suffix(".json"), encoded)
    write_aside(PAGE, page)
    sys.stdout.write(encoded if options.json else page)


if __name__ == "__main__":
    main()
