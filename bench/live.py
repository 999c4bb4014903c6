"""Measure a graph that changes while it is planned on, beside peers that take in the same changes.

python -m bench.live [--graphs service-1m] [--seconds 60] [--rate 100] [--zipf] [--no-peers] [--json]

It runs a mesh with a graph and measures, caller included: plans on the quiet graph, plans that avoid something and
plans with alternatives, the time from an acknowledgement to the first plan that has the change, a burst of 10,000
changes in one batch, and steady changes beside plans. Afterwards answers are compared with a plain search of the
changed graph. It writes docs/benchmarks/live.md and .json.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import orjson

from bench.graph_making import make_graph
from bench.graphs import PAIR_SEED, ROOT
from bench.live_changes import ChangedGraph, Edge
from bench.live_peers import peer_rows
from bench.live_report import Found, Row, report
from bench.machine import describe_machine
from bench.releases import NOW, mesh_of
from bench.results import write_aside
from bench.statistics import same_cost
from planmesh.client import AsyncClient, Plan
from planmesh.errors import NodeDown, NoPath, Overloaded, PlanmeshError
from planmesh.measure.closed_loop import Outcomes, run_closed_loop
from planmesh.measure.statistics import per_second

PAGE: Final = ROOT / "docs" / "benchmarks" / "live.md"
CALLERS: Final = 4
PLANS: Final = 400
"""Plans of a figure with one caller."""
VISIBLE: Final = 200
"""Updates whose way into plans is timed."""
BURST: Final = 10_000
AVOIDED_FEW: Final = 20
AVOIDED_MAX: Final = 10_000
ALTERNATIVES: Final = 5
HITS: Final = 10_000
HITS_MAX: Final = 1_000_000
REACHES: Final = 20
COST_MAX: Final = 1e6
"""The search for a cost with enough hits ends there."""
CHECKED_STARTS: Final = 8
CHECKED_GOALS: Final = 25
IN_FLIGHT_MAX: Final = 256
"""Updates of the steady stream without an answer."""
PLAN_S_MAX: Final = 60.0


class LiveMesh:
    """Measures one mesh. `changed` is the graph as the updates leave it."""

    def __init__(self, client: AsyncClient, changed: ChangedGraph) -> None:
        self._client = client
        self._changed = changed
        self._graph = changed.graph
        self._chance = random.Random(PAIR_SEED)
        self.version = 0

    async def plan(self, edge: Edge, **options: Any) -> Plan | None:
        """Ask for a plan between two nodes, without caches; None if there is no path or an end is down."""
        ends = self._graph.node_id(edge[0]), self._graph.node_id(edge[1])
        try:
            return await self._client.plan(*ends, bypass_cache=True, timeout_s=PLAN_S_MAX, **options)
        except (NoPath, NodeDown):
            return None

    async def plans(self, count: int, callers: int = 1, **options: Any) -> Outcomes[Edge, Plan | None]:
        """Ask for plans between random nodes. Raises the first error."""

        async def ask(pair: Edge) -> Plan | None:
            return await self.plan(pair, **options)

        found = await run_closed_loop(ask, self._changed.ends_up(count), callers)
        for _, error in found.errors:
            raise error
        return found

    async def p95_ms(self, count: int, **options: Any) -> float:
        """Return the 95th percentile of the latency of plans of one caller."""
        await self.plans(max(10, count // 10), **options)
        return float(np.percentile((await self.plans(count, **options)).latencies_ms, 95))

    async def options(self) -> AsyncIterator[Row]:
        """Measure plans that avoid something, and alternatives, on the quiet graph."""
        plain = await self.p95_ms(PLANS)
        nodes = self._graph.graph.node_count
        for count, reach in ((AVOIDED_FEW, 2.0), (min(nodes // 100, AVOIDED_MAX), 10.0)):
            drawn = self._chance.sample(range(nodes), count)
            self._changed.down.update(drawn)  # so that no pair is drawn among them
            avoided = [self._graph.node_id(node) for node in drawn]
            took = await self.p95_ms(PLANS // 2, avoid_nodes=avoided)
            self._changed.down.difference_update(drawn)
            yield Row(f"avoid {count:,} nodes, p95 ÷ plain", reach, took / plain, smaller=True, detail=_ms(took, plain))
        took = await self.p95_ms(PLANS // 20, alternatives=ALTERNATIVES)
        what = f"{ALTERNATIVES} alternatives, p95 ÷ plain"
        yield Row(what, 10.0, took / plain, smaller=True, detail=_ms(took, plain))

    async def reach(self) -> AsyncIterator[Row]:
        """Time a list of reachable nodes, and the blast radius of the node with the most edges into it."""
        graph = self._graph.graph
        node, cost, total = self._changed.ends_up(1)[0][0], 1.0, 0
        while total < min(HITS, graph.node_count // 4) and cost < COST_MAX:
            cost *= 1.25
            found = await self._client.reachable(
                self._graph.node_id(node), max_cost=cost, max_hits=HITS_MAX, counts_only=True, timeout_s=PLAN_S_MAX
            )
            total = found.total
        took = []
        for _ in range(REACHES):
            began_s = time.perf_counter()
            await self._client.reachable(
                self._graph.node_id(node), max_cost=cost, max_hits=HITS_MAX, timeout_s=PLAN_S_MAX
            )
            took.append(1e3 * (time.perf_counter() - began_s))
        yield Row(f"reach of {total:,} nodes", 200, float(np.median(took)), " ms", smaller=True)
        hub = int(np.argmax(np.bincount(graph.head, minlength=graph.node_count)))
        source = int(self._graph.tails()[np.flatnonzero(graph.head == hub)[0]])
        began_s = time.perf_counter()
        ids = [self._graph.node_id(hub)], [self._graph.node_id(source)]
        blast = await self._client.blast_radius(ids[0], sources=ids[1], max_hits=HITS_MAX, timeout_s=PLAN_S_MAX)
        took_s = time.perf_counter() - began_s
        detail = f"{blast.lost:,} lost"
        yield Row("blast radius of a hub, from one source", 1.0, took_s, " s", smaller=True, detail=detail)

    async def visibility(self) -> AsyncIterator[Row]:
        """Time updates until they are acknowledged, and from there until a new plan has them."""
        acknowledged_ms, visible_ms = [], []
        pair = self._changed.ends_up(1)[0]
        for number in range(VISIBLE + 1):
            began_s = time.perf_counter()
            answer = await self._client.update_graph([self._changed.change()], timeout_s=PLAN_S_MAX)
            known_s = time.perf_counter()
            asked_s = known_s
            while True:
                plan = await self.plan(pair, detail="cost")
                if plan is None:
                    pair = self._changed.ends_up(1)[0]
                elif plan.version >= answer.version:
                    break
                asked_s = time.perf_counter()
            self.version = answer.version
            if number == 0:
                first_s = asked_s - known_s
                yield Row("the first update, acknowledged → in every new plan", 200, 1e3 * first_s, " ms", smaller=True)
                continue
            acknowledged_ms.append(1e3 * (known_s - began_s))
            visible_ms.append(1e3 * (asked_s - known_s))
        detail = f"p50 {np.median(visible_ms):.1f} ms; acknowledged p50 {np.median(acknowledged_ms):.1f} ms"
        p99 = float(np.percentile(visible_ms, 99))
        yield Row("acknowledged → in every new plan, p99", 200, p99, " ms", smaller=True, detail=detail)

    async def burst(self) -> AsyncIterator[Row]:
        """Apply many changes in one batch beside plans."""
        async with self._plans_beside() as outcomes:
            began_s = time.perf_counter()
            batch = [self._changed.change() for _ in range(BURST)]
            drawn_s = time.perf_counter() - began_s
            answer = await self._client.update_graph(batch, timeout_s=300)
            took_s = time.perf_counter() - began_s - drawn_s
            self.version = answer.version
        detail = f"{outcomes.count:,} plans beside it, {len(outcomes.errors)} failed"
        yield Row(f"a batch of {BURST:,} changes, acknowledged", 5, took_s, " s", smaller=True, detail=detail)
        yield Row("plans that failed beside it", 0, len(outcomes.errors), smaller=True)

    async def steady(self, seconds: float, rate: float, quiet: Outcomes[Any, Any]) -> AsyncIterator[Row]:
        """Send changes at a steady rate beside plans."""
        refused = 0
        sent, applied = 0, 0
        places = asyncio.Semaphore(IN_FLIGHT_MAX)

        async def update() -> None:
            nonlocal refused, applied
            change = self._changed.change()
            try:
                answer = await self._client.update_graph([change], timeout_s=PLAN_S_MAX)
            except Overloaded:
                refused += 1
            else:
                applied += 1
                self.version = max(self.version, answer.version)
            finally:
                places.release()

        began_s = time.perf_counter()
        async with self._plans_beside() as outcomes, asyncio.TaskGroup() as group:
            while time.perf_counter() - began_s < seconds:
                await places.acquire()
                group.create_task(update())
                sent += 1
                await asyncio.sleep(max(0.0, began_s + sent / rate - time.perf_counter()))
        took_s = time.perf_counter() - began_s
        found = await self._client.graph()
        detail = f"{refused} refused; {found.unmerged_changes:,} unmerged at the end, base {found.base_version}"
        kind = "domains by Zipf 1.1" if self._changed.zipf else "uniform"
        what = f"mixed changes, {kind}, for {seconds:,.0f} s"
        yield Row(what, rate * 0.99, per_second(applied, took_s), "/s", detail=detail)
        p95s = [float(np.percentile(one.latencies_ms, 95)) for one in (outcomes, quiet)]
        yield Row("plan p95 meanwhile ÷ quiet", 2.0, p95s[0] / p95s[1], smaller=True, detail=_ms(*p95s))
        rates = [per_second(one.count, one.seconds) for one in (outcomes, quiet)]
        yield Row("plans/s meanwhile", 100, rates[0], detail=f"quiet {rates[1]:,.0f}; {len(outcomes.errors)} failed")

    async def check(self) -> tuple[int, int]:
        """Compare answers on the newest version with a plain search; return how many, and how many were wrong."""
        graph, wrong, checked = self._changed.today(), 0, 0
        for _ in range(CHECKED_STARTS):
            start = self._changed.ends_up(1)[0][0]
            expected = self._changed.distances(graph, start)
            for _, goal in self._changed.ends_up(CHECKED_GOALS):
                plan = await self.plan((start, goal), min_version=self.version)
                cost = float("inf") if plan is None else plan.cost
                checked += 1
                wrong += not same_cost(cost, float(expected[goal]))
        return checked, wrong

    @asynccontextmanager
    async def _plans_beside(self) -> AsyncIterator[Outcomes[Edge, Plan | None]]:
        """Plan with CALLERS callers until the block is left."""
        outcomes: Outcomes[Edge, Plan | None] = Outcomes()
        is_over = asyncio.Event()

        async def call() -> None:
            while not is_over.is_set():
                (pair,) = self._changed.ends_up(1)
                began_s = time.perf_counter()
                try:
                    outcomes.answers.append((pair, await self.plan(pair)))
                except PlanmeshError as error:
                    outcomes.errors.append((pair, error))
                outcomes.latencies_ms.append(1e3 * (time.perf_counter() - began_s))

        began_s = time.perf_counter()
        callers = [asyncio.create_task(call()) for _ in range(CALLERS)]
        try:
            yield outcomes
        finally:
            is_over.set()
            await asyncio.gather(*callers)
            outcomes.seconds = time.perf_counter() - began_s


async def _measure(address: str, changed: ChangedGraph, seconds: float, rate: float, found: Found) -> None:
    async with AsyncClient(address) as client:
        mesh = LiveMesh(client, changed)
        quiet = await mesh.plans(PLANS * CALLERS, CALLERS)
        for rows in (mesh.options(), mesh.reach(), mesh.visibility(), mesh.burst(), mesh.steady(seconds, rate, quiet)):
            async for row in rows:
                _say(f"{found.graph}: {row.text()}")
                found.rows.append(row)
        found.checked, found.wrong = await mesh.check()
        _say(f"{found.graph}: {found.checked} answers checked, {found.wrong} wrong")


def measure(name: str, options: argparse.Namespace) -> Found:
    """Measure a graph."""
    graph = make_graph(name)
    found = Found(name, graph.graph.node_count)
    _say(f"{name}: load it")
    with mesh_of(NOW, graph.source, graph.nodes_file) as mesh:
        changed = ChangedGraph(graph, PAIR_SEED, zipf=options.zipf)
        asyncio.run(_measure(mesh.address, changed, options.seconds, options.rate, found))
    if not options.no_peers:
        for row in peer_rows(graph):
            _say(f"{name}: {row.text()}")
            found.peers.append(row)
    return found


def _ms(took: float, plain: float) -> str:
    return f"{took:.1f} ms, {plain:.1f} ms"


def _say(text: str) -> None:
    print(f"live: {text}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the page or JSON, and write both."""
    parser = argparse.ArgumentParser(prog="python -m bench.live", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--graphs", default="service-1m", help="of bench.graphs, comma-separated (default service-1m)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of steady changes (default 60)")
    parser.add_argument("--rate", type=float, default=100.0, help="steady changes in a second (default 100)")
    parser.add_argument("--zipf", action="store_true", help="draw the domains of changes by Zipf 1.1, not uniformly")
    parser.add_argument("--no-peers", action="store_true", help="leave out the peers")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the page")
    options = parser.parse_args(arguments)
    began, machine = time.strftime("%Y-%m-%d"), describe_machine()
    graphs = [measure(name, options) for name in options.graphs.split(",")]
    record = {"began": began, "machine": machine, "graphs": [asdict(found) for found in graphs]}
    encoded = orjson.dumps(record, option=orjson.OPT_INDENT_2).decode() + "\n"
    page = report(graphs, machine, began)
    write_aside(PAGE.with_suffix(".json"), encoded)
    write_aside(PAGE, page)
    sys.stdout.write(encoded if options.json else page)
    if any(found.wrong for found in graphs):
        sys.exit("wrong answers: see above")


if __name__ == "__main__":
    main()
