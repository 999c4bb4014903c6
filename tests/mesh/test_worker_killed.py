"""Workers killed in the middle of 500 plans: each is answered exactly, or with a clear status, and none wrongly."""

from __future__ import annotations

import asyncio
import math
import signal
from collections import Counter
from collections.abc import Iterator

import pytest

from planmesh.client import AsyncClient, Client
from planmesh.errors import DeadlineExceeded, NoPath, Unavailable
from tests.mesh.own_mesh import OwnMesh, own_mesh
from tests.mesh.small_graph import cheapest_costs, random_pairs, service_graph

pytestmark = [pytest.mark.mesh, pytest.mark.slow]

GRAPH = service_graph(seed=21, domains=16, nodes_per_domain=80)
PAIRS = random_pairs(GRAPH, 500, seed=22)
ANSWERED_BEFORE_THE_KILL = 50
DEADLINE_S = 30.0


@pytest.fixture(scope="module")
def costs() -> list[float]:
    return cheapest_costs(GRAPH, PAIRS)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnMesh]:
    """Two shards with two workers each."""
    with own_mesh(tmp_path_factory.mktemp("mesh") / "data", "--workers", "4", "--shards", "2") as mesh:
        with Client(mesh.address) as client:
            GRAPH.load(client, "default")
        yield mesh


async def plan_while(own: OwnMesh, costs: list[float], *killed: str) -> Counter[str]:
    """Ask for all plans at once and kill workers when the first are answered; how the plans ended, each checked."""
    before = {name: own.record(name).pid for name in killed}
    answered = 0

    async def ask(client: AsyncClient, start: str, goal: str, cost: float) -> str:
        nonlocal answered
        try:
            plan = await client.plan(start, goal, bypass_cache=True)
        except NoPath:
            assert math.isinf(cost), f"{start} to {goal} costs {cost}, and was told to have no path"
            return "no path"
        except (Unavailable, DeadlineExceeded) as error:
            return type(error).__name__
        finally:
            answered += 1
            if answered == ANSWERED_BEFORE_THE_KILL:
                own.signal(signal.SIGKILL, *killed)
        GRAPH.check_plan(plan, cost)
        return "exact"

    async with AsyncClient(own.address, timeout_s=DEADLINE_S) as client:
        asked = zip(PAIRS, costs, strict=True)
        outcomes = await asyncio.gather(*(ask(client, start, goal, cost) for (start, goal), cost in asked))
    assert len(outcomes) == len(PAIRS)
    for name, pid in before.items():
        own.wait_for_another(name, pid)
    return Counter(outcomes)


async def test_a_worker_killed_in_the_middle_of_500_plans(own: OwnMesh, costs: list[float]) -> None:
    outcomes = await plan_while(own, costs, "worker-0")
    # The shard's other worker lives, so what the killed one had taken is asked of that one.
    assert outcomes["exact"] + outcomes["no path"] == len(PAIRS), outcomes
    await assert_healed(own, costs)


async def test_every_worker_of_a_shard_killed_in_the_middle_of_500_plans(own: OwnMesh, costs: list[float]) -> None:
    shard_of_worker_1 = ["worker-1", "worker-3"]
    outcomes = await plan_while(own, costs, *shard_of_worker_1)
    assert outcomes["exact"] > 0, outcomes
    await assert_healed(own, costs)


async def test_all_workers_killed_in_the_middle_of_a_batch(own: OwnMesh, costs: list[float]) -> None:
    """The same through PlanMany, where each pair has an answer of its own."""
    workers = own.names("worker")
    before = {name: own.record(name).pid for name in workers}
    seen: Counter[int] = Counter()
    async with AsyncClient(own.address, timeout_s=DEADLINE_S) as client:
        async for answer in client.plan_many(PAIRS, bypass_cache=True, timeout_s=DEADLINE_S):
            seen[answer.index] += 1
            if len(seen) == ANSWERED_BEFORE_THE_KILL:
                own.signal(signal.SIGKILL, *workers)
            if answer.plan is not None:
                GRAPH.check_plan(answer.plan, costs[answer.index])
            elif isinstance(answer.error, NoPath):
                assert math.isinf(costs[answer.index])
            else:
                assert isinstance(answer.error, (Unavailable, DeadlineExceeded)), answer.error
    assert seen == Counter(range(len(PAIRS))), "every pair is answered once"
    for name, pid in before.items():
        own.wait_for_another(name, pid)
    await assert_healed(own, costs)


async def assert_healed(own: OwnMesh, costs: list[float]) -> None:
    """All workers are back, nothing waits, and every plan is exact."""
    own.wait_until_whole()
    own.wait_until_idle()
    async with AsyncClient(own.address) as client:
        async for answer in client.plan_many(PAIRS, bypass_cache=True):
            if math.isinf(costs[answer.index]):
                assert isinstance(answer.error, NoPath)
            else:
                GRAPH.check_plan(answer.result(), costs[answer.index])
