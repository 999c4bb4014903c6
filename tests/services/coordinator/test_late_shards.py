"""Batches of which one shard answers late, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from planmesh.errors import DeadlineExceeded, InternalError, NoPath, WorkerUnavailable
from planmesh.rpc.deadline import Deadline
from planmesh.search.reference import dijkstra
from planmesh.v1 import plan_pb2
from services.coordinator import batch_planner, batch_writing, planner
from services.coordinator.changed_writing import write_changed
from services.coordinator.plan_batches import Answer, Asked
from services.coordinator.questions import Question
from tests.services.coordinator.planner_bench import Bench, answered, bench
from tests.snapshot.small_snapshot import SmallSnapshot, make_snapshot

pytestmark = pytest.mark.mesh

NODES = 120
PAIRS = [(start, goal) for start in range(0, NODES, 7) for goal in range(3, NODES, 29) if start != goal]


@pytest.fixture
def snapshot(tmp_path: Path) -> SmallSnapshot:
    return make_snapshot(tmp_path / "snapshot", nodes=NODES, edges=260, partitions=5, seed=3)


@pytest.fixture
async def mesh(redis_server: Any, snapshot: SmallSnapshot, tmp_path: Path) -> AsyncIterator[Bench]:
    """A mesh of two shards, whose tasks no worker takes."""
    async with bench(redis_server.url, snapshot, tmp_path, shards=2) as made:
        yield made


def questions() -> list[Question]:
    return [Question("g", f"node-{start}", f"node-{goal}", False, True) for start, goal in PAIRS]


def costs(snapshot: SmallSnapshot) -> list[float]:
    graph = snapshot.graph
    return [float(dijkstra(graph.first_out, graph.head, graph.weight, start)[0][goal]) for start, goal in PAIRS]


def cost_of(answer: Answer) -> float:
    if isinstance(answer, NoPath):
        return float("inf")
    assert isinstance(answer, bytes), answer
    return plan_pb2.Plan.FromString(answer).cost


def within_shard_0(mesh: Bench, position: int) -> bool:
    """Whether both ends of a pair are in shard 0; its path may pass the other all the same."""
    graph = mesh.served.graph
    ends = [graph.directory.find(f"node-{node}") for node in PAIRS[position]]
    return all(graph.shard_of(graph.directory.partition_of(end)) == 0 for end in ends)


async def test_plans_of_a_late_shard_are_exact_and_hold_up_no_others(mesh: Bench, snapshot: SmallSnapshot) -> None:
    found: dict[int, Answer] = {}
    asked = [Asked(question, "t") for question in questions()]
    early = {position for position in range(len(PAIRS)) if within_shard_0(mesh, position)}
    assert 0 < len(early) < len(PAIRS)
    async with mesh.worker(0):
        answering = asyncio.create_task(mesh.batches.answer(asked, Deadline.after(60), found.__setitem__))
        async with asyncio.timeout(50):
            while not found:
                await asyncio.sleep(0.01)
        assert found.keys() <= early
        assert not answering.done()
        async with mesh.worker(1):
            await answering
    assert [cost_of(found[position]) for position in range(len(PAIRS))] == costs(snapshot)


async def test_plans_of_a_shard_that_never_answers_get_its_error_and_the_others_a_plan(
    mesh: Bench, snapshot: SmallSnapshot
) -> None:
    async with mesh.worker(0):
        answers = await answered(mesh.batches, questions(), Deadline.after(2.0), "t")
    expected = costs(snapshot)
    late = [position for position, answer in enumerate(answers) if isinstance(answer, DeadlineExceeded)]
    assert all(cost_of(answers[position]) == expected[position] for position in set(range(len(PAIRS))) - set(late))
    assert {position for position in range(len(PAIRS)) if not within_shard_0(mesh, position)} <= set(late)
    assert 0 < len(late) < len(PAIRS)


async def test_plans_of_a_shard_without_workers_get_its_error(mesh: Bench, snapshot: SmallSnapshot) -> None:
    mesh.dispatcher.note_workers({0: 8, 1: 0})
    async with mesh.worker(0):
        answers = await answered(mesh.batches, questions(), Deadline.after(2.0), "t")
    expected = costs(snapshot)
    for position, answer in enumerate(answers):
        if isinstance(answer, WorkerUnavailable):
            continue
        assert within_shard_0(mesh, position)
        assert cost_of(answer) == expected[position]
    assert any(isinstance(answer, bytes) for answer in answers)


async def test_without_patience_every_plan_is_exact_too(
    mesh: Bench, snapshot: SmallSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every batch is divided then."""
    monkeypatch.setattr(batch_planner, "PATIENCE_S", 0.0)
    async with mesh.worker(0), mesh.worker(1):
        answers = await answered(mesh.batches, questions(), Deadline.after(60), "t")
    assert [cost_of(answer) for answer in answers] == costs(snapshot)


async def test_a_defect_in_one_plan_fails_that_plan_only(
    mesh: Bench, snapshot: SmallSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plans that are computed alone after the batch: here all, because no path may be written by the batch."""

    def breaks(graph: Any, start: str, *arguments: Any) -> Any:
        if start == "node-7":
            raise ZeroDivisionError("secret")
        return write_changed(graph, start, *arguments)

    monkeypatch.setattr(batch_writing, "ANSWERS_BYTES_MAX", 10)
    monkeypatch.setattr(planner, "write_changed", breaks)
    async with mesh.worker(0), mesh.worker(1):
        answers = await answered(mesh.batches, questions(), Deadline.after(60), "t")
    for (start, _), answer, cost in zip(PAIRS, answers, costs(snapshot), strict=True):
        if start == 7 and cost < float("inf"):
            assert isinstance(answer, InternalError)
            assert "secret" not in answer.message
        else:
            assert cost_of(answer) == cost
