"""Matrices through a real mesh: exact on every kind of graph, while versions change, and while a worker is killed."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import signal
from collections.abc import Iterator, Sequence

import pytest

from planmesh.client import AsyncClient, Client, Matrix, Strategy
from planmesh.errors import DeadlineExceeded, NodeUnknown, Unavailable
from tests.conftest import RunningMesh
from tests.mesh.own_mesh import OwnMesh, own_mesh
from tests.mesh.small_graph import SmallGraph, hub_heavy_graph, service_graph
from tests.mesh.test_exactness import random_graph

pytestmark = pytest.mark.mesh

COST_TOLERANCE = 1e-9


def check_matrix(graph: SmallGraph, matrix: Matrix, sources: Sequence[str], targets: Sequence[str]) -> None:
    """Check every cost against networkx."""
    assert (matrix.sources, matrix.targets) == (tuple(sources), tuple(targets))
    is_whole = all(cost.is_integer() for _, _, cost in graph.edges)
    assert len(matrix.rows) == len(sources)
    for source, row in zip(sources, matrix.rows, strict=True):
        costs = graph.costs_from(source)
        expected = [costs.get(target, math.inf) for target in targets]
        assert row.tolist() == (expected if is_whole else pytest.approx(expected, rel=COST_TOLERANCE, abs=0))


@pytest.mark.parametrize("seed", range(8))
def test_small_graphs_of_every_kind(client: Client, seed: int) -> None:
    graph = random_graph(seed)
    partitions = random.Random(seed).randint(1, 1 + len(graph.nodes) // 2)
    graph.load(client, "matrix", [Strategy.HASH, Strategy.MINCUT][seed % 2], partitions)
    check_matrix(graph, client.plan_matrix(graph.nodes, graph.nodes, graph="matrix"), graph.nodes, graph.nodes)


@pytest.mark.parametrize("kind", ["service", "hubs"])
def test_larger_graphs(client: Client, kind: str) -> None:
    graph = hub_heavy_graph(5) if kind == "hubs" else service_graph(5, domains=12, nodes_per_domain=80)
    graph.load(client, "matrix", Strategy.DOMAIN)
    chance = random.Random(7)
    sources, targets = chance.choices(graph.nodes, k=120), chance.choices(graph.nodes, k=150)
    check_matrix(graph, client.plan_matrix(sources, targets, graph="matrix"), sources, targets)


def test_an_unknown_node_and_a_short_deadline(client: Client) -> None:
    graph = service_graph(5, domains=4, nodes_per_domain=20)
    graph.load(client, "matrix", Strategy.DOMAIN)
    with pytest.raises(NodeUnknown, match="nowhere"):
        client.plan_matrix(graph.nodes[:3], ["nowhere"], graph="matrix")
    with pytest.raises(DeadlineExceeded):
        client.plan_matrix(graph.nodes, graph.nodes, graph="matrix", timeout_s=0.002)


async def test_a_caller_that_leaves_does_not_disturb_others(mesh: RunningMesh) -> None:
    graph = service_graph(6, domains=8, nodes_per_domain=80)
    async with AsyncClient(mesh.address, timeout_s=60) as client:
        await client.load(graph.batches(), graph="left", strategy=Strategy.DOMAIN, timeout_s=120)
        nodes = graph.nodes[:300]
        left = [asyncio.create_task(client.plan_matrix(nodes, nodes, graph="left")) for _ in range(4)]
        kept = asyncio.create_task(client.plan_matrix(nodes[:50], nodes, graph="left"))
        await asyncio.sleep(0)
        await client.plan(nodes[0], nodes[0], graph="left")
        for task in left:
            task.cancel()
        check_matrix(graph, await kept, nodes[:50], nodes)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnMesh]:
    """Run two shards with two workers each; a version is removed as soon as another is served."""
    eager = {"PLANMESH_PARTITION_VERSIONS_KEPT": "1", "PLANMESH_PARTITION_VERSION_GRACE_S": "0"}
    data = tmp_path_factory.mktemp("mesh") / "data"
    with own_mesh(data, "--workers", "4", "--shards", "2", environment=eager) as mesh:
        yield mesh


@pytest.mark.slow
async def test_matrices_while_versions_follow_each_other(own: OwnMesh) -> None:
    base = service_graph(seed=41, domains=8, nodes_per_domain=40)
    primes = [101.0, 103.0, 107.0, 109.0]
    versions = {
        number: base.with_costs(prime * random.Random(number).randint(1, 99) for _ in base.edges)
        for number, prime in enumerate(primes, 1)
    }
    nodes = base.nodes[::3]
    loaded, seen = asyncio.Event(), set()

    async def ask(client: AsyncClient) -> None:
        while not loaded.is_set():
            matrix = await client.plan_matrix(nodes, nodes, graph="reloaded")
            check_matrix(versions[matrix.version], matrix, nodes, nodes)
            seen.add(matrix.version)

    async with AsyncClient(own.address, timeout_s=60) as client:
        await client.load(versions[1].batches(), graph="reloaded", timeout_s=120)
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(ask(client))
            strategies = itertools.cycle([Strategy.DOMAIN, Strategy.MINCUT, Strategy.HASH])
            for number in range(2, len(versions) + 1):
                await client.load(
                    versions[number].batches(), graph="reloaded", strategy=next(strategies), timeout_s=120
                )
            matrix = await client.plan_matrix(nodes, nodes, graph="reloaded")
            assert matrix.version == len(versions)
            loaded.set()
    assert len(seen) > 1, seen


@pytest.mark.slow
async def test_a_worker_killed_in_the_middle_of_matrices(own: OwnMesh) -> None:
    graph = service_graph(seed=21, domains=16, nodes_per_domain=80)
    nodes = graph.nodes[::4]
    async with AsyncClient(own.address, timeout_s=60) as client:
        await client.load(graph.batches(), graph="killed", strategy=Strategy.DOMAIN, timeout_s=120)
        before = own.record("worker-0").pid
        asked = [asyncio.create_task(client.plan_matrix(nodes, nodes, graph="killed")) for _ in range(6)]
        await asked[0]
        own.signal(signal.SIGKILL, "worker-0")
        exact = 0
        for task in asked:
            try:
                matrix = await task
            except (Unavailable, DeadlineExceeded):
                continue
            check_matrix(graph, matrix, nodes, nodes)
            exact += 1
        assert exact == len(asked), "the shard's other worker gets the work that the killed one had taken"
    own.wait_for_another("worker-0", before)
