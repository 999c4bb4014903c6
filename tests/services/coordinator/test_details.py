"""Plans of every detail on a real snapshot: equal costs and paths, the least work, and answers kept apart."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from planmesh.client.decoding import plan_of
from planmesh.errors import LimitExceeded, NoPath, PlanmeshError
from planmesh.internal.v1 import task_pb2
from planmesh.rpc.deadline import Deadline
from planmesh.v1 import plan_pb2
from services.coordinator import path_assembly
from services.coordinator.questions import Question
from services.coordinator.shadow_checks import ShadowChecks
from tests.services.coordinator.planner_bench import Bench, answered, bench
from tests.snapshot.small_snapshot import make_snapshot

NODES = 120
COST, NODE_IDS, STEPS = plan_pb2.DETAIL_COST, plan_pb2.DETAIL_NODES, plan_pb2.DETAIL_STEPS
DETAILS = (COST, NODE_IDS, STEPS)
PAIRS = [(f"node-{start}", f"node-{goal}") for start, goal in itertools.product(range(0, NODES, 9), range(0, NODES, 5))]


@pytest.fixture
async def mesh(redis_server: Any, tmp_path: Path) -> AsyncIterator[Bench]:
    """A mesh whose graph has shortcuts, so that most paths have segments to unpack."""
    snapshot = make_snapshot(tmp_path / "snapshot", nodes=NODES, edges=260, partitions=5, seed=3)
    async with bench(redis_server.url, snapshot, tmp_path) as made, made.worker():
        yield made


@pytest.fixture
def asked(mesh: Bench, monkeypatch: pytest.MonkeyPatch) -> list[task_pb2.Operation]:
    """The operations that the workers get, from now on."""
    answer, operations = mesh.items.answer, list[task_pb2.Operation]()

    def noted(item: task_pb2.QueryItem) -> task_pb2.ItemReply:
        operations.extend(item.operations)
        return answer(item)

    monkeypatch.setattr(mesh.items, "answer", noted)
    return operations


async def ask(
    mesh: Bench,
    pairs: Sequence[tuple[str, str]],
    detail: plan_pb2.Detail.ValueType,
    *,
    together: bool,
    bypass_cache: bool = True,
    explain: bool = False,
) -> list[plan_pb2.Plan | PlanmeshError]:
    questions = [Question("g", *pair, explain, bypass_cache, detail) for pair in pairs]
    deadline = Deadline.after(60)
    if together:
        answers = await answered(mesh.batches, questions, deadline, "t")
    else:
        answers = [(await answered(mesh.batches, [question], deadline, "t"))[0] for question in questions]
    return [plan_pb2.Plan.FromString(answer) if isinstance(answer, bytes) else answer for answer in answers]


@pytest.mark.parametrize("together", [False, True])
async def test_all_details_have_the_same_cost_and_path(mesh: Bench, together: bool) -> None:
    costs, nodes, steps = [await ask(mesh, PAIRS, detail, together=together) for detail in DETAILS]
    crossed = 0
    for cost, node_ids, whole in zip(costs, nodes, steps, strict=True):
        if isinstance(whole, NoPath):
            assert isinstance(cost, NoPath)
            assert isinstance(node_ids, NoPath)
            continue
        assert isinstance(cost, plan_pb2.Plan)
        assert isinstance(node_ids, plan_pb2.Plan)
        assert isinstance(whole, plan_pb2.Plan)
        head = {name: getattr(whole, name) for name in ("graph", "version", "start", "goal", "cost", "trace_id")}
        assert cost == plan_pb2.Plan(**head, partitions=whole.partitions, detail=COST)
        assert plan_of(node_ids).steps == plan_of(whole).steps
        assert plan_of(node_ids).nodes == plan_of(whole).nodes
        assert plan_of(node_ids).partition_runs == plan_of(whole).partition_runs
        assert sum(node_ids.run_lengths) == len(node_ids.nodes) == len(node_ids.step_costs) + 1
        node_head = plan_pb2.Plan()
        node_head.CopyFrom(node_ids)
        for field in ("nodes", "step_costs", "run_partitions", "run_lengths"):
            node_head.ClearField(field)
        assert node_head == plan_pb2.Plan(**head, partitions=whole.partitions, detail=NODE_IDS)
        assert whole.detail == plan_pb2.DETAIL_UNSPECIFIED, "the whole answer is as in earlier releases"
        crossed += len(whole.partitions) > 1
    assert crossed > len(PAIRS) / 4


@pytest.mark.parametrize("together", [False, True])
async def test_a_cost_needs_no_unpacking(mesh: Bench, asked: list[task_pb2.Operation], together: bool) -> None:
    """Neither a task to unpack segments, nor the segments that come with a local search."""
    await ask(mesh, PAIRS, STEPS, together=together)
    with_steps = Counter(str(operation.WhichOneof("operation")) for operation in asked)
    tasks, items = mesh.counters.tasks, mesh.counters.task_items
    asked.clear()
    await ask(mesh, PAIRS, COST, together=together)
    with_costs = Counter(str(operation.WhichOneof("operation")) for operation in asked)
    unpacks = ("unpack", "unpack_batch")
    assert sum(with_steps[kind] for kind in unpacks) > 0, "the paths have segments to unpack"
    assert with_costs == {kind: count for kind, count in with_steps.items() if kind not in unpacks}
    assert mesh.counters.tasks - tasks < tasks
    assert mesh.counters.task_items - items < items
    searches = [operation for operation in asked if "search" in str(operation.WhichOneof("operation"))]
    assert searches
    for operation in searches:
        found = mesh.items.answer(
            task_pb2.QueryItem(
                snapshot_url=mesh.served.graph.snapshot_url,
                snapshot_identity=mesh.served.graph.identity,
                deadline_unix_s=2**40,
                operations=[operation],
            )
        )
        result = getattr(found.results[0], str(operation.WhichOneof("operation")))
        assert not result.HasField("segments")


@pytest.mark.parametrize("together", [False, True])
async def test_answers_are_kept_for_their_detail(mesh: Bench, together: bool) -> None:
    pairs = [pair for pair in PAIRS[30:60] if pair[0] != pair[1]][:4]
    known = [pair for pair, plan in zip(pairs, await ask(mesh, pairs, STEPS, together=True), strict=True)
             if isinstance(plan, plan_pb2.Plan)]  # fmt: skip
    assert len(known) > 1
    first = {detail: await ask(mesh, known, detail, together=together, bypass_cache=False) for detail in DETAILS}
    again = {detail: await ask(mesh, known, detail, together=together, bypass_cache=False) for detail in DETAILS}
    for detail in DETAILS:
        for one, other in zip(first[detail], again[detail], strict=True):
            assert isinstance(one, plan_pb2.Plan)
            assert isinstance(other, plan_pb2.Plan)
            assert (one.cached, other.cached) == (False, True)
            other.cached = False
            assert one == other
            assert (bool(one.steps), bool(one.nodes)) == (detail == STEPS, detail == NODE_IDS)


async def test_only_questions_of_one_detail_are_computed_together(mesh: Bench) -> None:
    pair = ("node-0", "node-5")
    questions = [Question("g", *pair, False, False, detail) for detail in DETAILS for _ in range(3)]
    deadline = Deadline.after(60)
    found = await asyncio.gather(*(mesh.planner.plan(question, deadline, "t") for question in questions))
    plans = [plan_pb2.Plan.FromString(plan) for plan in found]
    assert [(bool(plan.steps), bool(plan.nodes)) for plan in plans] == [
        *[(False, False)] * 3,
        *[(False, True)] * 3,
        *[(True, False)] * 3,
    ]
    assert mesh.counters.joined + mesh.counters.cache_hits == 6


async def test_a_cost_leaves_no_search_without_segments_for_a_plan_with_steps(
    mesh: Bench, asked: list[task_pb2.Operation]
) -> None:
    """A plan with steps asks for its searches again; a cost uses the kept searches of a plan with steps."""

    async def searches(pair: tuple[str, str], detail: plan_pb2.Detail.ValueType) -> int:
        asked.clear()
        await ask(mesh, [pair], detail, together=False, bypass_cache=False)
        return sum(operation.HasField("search") for operation in asked)

    first, second = ("node-0", "node-5"), ("node-1", "node-40")
    assert [await searches(first, detail) for detail in (COST, STEPS, NODE_IDS)] == [2, 2, 0]
    assert [await searches(second, detail) for detail in (STEPS, COST)] == [2, 0]


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("detail", DETAILS)
async def test_the_phases_are_those_of_the_work(mesh: Bench, together: bool, detail: plan_pb2.Detail.ValueType) -> None:
    pairs = [("node-0", "node-5"), ("node-1", "node-40")]
    for plan in await ask(mesh, pairs, detail, together=together, explain=True):
        assert isinstance(plan, plan_pb2.Plan)
        expected = ["locate", "local_search", "overlay", *(["unpack"] if detail != COST else []), "merge"]
        assert [phase.name for phase in plan.explanation.phases] == expected
        assert plan.explanation.settled_nodes > 0


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("detail", DETAILS)
async def test_every_detail_is_considered_for_a_check_with_its_cost(
    mesh: Bench, together: bool, detail: plan_pb2.Detail.ValueType, monkeypatch: pytest.MonkeyPatch
) -> None:
    considered: dict[tuple[str, str], float | None] = {}

    def consider(_self: Any, _graph: Any, start: str, goal: str, plan: bytes | None) -> None:
        considered[start, goal] = None if plan is None else plan_pb2.Plan.FromString(plan).cost

    monkeypatch.setattr(ShadowChecks, "consider", consider)
    for _ in ("computed", "from the cache"):
        considered.clear()
        plans = await ask(mesh, PAIRS, detail, together=together, bypass_cache=False)
        assert considered == {
            pair: plan.cost if isinstance(plan, plan_pb2.Plan) else None
            for pair, plan in zip(PAIRS, plans, strict=True)
        }


async def test_nodes_that_fit_in_no_response_are_refused_by_name(mesh: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = ("node-0", "node-5")
    (plan,) = await ask(mesh, [pair], NODE_IDS, together=False)
    assert isinstance(plan, plan_pb2.Plan)
    plan.ClearField("trace_id")
    monkeypatch.setattr(path_assembly, "CONTENT_BYTES_MAX", plan.ByteSize())
    (fits,) = await ask(mesh, [pair], NODE_IDS, together=False)
    assert isinstance(fits, plan_pb2.Plan)
    monkeypatch.setattr(path_assembly, "CONTENT_BYTES_MAX", plan.ByteSize() - 1)
    (refused,) = await ask(mesh, [pair], NODE_IDS, together=False)
    assert isinstance(refused, LimitExceeded)
    assert "ask for less detail" in refused.message
