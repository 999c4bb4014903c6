"""Batches of plans on a real snapshot through a real Redis, compared with Dijkstra's search on every pair."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from planmesh.dispatch import hedge_times
from planmesh.errors import (
    DeadlineExceeded,
    GraphUnknown,
    InternalError,
    NodeUnknown,
    NoPath,
    PlanmeshError,
    Unavailable,
)
from planmesh.internal.v1 import task_pb2
from planmesh.rpc.deadline import Deadline
from planmesh.search.batch_paths import assemble
from planmesh.search.reference import dijkstra
from planmesh.v1 import plan_pb2
from services.coordinator import batch_writing
from services.coordinator.questions import Question
from tests.services.coordinator.planner_bench import Bench, answered, bench
from tests.snapshot.small_snapshot import SmallSnapshot, make_snapshot

NODES = 120


@pytest.fixture
def snapshot(tmp_path: Path) -> SmallSnapshot:
    """A graph in which some nodes reach only a part of the others."""
    return make_snapshot(tmp_path / "snapshot", nodes=NODES, edges=260, partitions=5, seed=3)


@pytest.fixture(params=[True, False], ids=["coordinator-expands", "workers-expand"])
async def idle(
    redis_server: Any, snapshot: SmallSnapshot, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Bench]:
    """A mesh whose tasks no worker takes."""
    async with bench(redis_server.url, snapshot, tmp_path, expands=request.param) as made:
        yield made


@pytest.fixture
async def mesh(idle: Bench) -> AsyncIterator[Bench]:
    async with idle.worker():
        yield idle


async def ask(
    mesh: Bench,
    pairs: Sequence[tuple[str, str]],
    *,
    bypass_cache: bool = True,
    explain: bool = False,
    seconds: float = 60,
) -> list[plan_pb2.Plan | PlanmeshError]:
    questions = [Question("g", *pair, explain, bypass_cache) for pair in pairs]
    answers = await answered(mesh.batches, questions, Deadline.after(seconds), "t")
    return [plan_pb2.Plan.FromString(answer) if isinstance(answer, bytes) else answer for answer in answers]


def name(node: int) -> str:
    return f"node-{node}"


def check(snapshot: SmallSnapshot, pair: tuple[int, int], plan: plan_pb2.Plan | PlanmeshError) -> None:
    """Check a plan against the reference, step by step."""
    graph = snapshot.graph
    expected = float(dijkstra(graph.first_out, graph.head, graph.weight, pair[0])[0][pair[1]])
    if expected == float("inf"):
        assert isinstance(plan, NoPath)
        return
    assert isinstance(plan, plan_pb2.Plan)
    assert (plan.start, plan.goal, plan.cost) == (name(pair[0]), name(pair[1]), expected)
    assert (plan.graph, plan.version, plan.trace_id) == ("g", 1, "t")
    ends = [plan.start, *(step.target for step in plan.steps)]
    assert ends[-1] == plan.goal
    assert len(set(ends)) == len(ends)
    partitions = []
    for step, source in zip(plan.steps, ends[:-1], strict=True):
        tail, head = (int(end.removeprefix("node-")) for end in (step.source, step.target))
        assert step.source == source
        begin, end = graph.first_out[tail], graph.first_out[tail + 1]
        costs = dict(zip(graph.head[begin:end].tolist(), graph.weight[begin:end].tolist(), strict=True))
        assert costs[head] == step.cost
        partitions += [step.source_partition, step.target_partition]
    assert list(plan.partitions) == (list(dict.fromkeys(partitions)) or list(plan.partitions)[:1])


@pytest.mark.parametrize("size", [1, 2, 7, 64, 1_000])
async def test_plans_of_batches_of_any_size_are_the_cheapest(mesh: Bench, snapshot: SmallSnapshot, size: int) -> None:
    pairs = list(itertools.product(range(0, NODES, 3), range(NODES)))[:1_000]
    found: list[plan_pb2.Plan | PlanmeshError] = []
    asked = pairs[: min(1_000, 30 * size)]
    for first in range(0, len(asked), size):
        found += await ask(mesh, [(name(start), name(goal)) for start, goal in asked[first : first + size]])
    for pair, plan in zip(asked, found, strict=True):
        check(snapshot, pair, plan)
    assert any(isinstance(plan, NoPath) for plan in found) or size == 1
    if size > 1:
        assert mesh.counters.tasks <= 3 * len(asked) / size + 3 * 20, "the plans of a batch share tasks"


async def test_a_batch_gives_the_messages_of_single_plans(mesh: Bench) -> None:
    """The same bytes, so that a cached answer does not depend on how it was computed."""
    pairs = [(name(start), name(start * 7 % NODES)) for start in range(40)]
    for pair, plan in zip(pairs, await ask(mesh, pairs), strict=True):
        (alone,) = await ask(mesh, [pair])
        assert type(plan) is type(alone)
        if isinstance(plan, plan_pb2.Plan):
            assert plan == alone


async def test_each_pair_of_a_batch_has_its_own_error(mesh: Bench, snapshot: SmallSnapshot) -> None:
    pairs = [("node-0", "node-5"), ("node-0", "nowhere"), ("node-3", "node-3"), ("", "node-1"), ("node-5", "node-9")]
    found = await ask(mesh, pairs)
    assert [type(one) for one in found[1:4]] == [NodeUnknown, plan_pb2.Plan, NodeUnknown]
    assert isinstance(found[2], plan_pb2.Plan)
    assert (found[2].cost, len(found[2].steps)) == (0.0, 0)
    check(snapshot, (0, 5), found[0])
    check(snapshot, (5, 9), found[4])


async def test_equal_pairs_of_a_batch_are_computed_once(mesh: Bench, snapshot: SmallSnapshot) -> None:
    found = await ask(mesh, [("node-0", "node-5")] * 8 + [("node-1", "node-5")], explain=True)
    assert len({plan.cost for plan in found if isinstance(plan, plan_pb2.Plan)}) == 2
    check(snapshot, (0, 5), found[0])
    assert mesh.counters.task_items <= 2


async def test_answers_of_a_batch_are_cached_for_batches_and_for_single_plans(mesh: Bench) -> None:
    pairs = [("node-0", "node-5"), ("node-1", "node-6")]
    first = await ask(mesh, pairs, bypass_cache=False)
    tasks = mesh.counters.tasks
    again = await ask(mesh, [*pairs, ("node-2", "node-7")], bypass_cache=False)
    alone = await ask(mesh, pairs[:1], bypass_cache=False)
    assert [plan.cached for plan in [*first, *again, *alone] if isinstance(plan, plan_pb2.Plan)] == [
        *[False, False],
        *[True, True, False],
        True,
    ]
    assert mesh.counters.tasks <= tasks + 2
    assert (mesh.counters.cache_hits, mesh.counters.cache_misses) == (3, 3)


async def test_the_explanation_of_a_pair_has_the_phases_of_its_batch(mesh: Bench) -> None:
    first, second = await ask(mesh, [("node-0", "node-5"), ("node-1", "node-40")], explain=True)
    assert isinstance(first, plan_pb2.Plan)
    assert isinstance(second, plan_pb2.Plan)
    assert [phase.name for phase in first.explanation.phases] == [
        "locate",
        "local_search",
        "overlay",
        "unpack",
        "merge",
    ]
    assert first.explanation.tasks >= 1
    assert first.explanation.settled_nodes == sum(phase.settled_nodes for phase in first.explanation.phases) > 0
    assert first.explanation.settled_nodes != second.explanation.settled_nodes


async def test_an_item_that_fails_does_not_fail_the_other_pairs(
    mesh: Bench, snapshot: SmallSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that cannot do a batch, or the work of one pair, fails that pair only."""
    answer = mesh.items.answer
    poison = 77

    def fails(item: task_pb2.QueryItem) -> task_pb2.ItemReply:
        searched = [operation.search for operation in item.operations if operation.HasField("search")]
        first = int(snapshot.partition_first[3])
        alone = any(search.partition == 3 and search.node == poison - first for search in searched)
        if alone or any(operation.HasField("search_batch") for operation in item.operations):
            error = task_pb2.ItemError(kind=task_pb2.ITEM_ERROR_KIND_INTERNAL, message="a defect")
            return task_pb2.ItemReply(key=item.key, error=error)
        return answer(item)

    assert snapshot.partition_first[3] <= poison < snapshot.partition_first[4]
    monkeypatch.setattr(mesh.items, "answer", fails)
    pairs = [(0, 5), (poison, 5), (1, 6)]
    found = await ask(mesh, [(name(start), name(goal)) for start, goal in pairs])
    assert isinstance(found[1], InternalError)
    check(snapshot, pairs[0], found[0])
    check(snapshot, pairs[2], found[2])


async def test_a_batch_whose_replies_are_all_refused_is_computed_alone_long_before_the_deadline(
    mesh: Bench, snapshot: SmallSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan whose own replies are refused too fails, and says that a retry may work."""
    monkeypatch.setattr(hedge_times, "HEDGE_S_MAX", 0.5)
    answer = mesh.items.answer
    wrong = snapshot.partition_first[3]

    def refused(item: task_pb2.QueryItem) -> task_pb2.ItemReply:
        operations = item.operations
        alone = any(one.HasField("search") and (one.search.partition, one.search.node) == (3, 0) for one in operations)
        if alone or any(one.HasField("search_batch") for one in operations):
            return task_pb2.ItemReply(key=item.key)
        return answer(item)

    monkeypatch.setattr(mesh.items, "answer", refused)
    pairs = [(0, 5), (int(wrong), 5), (1, 6)]
    async with asyncio.timeout(60):
        found = await ask(mesh, [(name(start), name(goal)) for start, goal in pairs], seconds=3_600)
    assert isinstance(found[1], Unavailable)
    assert "no valid reply" in found[1].message
    check(snapshot, pairs[0], found[0])
    check(snapshot, pairs[2], found[2])


async def test_the_deadline_ends_a_batch(idle: Bench) -> None:
    questions = [Question("g", "node-0", name(goal), False, True) for goal in range(1, 5)]
    answers = await answered(idle.batches, questions, Deadline.after(0.3), "t")
    assert [type(answer) for answer in answers] == [DeadlineExceeded] * 4
    await idle.wait_for_tasks(0)


async def test_a_cancelled_batch_is_withdrawn_from_the_queue(idle: Bench) -> None:
    questions = [Question("g", "node-0", name(goal), False, True) for goal in range(1, 5)]
    asked = asyncio.create_task(answered(idle.batches, questions, Deadline.after(60), "t"))
    await idle.wait_for_tasks(1)
    asked.cancel()
    async with asyncio.timeout(20):  # long before the deadline
        await idle.wait_for_tasks(0)


async def test_a_batch_with_answers_beyond_the_bound_is_answered_one_by_one(
    mesh: Bench, snapshot: SmallSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_writing, "ANSWERS_BYTES_MAX", 10)
    for goal, plan in zip((5, 6), await ask(mesh, [("node-0", "node-5"), ("node-0", "node-6")]), strict=True):
        check(snapshot, (0, goal), plan)
    assert mesh.counters.task_items >= 3, "a batch, and then each plan"


async def test_segments_that_do_not_join_are_never_an_answer(
    mesh: Bench, snapshot: SmallSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken paths of a batch are computed again, alone."""

    def broken(overlay: Any, ends: Any, *arguments: Any) -> Any:
        return assemble(overlay, ends._replace(goal=(ends.goal + 1) % NODES), *arguments)

    monkeypatch.setattr(batch_writing, "assemble", broken)
    for goal, plan in zip((5, 6), await ask(mesh, [("node-0", "node-5"), ("node-0", "node-6")]), strict=True):
        check(snapshot, (0, goal), plan)


async def test_an_unknown_graph_is_the_error_of_every_pair(idle: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(name: str, *_: Any) -> None:
        raise GraphUnknown(name)

    monkeypatch.setattr(idle.served, "get_wanted", unknown)
    assert [type(one) for one in await ask(idle, [("node-0", "node-5"), ("node-0", "node-6")])] == [GraphUnknown] * 2
