"""A mesh with two Redis servers for two shards: SIGKILL of one leaves the plans of the other's shard."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from planmesh.client import Client
from planmesh.dispatch.queues import WORKERS_KEY, shard_of
from planmesh.errors import Unavailable
from tests.conftest import RedisServer
from tests.mesh.own_mesh import OwnMesh, own_mesh
from tests.mesh.polling import eventually
from tests.mesh.small_graph import random_pairs, service_graph

pytestmark = [pytest.mark.mesh, pytest.mark.slow]

GRAPH = service_graph(seed=11, domains=6, nodes_per_domain=30)
PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    running = [RedisServer(tmp_path_factory.mktemp(f"redis-{number}")) for number in range(2)]
    for server in running:
        server.start()
    yield running
    for server in running:
        server.kill()


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, servers: list[RedisServer]) -> Iterator[OwnMesh]:
    urls = ",".join(server.url for server in servers)
    with own_mesh(tmp_path_factory.mktemp("mesh") / "data", "--workers", "2", "--shards", "2", "--redis", urls) as mesh:
        with Client(mesh.address) as client:
            GRAPH.load(client, "default")
        yield mesh


def pairs_by_shard(client: Client) -> dict[int, list[tuple[str, str, float]]]:
    """Return pairs whose ends lie in partitions of one shard, with their reference costs."""
    names = [partition.name for partition in client.partitions()]
    shard = {name: shard_of(number, len(names), 2) for number, name in enumerate(names)}
    found: dict[int, list[tuple[str, str, float]]] = {0: [], 1: []}
    for start, goal in random_pairs(GRAPH, 400, seed=5, starts=20):
        shards = {shard[GRAPH.domains[end]] for end in (start, goal)}
        costs = GRAPH.costs_from(start)
        if len(shards) == 1 and goal in costs:
            found[shards.pop()].append((start, goal, costs[goal]))
    return {number: pairs[:20] for number, pairs in found.items()}


def assert_exact(client: Client, pairs: list[tuple[str, str, float]]) -> None:
    assert pairs
    for start, goal, cost in pairs:
        GRAPH.check_plan(client.plan(start, goal, bypass_cache=True), cost)


@pytest.mark.parametrize("killed", [0, 1])
def test_the_shards_of_the_other_server_go_on(own: OwnMesh, servers: list[RedisServer], killed: int) -> None:
    with Client(own.address, timeout_s=PATIENCE_S) as client:
        pairs = pairs_by_shard(client)
        assert_exact(client, pairs[0] + pairs[1])
        servers[killed].kill()
        try:
            assert_exact(client, pairs[1 - killed])
            start, goal, _ = pairs[killed][0]
            with pytest.raises(Unavailable):
                client.plan(start, goal, bypass_cache=True)
            assert_exact(client, pairs[1 - killed])
            status = client.status()
            name = "redis-1" if killed else "redis"
            assert {process.name for process in status.processes if not process.up} == {name, "workers"}
        finally:
            servers[killed].start()
        eventually(lambda: all(process.up for process in client.status().processes), "all processes")
        assert_exact(client, pairs[0] + pairs[1])


def test_workers_take_tasks_from_the_server_of_their_shard(own: OwnMesh, servers: list[RedisServer]) -> None:
    for number, server in enumerate(servers):
        with redis.Redis.from_url(server.url) as connection:
            fields = connection.hkeys(WORKERS_KEY)
        assert {int(bytes(field).split(b":")[0]) for field in fields} == {number}


def test_a_list_in_another_order_is_named_in_the_status(own: OwnMesh, servers: list[RedisServer]) -> None:
    """A worker of shard 1 that was started with the servers swapped sends its heartbeats to the first one."""
    environment = psutil.Process(own.record("worker-1").pid).environ()
    swapped = {**environment, "PLANMESH_REDIS_URLS": ",".join(server.url for server in reversed(servers))}
    stray = subprocess.Popen(psutil.Process(own.record("worker-1").pid).cmdline(), env=swapped)
    try:
        with Client(own.address, timeout_s=PATIENCE_S) as client:

            def problem() -> str:
                return next(process.message for process in client.status().processes if process.name == "workers")

            eventually(lambda: "workers of shard 1 take tasks from redis," in problem(), "the misplaced worker")
            assert "PLANMESH_REDIS_URLS" in problem()
            stray.send_signal(signal.SIGTERM)
            stray.wait(30)
            eventually(lambda: not problem(), "the end of the misplaced worker")
    finally:
        if stray.poll() is None:
            stray.kill()
            stray.wait()


def test_private_servers_share_the_shards(tmp_path: Path) -> None:
    with own_mesh(tmp_path / "data", "--workers", "2", "--shards", "2", "--redis-servers", "2") as mesh:
        assert mesh.names("redis") == ["redis", "redis-1"]
        with Client(mesh.address, timeout_s=PATIENCE_S) as client:
            GRAPH.load(client, "default")
            pairs = pairs_by_shard(client)
            assert_exact(client, pairs[0] + pairs[1])
            mesh.kill("redis-1")
            assert_exact(client, pairs[0])
            eventually(lambda: all(process.up for process in client.status().processes), "all processes")
            assert_exact(client, pairs[1])
