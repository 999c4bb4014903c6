"""Snapshots that change under a running mesh: deleted and loaded again, damaged in place and repaired."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from planmesh.client import AsyncClient, Client, Plan, Strategy
from planmesh.errors import GraphUnknown, PlanmeshError
from planmesh.snapshot.array_file import open_array_file, write_array_file
from tests.mesh.own_mesh import OwnMesh, own_mesh
from tests.mesh.polling import eventually
from tests.mesh.small_graph import SmallGraph, cheapest_costs, random_pairs, service_graph

pytestmark = [pytest.mark.mesh, pytest.mark.slow]

BASE = service_graph(seed=61, domains=6, nodes_per_domain=40)
PAIRS = [
    (start, goal)
    for start, goal in random_pairs(BASE, 120, seed=62, starts=12)
    if goal in BASE.costs_from(start) and start != goal
][:60]
ASKERS = 6
DEADLINE_S = 30.0


def priced(prime: float, seed: int) -> SmallGraph:
    """Make the same nodes and edges with costs that are multiples of a prime, with smaller factors."""
    chance = random.Random(seed)
    return BASE.with_costs(prime * chance.randint(1, 99) for _ in BASE.edges)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[OwnMesh]:
    with own_mesh(tmp_path / "data", "--workers", "2", "--shards", "2") as mesh:
        yield mesh


async def while_asked(own: OwnMesh, check: Callable[[tuple[str, str], Plan], None], happens: Awaitable[None]) -> int:
    """Request plans while `happens` runs, check each, and return their number.

    Ignores errors of plans, because they are not answers.
    """
    over = asyncio.Event()
    answered = 0

    async def ask(client: AsyncClient, seed: int) -> None:
        nonlocal answered
        chance = random.Random(seed)
        while not over.is_set():
            pair = chance.choice(PAIRS)
            try:
                plan = await client.plan(*pair, bypass_cache=chance.random() < 0.7)
            except PlanmeshError:
                await asyncio.sleep(0)
                continue
            check(pair, plan)
            answered += 1

    async def end(client: AsyncClient) -> None:
        try:
            await happens
        finally:
            over.set()

    async with AsyncClient(own.address, timeout_s=DEADLINE_S) as client, asyncio.TaskGroup() as group:
        for seed in range(ASKERS):
            group.create_task(ask(client, seed))
        group.create_task(end(client))
    return answered


async def check_all(own: OwnMesh, graph: SmallGraph) -> None:
    """Check the plan of every pair, computed and cached."""
    costs = cheapest_costs(graph, PAIRS)
    async with AsyncClient(own.address, timeout_s=DEADLINE_S) as client:
        for bypass_cache in (True, False, False):
            async for answer in client.plan_many(PAIRS, bypass_cache=bypass_cache):
                graph.check_plan(answer.result(), costs[answer.index])


async def test_a_wiped_data_folder_with_another_graph_under_the_same_name(own: OwnMesh) -> None:
    """URL and version equal those of the previous graph; the nodes have other numbers, and other costs."""
    before, after = priced(101.0, 1), priced(103.0, 2)
    costs = {
        graph.edges[0][2]: dict(zip(PAIRS, cheapest_costs(graph, PAIRS), strict=True)) for graph in (before, after)
    }
    with Client(own.address) as client:
        first = before.load(client, "default", Strategy.DOMAIN)
    await check_all(own, before)

    def of_one_graph(pair: tuple[str, str], plan: Plan) -> None:
        # A cost may be a multiple of both primes, a step's may not.
        graph = before if all(step.cost % 101.0 == 0 for step in plan.steps) else after
        graph.check_plan(plan, costs[graph.edges[0][2]][pair])

    def wipe_and_load() -> None:
        own.signal(signal.SIGSTOP, "partition")
        for folder in own.folder.store.iterdir():
            shutil.rmtree(folder)
        own.kill("partition")
        with Client(own.address) as client:

            def forgotten() -> bool:
                try:
                    return bool(client.plan(*PAIRS[0], bypass_cache=True) is None)
                except GraphUnknown:
                    return True
                except PlanmeshError:
                    return False

            eventually(forgotten, "a coordinator that has noticed the deleted folder")
            report = after.load(client, "default", Strategy.MINCUT, partitions=6)
        assert (report.version, list(report.warnings)) == (first.version, [])

    await while_asked(own, of_one_graph, asyncio.to_thread(wipe_and_load))
    await check_all(own, after)


def double_costs_in_place(file: Path) -> None:
    """Write other costs into a partition's file, as a faulty disk may: same file, same size, visible to mappings."""
    arrays = {
        name: array * 2 if array.dtype.kind == "f" else array for name, array in open_array_file(file).arrays.items()
    }
    aside = file.with_name("aside")
    write_array_file(aside, arrays)
    with file.open("r+b") as opened:
        opened.write(aside.read_bytes())
    aside.unlink()


async def test_a_repair_reaches_workers_that_have_the_damaged_files_mapped(own: OwnMesh) -> None:
    with Client(own.address) as client:
        version = BASE.load(client, "default", Strategy.DOMAIN).version
    await check_all(own, BASE)
    costs = dict(zip(PAIRS, cheapest_costs(BASE, PAIRS), strict=True))
    files = sorted((own.folder.store / "snapshots" / "default" / str(version) / "partitions").iterdir())
    whole = [file.read_bytes() for file in files]
    for file in files:
        double_costs_in_place(file)

    def ask() -> list[float | None]:
        found: list[float | None] = []
        with Client(own.address, timeout_s=DEADLINE_S) as client:
            for pair in PAIRS:
                try:
                    found.append(client.plan(*pair, bypass_cache=True).cost)
                except PlanmeshError:
                    found.append(None)
        return found

    assert ask() != [costs[pair] for pair in PAIRS], "the workers see the damage"

    def repair() -> None:
        own.kill("partition")  # it checks every file at its start
        eventually(lambda: [file.read_bytes() for file in files] == whole, "repaired files")
        eventually(lambda: ask() == [costs[pair] for pair in PAIRS], "plans on the repaired files")

    def anything(_: tuple[str, str], plan: Plan) -> None:
        assert plan.version == version

    assert await while_asked(own, anything, asyncio.to_thread(repair)) > 0
    # No result from the damaged files is returned any more, not even from a cache.
    await check_all(own, BASE)
