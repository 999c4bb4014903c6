"""Graphs of several kinds asked for at once, in batches and alone, while new versions of them are loaded.

A batch belongs to one graph and one version, but the questions of all callers arrive interleaved at one coordinator.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from scipy.sparse.csgraph import dijkstra

from planmesh.client import AsyncClient, Detail, Plan, Strategy
from planmesh.errors import NodeUnknown, NoPath, PlanmeshError
from planmesh.graph.model import Float64Array
from tests.exactness.batches import draw_size
from tests.exactness.larger_graphs import grid, lattice, roads, services
from tests.mesh.own_mesh import OwnMesh, own_mesh
from tests.mesh.small_graph import COST_TOLERANCE, SmallGraph

pytestmark = [pytest.mark.mesh, pytest.mark.slow]

NODES = 300
FAMILIES = {"services": services, "grid": grid, "lattice": lattice, "roads": roads}
PRIMES = [101, 103, 107, 109, 113]
"""Each cost of version v is a multiple of the v-th prime, with a smaller factor: no cost above 0 is in two versions."""

BATCH_CALLERS, SINGLE_CALLERS = 6, 24
PLANS_A_VERSION = 400
"""Least number of answered plans between two loads."""

UNKNOWN = "nowhere"
STRATEGIES = itertools.cycle([Strategy.DOMAIN, Strategy.MINCUT, Strategy.HASH])


@dataclass(frozen=True)
class Version:
    """A graph to load, and the distances float64[n, n] between its nodes by position."""

    prime: int
    graph: SmallGraph
    distances: Float64Array


def versions_of(family: str) -> list[Version]:
    """Return versions of one graph: the same edges, with costs of their own."""
    chance = random.Random(family)
    count, edges, partition_of = FAMILIES[family](chance, NODES)
    domains = {f"{family}-{node}": f"d{partition_of[node]}" for node in range(count)}
    names = list(domains)
    made = []
    for prime in PRIMES:
        factors = (0 if cost == 0 else 1 if family == "lattice" else chance.randint(1, 99) for _, _, cost in edges)
        rows = [
            (names[tail], names[head], float(prime * factor))
            for (tail, head, _), factor in zip(edges, factors, strict=True)
        ]
        graph = SmallGraph(domains, rows)
        made.append(Version(prime, graph, distances(graph)))
    return made


def distances(graph: SmallGraph) -> Float64Array:
    """Return SciPy's distances. From some nodes they must equal those of networkx."""
    # An edge of cost 0 would be no edge in a sparse matrix: a cost that no sum of others rounds to takes its place.
    tiny = 2.0**-30
    free = nx.DiGraph()
    free.add_nodes_from(graph.nodes)
    free.add_weighted_edges_from((tail, head, cost or tiny) for tail, head, cost in graph.reference.edges(data="cost"))
    found: Float64Array = np.floor(dijkstra(nx.to_scipy_sparse_array(free, graph.nodes)) + 0.5)
    for start in range(0, len(graph.nodes), 29):
        known = graph.costs_from(graph.nodes[start])
        assert [known.get(node, math.inf) for node in graph.nodes] == found[start].tolist()
    return found


class Asker:
    """Asks for plans of all graphs, and checks each answer on the version that it names."""

    def __init__(self, client: AsyncClient, graphs: dict[str, list[Version]]) -> None:
        self._client = client
        self._graphs = graphs
        self.loaded = asyncio.Event()
        self.plans: Counter[tuple[str, int]] = Counter()
        """Checked plans by graph and version."""
        self.seen: Counter[str] = Counter()

    def draw(self, chance: random.Random) -> tuple[str, str]:
        """Return a graph, and a detail."""
        return chance.choice(list(self._graphs)), chance.choice(list(Detail))

    def draw_pair(self, chance: random.Random, graph: str) -> tuple[str, str]:
        nodes = self._graphs[graph][0].graph.nodes
        start = chance.choice(nodes)
        kind = chance.random()
        return start, start if kind < 0.05 else UNKNOWN if kind < 0.1 else chance.choice(nodes)

    async def ask_batches(self, seed: int) -> None:
        chance = random.Random(seed)
        while not self.loaded.is_set():
            graph, detail = self.draw(chance)
            size = draw_size(chance)
            pairs = [self.draw_pair(chance, graph) for _ in range(size)]
            pairs[size // 2 :] = chance.choices(pairs, k=size - size // 2)  # some of them twice
            answered = set()
            async for answer in self._client.plan_many(
                pairs, graph=graph, detail=detail, bypass_cache=chance.random() < 0.7
            ):
                answered.add(answer.index)
                self.check(graph, pairs[answer.index], answer.plan, answer.error)
            assert answered == set(range(size))
            self.seen["a batch of one" if size == 1 else "a batch"] += 1
            self.seen["a batch of several groups"] += size > 64

    async def ask_plans(self, seed: int) -> None:
        chance = random.Random(seed)
        newest: Counter[str] = Counter()
        while not self.loaded.is_set():
            graph, detail = self.draw(chance)
            pair = self.draw_pair(chance, graph)
            try:
                plan = await self._client.plan(*pair, graph=graph, detail=detail, bypass_cache=chance.random() < 0.7)
            except (NoPath, NodeUnknown) as error:
                self.check(graph, pair, None, error)
                continue
            self.check(graph, pair, plan, None)
            assert plan.version >= newest[graph], "a version that was replaced came back"
            newest[graph] = plan.version

    def check(self, graph: str, pair: tuple[str, str], plan: Plan | None, error: PlanmeshError | None) -> None:
        versions = self._graphs[graph]
        nodes = versions[0].graph.nodes
        if UNKNOWN in pair:
            assert isinstance(error, NodeUnknown), (pair, plan, error)
            self.seen["an unknown node"] += 1
            return
        start, goal = (int(name.removeprefix(f"{graph}-")) for name in pair)
        assert (nodes[start], nodes[goal]) == pair
        if plan is None:
            assert isinstance(error, NoPath), (graph, pair, error)
            assert math.isinf(versions[0].distances[start, goal]), (graph, pair)
            self.seen["no path"] += 1
            return
        version = versions[plan.version - 1]
        assert (plan.graph, plan.start, plan.goal) == (graph, *pair)
        expected = float(version.distances[start, goal])
        if plan.detail is Detail.COST:
            assert plan.cost == expected, (plan, expected)
        else:
            version.graph.check_plan(plan, expected)
            assert all(cost % version.prime == 0 for cost in plan.step_costs), "costs of another version"
        assert math.isclose(plan.cost, expected, rel_tol=COST_TOLERANCE)
        self.plans[graph, plan.version] += 1
        self.seen[f"detail {plan.detail}"] += 1
        self.seen["equal ends"] += start == goal

    async def load(self, graph: str, number: int) -> None:
        """Load a version, by the next strategy."""
        made = self._graphs[graph][number - 1].graph
        report = await self._client.load(made.batches(), graph=graph, strategy=next(STRATEGIES), timeout_s=120)
        assert (report.version, list(report.warnings)) == (number, [])


@pytest.fixture
def own(tmp_path: Path) -> Iterator[OwnMesh]:
    """Run a mesh that removes a version as soon as another is served, so that batches lose theirs while they run."""
    eager = {"PLANMESH_PARTITION_VERSIONS_KEPT": "1", "PLANMESH_PARTITION_VERSION_GRACE_S": "0"}
    with own_mesh(tmp_path / "data", "--workers", "2", "--shards", "2", environment=eager) as mesh:
        yield mesh


@pytest.mark.parametrize("versions", [2, pytest.param(len(PRIMES), marks=pytest.mark.long)])
async def test_graphs_and_versions_are_never_mixed(own: OwnMesh, versions: int) -> None:
    graphs = {family: versions_of(family) for family in FAMILIES}
    async with AsyncClient(own.address, timeout_s=60) as client:
        asker = Asker(client, graphs)

        async def load_versions() -> None:
            try:
                for number in range(2, versions + 1):
                    for graph in graphs:
                        before = asker.plans.total()
                        while asker.plans.total() < before + PLANS_A_VERSION:
                            await asyncio.sleep(0.01)
                        await asker.load(graph, number)
                while min(asker.plans[graph, versions] for graph in graphs) < 10:
                    await asyncio.sleep(0.01)
            finally:
                asker.loaded.set()

        for graph in graphs:
            await asker.load(graph, 1)
        async with asyncio.TaskGroup() as group:
            for seed in range(BATCH_CALLERS):
                group.create_task(asker.ask_batches(seed))
            for seed in range(SINGLE_CALLERS):
                group.create_task(asker.ask_plans(1_000 + seed))
            group.create_task(load_versions())
    assert set(asker.plans) == set(itertools.product(graphs, range(1, versions + 1))), asker.plans
    kinds = ["a batch", "a batch of one", "a batch of several groups", "an unknown node", "no path", "equal ends"]
    assert all(asker.seen[kind] for kind in [*kinds, *(f"detail {detail}" for detail in Detail)]), asker.seen
