"""Version after version while plans run: each plan is of one version, exact on it, and none fails."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from planmesh.client import AsyncClient, Client, NodeRows, Strategy
from tests.mesh.own_mesh import OwnMesh, own_mesh
from tests.mesh.small_graph import SmallGraph, cheapest_costs, random_pairs, service_graph

pytestmark = [pytest.mark.mesh, pytest.mark.slow]

PRIMES = [101.0, 103.0, 107.0, 109.0, 113.0, 127.0]
"""Every cost of version v is a multiple of the v-th, by a factor below all of them: no cost is of two versions."""

BASE = service_graph(seed=41, domains=8, nodes_per_domain=40)
STRATEGIES = itertools.cycle([Strategy.DOMAIN, Strategy.MINCUT, Strategy.HASH])
ASKERS = 12
PLANS_A_VERSION = 60
"""Plans that are answered at least, between two loads."""


def version(number: int) -> SmallGraph:
    """The graph of version `number`: other costs, so other paths, all multiples of its prime."""
    chance = random.Random(number)
    prime = PRIMES[number - 1]
    return BASE.with_costs(prime * chance.randint(1, 99) for _ in BASE.edges)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnMesh]:
    """A mesh that removes a version as soon as another is served, so that plans lose theirs on their way."""
    eager = {"PLANMESH_PARTITION_VERSIONS_KEPT": "1", "PLANMESH_PARTITION_VERSION_GRACE_S": "0"}
    data = tmp_path_factory.mktemp("mesh") / "data"
    with own_mesh(data, "--workers", "2", "--shards", "2", environment=eager) as mesh:
        yield mesh


@pytest.mark.parametrize("bypass_cache", [True, False], ids=["searched", "cached"])
async def test_plans_while_versions_follow_each_other(own: OwnMesh, bypass_cache: bool) -> None:
    graph = f"reloaded-{'searched' if bypass_cache else 'cached'}"
    versions = {number: version(number) for number in range(1, len(PRIMES) + 1)}
    pairs = random_pairs(BASE, 40, seed=42, starts=10)
    pairs = [pair for pair, cost in zip(pairs, cheapest_costs(BASE, pairs), strict=True) if math.isfinite(cost)]
    costs = {number: dict(zip(pairs, cheapest_costs(one, pairs), strict=True)) for number, one in versions.items()}
    answered: Counter[int] = Counter()
    loaded = asyncio.Event()

    async def ask(client: AsyncClient, seed: int) -> None:
        chance = random.Random(seed)
        newest = 0
        while not loaded.is_set():
            pair = chance.choice(pairs)
            plan = await client.plan(*pair, graph=graph, bypass_cache=bypass_cache)
            assert all(step.cost % PRIMES[plan.version - 1] == 0 for step in plan.steps), plan
            versions[plan.version].check_plan(plan, costs[plan.version][pair])
            assert plan.version >= newest, "a version that was replaced came back"
            newest = plan.version
            answered[plan.version] += 1

    async def load(client: AsyncClient) -> None:
        try:
            for number in range(2, len(PRIMES) + 1):
                answered_before = answered.total()
                while answered.total() < answered_before + PLANS_A_VERSION:
                    await asyncio.sleep(0.01)
                strategy = next(STRATEGIES)
                report = await client.load(versions[number].batches(), graph=graph, strategy=strategy, timeout_s=120)
                assert (report.version, list(report.warnings)) == (number, [])
                plan = await client.plan(*pairs[0], graph=graph)
                assert plan.version == number, "a load returns when plans are answered on its version"
        finally:
            loaded.set()

    async with AsyncClient(own.address, timeout_s=30) as client:
        await client.load(versions[1].batches(), graph=graph, timeout_s=120)
        async with asyncio.TaskGroup() as group:
            for seed in range(ASKERS):
                group.create_task(ask(client, seed))
            group.create_task(load(client))
    assert len(answered) >= len(PRIMES) - 1, answered


async def test_neighbours_and_batches_while_versions_follow_each_other(own: OwnMesh) -> None:
    versions = {number: version(number) for number in range(1, 5)}
    pairs = random_pairs(BASE, 30, seed=43, starts=6)
    costs = {number: cheapest_costs(one, pairs) for number, one in versions.items()}
    loaded = asyncio.Event()

    async def ask_for_neighbors(client: AsyncClient) -> None:
        while not loaded.is_set():
            answer = await client.neighbors(BASE.nodes[7], depth=3, graph="around")
            versions[answer.version].check_neighbors(answer, 3, "out")

    async def ask_for_batches(client: AsyncClient) -> None:
        while not loaded.is_set():
            async for answer in client.plan_many(pairs, graph="around", bypass_cache=True):
                if answer.plan is not None:
                    number = answer.plan.version
                    versions[number].check_plan(answer.plan, costs[number][answer.index])
                else:
                    assert math.isinf(costs[1][answer.index]), answer.error

    async def load(client: AsyncClient) -> None:
        try:
            for one in list(versions.values())[1:]:
                await client.load(one.batches(), graph="around", strategy=next(STRATEGIES), timeout_s=120)
        finally:
            loaded.set()

    async with AsyncClient(own.address, timeout_s=30) as client:
        await client.load(versions[1].batches(), graph="around", timeout_s=120)
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(ask_for_neighbors(client))
                group.create_task(ask_for_batches(client))
            group.create_task(load(client))


async def test_two_graphs_side_by_side(own: OwnMesh) -> None:
    """The same nodes at other costs under two names, loaded and asked at the same time."""
    graphs = {"one": version(1), "two": version(2)}
    pairs = random_pairs(BASE, 50, seed=44, starts=8)
    async with AsyncClient(own.address, timeout_s=30) as client:
        await asyncio.gather(
            *(client.load(one.batches(), graph=name, timeout_s=120) for name, one in graphs.items()),
        )
        for name, one in graphs.items():
            costs = cheapest_costs(one, pairs)
            async for answer in client.plan_many(pairs, graph=name):
                if answer.plan is not None:
                    one.check_plan(answer.plan, costs[answer.index])
                    assert answer.plan.graph == name
                else:
                    assert math.isinf(costs[answer.index])
        await client.unload(graph="one")
        plan = next(
            pair for pair, cost in zip(pairs, cheapest_costs(graphs["two"], pairs), strict=True) if cost < math.inf
        )
        graphs["two"].check_plan(await client.plan(*plan, graph="two", bypass_cache=True))


def test_a_load_that_is_given_up_leaves_what_was_served(own: OwnMesh) -> None:
    with Client(own.address, timeout_s=30) as client:
        first = version(1).load(client, "given-up")

        def endless() -> Iterator[NodeRows]:
            for number in itertools.count():
                yield NodeRows([f"{number}.{row}" for row in range(1_000)])
                if number == 5:
                    raise KeyError("the caller's file cannot be read on")

        with pytest.raises(KeyError):
            client.load(endless(), graph="given-up", timeout_s=60)
        start, goal = BASE.nodes[0], next(node for node in BASE.costs_from(BASE.nodes[0]) if node != BASE.nodes[0])
        plan = client.plan(start, goal, graph="given-up")
        version(1).check_plan(plan)
        assert plan.version == first.version
        assert version(2).load(client, "given-up").version > first.version, "the graph can be loaded again"
