"""Redis or the workers are down: UNAVAILABLE within the deadline, not ready, and automatic recovery."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from planmesh.client import AsyncClient, Client, MeshStatus
from planmesh.errors import (
    BrokerUnavailable,
    DeadlineExceeded,
    PlanmeshError,
    ServiceUnavailable,
    Unavailable,
    WorkerUnavailable,
)
from tests.conftest import RedisServer
from tests.mesh.own_mesh import OwnMesh, own_mesh
from tests.mesh.polling import eventually
from tests.mesh.small_graph import SmallGraph, cheapest_costs, random_pairs, service_graph
from tests.mesh.wire import Wire

pytestmark = [pytest.mark.mesh, pytest.mark.slow]

GRAPH = service_graph(seed=3, domains=6, nodes_per_domain=30)
PAIRS = [
    (start, goal)
    for start, goal in random_pairs(GRAPH, 80, seed=4, starts=8)
    if GRAPH.domains[start] != GRAPH.domains[goal] and goal in GRAPH.costs_from(start)
][:30]
PATIENCE_S = 20.0
"""Deadline of plans that must be refused: three seconds of grace for a process that is down, on a slow machine."""


@pytest.fixture(scope="module")
def redis_of_ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, redis_of_ours: RedisServer) -> Iterator[OwnMesh]:
    """Run two shards of one worker each, on a Redis that a test may stop for any time."""
    options = ("--workers", "2", "--shards", "2", "--redis", redis_of_ours.url)
    with own_mesh(tmp_path_factory.mktemp("mesh") / "data", *options) as mesh:
        with Client(mesh.address) as client:
            GRAPH.load(client, "default")
        yield mesh


@pytest.fixture
def client(own: OwnMesh) -> Iterator[Client]:
    with Client(own.address, timeout_s=PATIENCE_S) as connected:
        yield connected


@pytest.fixture(autouse=True)
def whole_again(own: OwnMesh, redis_of_ours: RedisServer) -> Iterator[None]:
    """Check after every test that the mesh has recovered: ready, nothing queued, exact."""
    yield
    own.wait_until_whole()
    with Wire(own.address) as wire:
        eventually(wire.serving, "readiness")
    with Client(own.address, timeout_s=PATIENCE_S) as client:
        assert_exact(client)
    own.wait_until_idle()


def assert_exact(client: Client) -> None:
    for (start, goal), cost in zip(PAIRS, cheapest_costs(GRAPH, PAIRS), strict=True):
        GRAPH.check_plan(client.plan(start, goal, bypass_cache=True), cost)


def wait_until_not_ready(own: OwnMesh, missing: str) -> MeshStatus:
    """Return the status that reports the missing processes by name. gRPC health must agree."""

    def not_ready_status() -> MeshStatus | None:
        status = own.status()
        return status if status is not None and not status.ready and not up(status)[missing] else None

    status = eventually(not_ready_status, f"a status without {missing}")
    assert status is not None
    with Wire(own.address) as wire:
        eventually(lambda: not wire.serving(), "the end of readiness")
    return status


def up(status: MeshStatus) -> dict[str, bool]:
    return {process.name: process.up for process in status.processes}


def refused(client: Client) -> list[PlanmeshError]:
    """Return the errors of plans that need both shards."""
    errors: list[PlanmeshError] = []
    for start, goal in PAIRS[:3]:
        with pytest.raises(PlanmeshError) as raised:
            client.plan(start, goal, bypass_cache=True)
        errors.append(raised.value)
    return errors


def test_stopped_workers(own: OwnMesh, client: Client) -> None:
    own.signal(signal.SIGSTOP, *own.names("worker"))
    assert {type(error) for error in refused(client)} == {WorkerUnavailable}
    status = wait_until_not_ready(own, "workers")
    assert [shard.workers for shard in status.shards] == [0, 0]
    assert up(status) == {
        "gateway": True,
        "coordinator": True,
        "partition": True,
        "redis": True,
        "workers": False,
    }
    assert client.node(PAIRS[0][0]).id == PAIRS[0][0], "requests that need no worker are answered"
    own.signal(signal.SIGCONT, *own.names("worker"))


def test_one_stopped_shard_of_two(own: OwnMesh, client: Client) -> None:
    """Plans that need it are refused; plans within the other shard are answered."""
    shard_of = {partition.name: partition.shard for partition in client.partitions()}
    inside = {
        shard: next(
            (plan.start, plan.goal)
            for plan in (client.plan(start, goal) for start, goal in within_domains())
            if {shard_of[name] for name in plan.partitions} == {shard}
        )
        for shard in (0, 1)
    }
    own.signal(signal.SIGSTOP, "worker-1")
    status = wait_until_not_ready(own, "workers")
    assert [shard.workers for shard in status.shards] == [1, 0]
    with pytest.raises(WorkerUnavailable, match="shard 1"):
        client.plan(*inside[1], bypass_cache=True)
    GRAPH.check_plan(client.plan(*inside[0], bypass_cache=True))
    own.signal(signal.SIGCONT, "worker-1")


def within_domains() -> Iterator[tuple[str, str]]:
    nodes = GRAPH.nodes
    for start, goal in itertools.pairwise(nodes):
        if GRAPH.domains[start] == GRAPH.domains[goal] and goal in GRAPH.costs_from(start):
            yield start, goal


async def test_no_work_accumulates_for_workers_that_do_not_answer(own: OwnMesh) -> None:
    """Deadlines end plans in time. Coordinator and workers drop the work that no caller waits for."""
    own.signal(signal.SIGSTOP, *own.names("worker"))
    async with AsyncClient(own.address) as client:
        outcomes = await asyncio.gather(
            *(client.plan(start, goal, bypass_cache=True, timeout_s=0.5) for start, goal in PAIRS * 6),
            return_exceptions=True,
        )
    assert {type(outcome) for outcome in outcomes} <= {DeadlineExceeded, WorkerUnavailable}
    assert DeadlineExceeded in {type(outcome) for outcome in outcomes}

    def forgotten() -> bool:
        status = own.status()
        return status is not None and not any(shard.pending for shard in status.shards)

    eventually(forgotten, "a coordinator without waiting requests")
    with own.redis() as broker:
        for shard in range(2):
            # At most the work in progress when the workers stopped, and its repeats: less than one task per plan.
            assert broker.llen(f"planmesh.query.{shard}") < len(PAIRS)
    own.signal(signal.SIGCONT, *own.names("worker"))


def test_redis_killed_and_back(own: OwnMesh, client: Client, redis_of_ours: RedisServer) -> None:
    redis_of_ours.kill()
    try:
        assert {type(error) for error in refused(client)} == {BrokerUnavailable}
        status = wait_until_not_ready(own, "redis")
        assert not up(status)["workers"], "without Redis, live workers cannot be known"
        assert client.node(PAIRS[0][0]).id == PAIRS[0][0]
    finally:
        redis_of_ours.start()


def test_redis_that_hangs(own: OwnMesh, client: Client, redis_of_ours: RedisServer) -> None:
    """A Redis that accepts connections and answers nothing counts as down."""
    redis_of_ours.signal(signal.SIGSTOP)
    try:
        assert all(isinstance(error, Unavailable) for error in refused(client))
        wait_until_not_ready(own, "redis")
    finally:
        redis_of_ours.signal(signal.SIGCONT)


async def test_plans_under_way_when_redis_dies_end_clearly(own: OwnMesh, redis_of_ours: RedisServer) -> None:
    costs = cheapest_costs(GRAPH, PAIRS)
    async with AsyncClient(own.address, timeout_s=PATIENCE_S) as client:
        plans = [asyncio.ensure_future(client.plan(*pair, bypass_cache=True)) for pair in PAIRS * 4]
        await asyncio.wait(plans, return_when=asyncio.FIRST_COMPLETED)
        redis_of_ours.kill()
        redis_of_ours.start()
        outcomes = await asyncio.gather(*plans, return_exceptions=True)
    for outcome, cost in zip(outcomes, costs * 4, strict=True):
        if isinstance(outcome, BaseException):
            assert isinstance(outcome, (Unavailable, DeadlineExceeded)), outcome
        else:
            GRAPH.check_plan(outcome, cost)
    kinds = Counter(type(outcome).__name__ for outcome in outcomes)
    assert kinds["Plan"] > 0, kinds


def test_answers_cached_in_redis_are_not_served_by_another_mesh(
    tmp_path: Path, client: Client, redis_of_ours: RedisServer
) -> None:
    """Two meshes with the same names, versions and pairs but other data share a Redis with the first one's answers."""
    nodes = {"a": "", "b": ""}
    assert SmallGraph(nodes, [("a", "b", 1.0)]).load(client, "kept").version == 1
    assert client.plan("a", "b", graph="kept").cost == 1.0
    url = redis_of_ours.url.removesuffix("0") + "1"
    with Redis.from_url(redis_of_ours.url) as broker:
        # Answers are written to Redis in the background.
        answers = eventually(lambda: broker.keys("planmesh:answer:*"), "an answer in Redis")
        assert isinstance(answers, list)
        for answer in answers:
            broker.copy(answer, answer, destination_db=1)
    with own_mesh(tmp_path, "--workers", "1", "--redis", url) as other, Client(other.address) as second:
        assert SmallGraph(nodes, [("a", "b", 2.0)]).load(second, "kept").version == 1
        plan = second.plan("a", "b", graph="kept")
        assert (plan.cost, plan.cached) == (2.0, False)


def test_a_stopped_partition_service(own: OwnMesh, client: Client) -> None:
    """A coordinator that cannot know the newest changes refuses plans, except on a version that it has."""
    version = client.graph().version
    start, goal = PAIRS[0]
    own.signal(signal.SIGSTOP, "partition")
    wait_until_not_ready(own, "partition")
    assert {type(error) for error in refused(client)} == {ServiceUnavailable}
    assert client.plan(start, goal, at_version=version, bypass_cache=True).version == version
    own.signal(signal.SIGCONT, "partition")
