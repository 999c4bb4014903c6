"""Matrices on a real snapshot through a real Redis. The test takes the tasks, and answers them as workers do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planmesh.errors import DeadlineExceeded, LimitExceeded, NodeUnknown
from planmesh.graph.model import Float64Array
from planmesh.internal.v1 import coordinator_pb2
from planmesh.rpc.deadline import Deadline
from planmesh.search.matrix import OverlayMatrix
from planmesh.search.reference import dijkstra
from services.coordinator import matrices as module
from services.coordinator.matrices import Matrices
from tests.services.coordinator.planner_bench import Bench, bench
from tests.snapshot.small_snapshot import SmallSnapshot, make_snapshot

EVERY = [f"node-{number}" for number in range(120)]


@pytest.fixture
def snapshot(tmp_path: Path) -> SmallSnapshot:
    return make_snapshot(tmp_path / "snapshot")


@pytest.fixture
async def mesh(redis_server: Any, snapshot: SmallSnapshot, tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(redis_server.url, snapshot, tmp_path) as made:
        yield made


@pytest.fixture
async def working(mesh: Bench) -> AsyncIterator[Bench]:
    """A mesh whose worker answers every task."""

    async def work_on() -> None:
        while True:
            await mesh.work()

    working = asyncio.create_task(work_on())
    yield mesh
    working.cancel()
    await asyncio.wait({working})


async def rows_of(
    mesh: Bench, sources: Sequence[str], targets: Sequence[str], *, seconds: float = 60.0, **bounds: int
) -> Float64Array:
    """Return the whole matrix, float64[s, t], and assert that its rows come in order and of one version."""
    matrices = Matrices(mesh.queries, mesh.telemetry, mesh.counters, mesh.changed, **bounds)
    request = coordinator_pb2.ComputeMatrixRequest(graph="g", sources=sources, targets=targets)
    rows: list[Float64Array] = []
    try:
        async for message in matrices.rows(request, Deadline.after(seconds), "trace"):
            assert (message.graph, message.version, message.trace_id) == ("g", 1, "trace")
            assert message.first_row == sum(len(block) for block in rows)
            rows.append(np.array(message.costs).reshape(-1, len(targets)))
    finally:
        await matrices.close()
    return np.concatenate(rows)


def expected(snapshot: SmallSnapshot, sources: Sequence[str], targets: Sequence[str]) -> Float64Array:
    graph = snapshot.graph
    columns = [int(target.removeprefix("node-")) for target in targets]
    starts = [int(source.removeprefix("node-")) for source in sources]
    return np.array([dijkstra(graph.first_out, graph.head, graph.weight, start)[0][columns] for start in starts])


SMALL = {
    "SEARCHES_PER_ITEM_MAX": 1,
    "MEETINGS_PER_SIDE_MAX": 2,
    "ITEMS_PER_SHARD_MAX": 1,
    "TARGETS_PER_BLOCK": 1,
    "BLOCKS_AHEAD_MAX": 1,
    "ROWS_PER_BLOCK": 1,
}


@pytest.mark.parametrize("bound", ["none", *SMALL])
async def test_matrices_are_exact_whatever_the_bounds(
    working: Bench, snapshot: SmallSnapshot, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    if bound != "none":
        monkeypatch.setattr(module, bound, SMALL[bound])
    chance = random.Random(5)
    sources, targets = chance.choices(EVERY, k=50), chance.choices(EVERY, k=40)
    assert len(set(sources)) < 50, "some ids occur twice"
    found = await rows_of(working, sources, targets)
    assert found.tolist() == expected(snapshot, sources, targets).tolist()
    assert (found == 0).any(), "some pairs are one node"


async def test_one_pair(working: Bench, snapshot: SmallSnapshot) -> None:
    assert (await rows_of(working, ["node-3"], ["node-3"])).tolist() == [[0.0]]
    found = await rows_of(working, ["node-0"], ["node-119"])
    assert found.tolist() == expected(snapshot, ["node-0"], ["node-119"]).tolist()


async def test_only_a_few_items_are_at_a_shard_at_once(
    working: Bench, snapshot: SmallSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEARCHES_PER_ITEM_MAX", 4)
    ask, others = working.dispatcher.ask, []

    async def noting(*arguments: Any, **named: Any) -> Any:
        others.append(working.dispatcher.pending_items(0))
        return await ask(*arguments, **named)

    monkeypatch.setattr(working.dispatcher, "ask", noting)
    found = await rows_of(working, EVERY, EVERY)
    assert found.tolist() == expected(snapshot, EVERY, EVERY).tolist()
    assert len(others) > 60
    assert max(others) == module.ITEMS_PER_SHARD_MAX - 1


async def test_a_matrix_of_too_many_labels_is_refused_by_name(working: Bench) -> None:
    with pytest.raises(LimitExceeded) as caught:
        await rows_of(working, EVERY, EVERY, labels_max=50)
    assert caught.value.metadata["bound"] == "LABELS_MAX"
    few = await rows_of(working, EVERY[:1], EVERY[:1], labels_max=50)
    assert few.tolist() == [[0.0]]


async def test_an_unknown_node_is_named_before_any_work(mesh: Bench) -> None:
    with pytest.raises(NodeUnknown, match="nowhere"):
        await rows_of(mesh, ["node-1"], ["node-2", "nowhere"])
    assert mesh.counters.tasks == 0


async def test_work_of_a_cancelled_matrix_is_withdrawn(mesh: Bench) -> None:
    asked = asyncio.create_task(rows_of(mesh, EVERY[:100], EVERY[:100]))
    await mesh.wait_for_tasks(module.ITEMS_PER_SHARD_MAX)
    asked.cancel()
    await asyncio.wait({asked})
    assert asked.cancelled()
    await mesh.wait_for_tasks(0)
    assert mesh.dispatcher.pending_items(0) == 0


async def test_the_deadline_ends_a_matrix_that_waits_for_workers(mesh: Bench) -> None:
    with pytest.raises(DeadlineExceeded):
        await rows_of(mesh, EVERY, EVERY, seconds=0.2)
    await mesh.wait_for_tasks(0)


async def test_the_deadline_is_checked_between_blocks_and_a_failed_search_is_not_used_again(
    working: Bench, snapshot: SmallSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first block of rows fails in the middle. The next matrix gets other memory, and is exact."""
    lower, failing = OverlayMatrix.lower, [DeadlineExceeded("now"), None]

    def fail_once(self: OverlayMatrix, *arguments: Any) -> int:
        settled = lower(self, *arguments)
        error = failing.pop(0) if failing else None
        if error is not None:
            raise error
        return settled

    monkeypatch.setattr(OverlayMatrix, "lower", fail_once)
    with pytest.raises(DeadlineExceeded, match="now"):
        await rows_of(working, EVERY, EVERY[:5])
    found = await rows_of(working, EVERY, EVERY[:5])
    assert found.tolist() == expected(snapshot, EVERY, EVERY[:5]).tolist()
