"""Plans of each detail, from both clients."""

from __future__ import annotations

from typing import Any

import pytest

from planmesh import errors
from planmesh.client import Detail, PartitionRun, Step
from planmesh.client.decoding import plan_of
from planmesh.v1 import plan_pb2


async def test_a_plan_of_detail_cost_has_no_steps(call: Any, stage: Any) -> None:
    plan = await call("plan", "a", "c", detail=Detail.COST)
    assert stage.gateway.requests[-1].detail == plan_pb2.DETAIL_COST
    assert (plan.detail, plan.cost, plan.partitions) == (Detail.COST, 3.5, ("p", "q"))
    for name in ("steps", "nodes", "step_costs", "partition_runs"):
        with pytest.raises(errors.InvalidRequest, match=f"{name}: expected a plan of detail 'nodes' or 'steps'"):
            getattr(plan, name)


async def test_plans_of_the_other_details_have_the_same_values(call: Any, stage: Any) -> None:
    nodes, steps = await call("plan", "a", "c", detail="nodes"), await call("plan", "a", "c")
    assert [request.detail for request in stage.gateway.requests[-2:]] == [
        plan_pb2.DETAIL_NODES,
        plan_pb2.DETAIL_STEPS,
    ]
    assert (nodes.detail, steps.detail) == (Detail.NODES, Detail.STEPS)
    for plan in (nodes, steps):
        assert plan.steps == (Step("a", "b", 1.5, "p", "p"), Step("b", "c", 2.0, "p", "q"))
        assert plan.nodes == ("a", "b", "c")
        assert plan.step_costs == (1.5, 2.0)
        assert plan.partition_runs == (PartitionRun("p", 2), PartitionRun("q", 1))


def test_a_path_of_one_node_has_its_node_and_partition() -> None:
    whole = plan_pb2.Plan(start="a", goal="a", partitions=["p"])
    nodes = plan_pb2.Plan(
        start="a",
        goal="a",
        partitions=["p"],
        detail=plan_pb2.DETAIL_NODES,
        nodes=["a"],
        run_partitions=[0],
        run_lengths=[1],
    )
    for plan in map(plan_of, (whole, nodes)):
        assert (plan.steps, plan.nodes, plan.step_costs) == ((), ("a",), ())
        assert plan.partition_runs == (PartitionRun("p", 1),)


@pytest.mark.parametrize(("method", "arguments"), [("plan", ("a", "b")), ("plan_many", ([("a", "b")],))])
async def test_a_detail_that_is_none_is_refused_with_the_values(
    call: Any, stage: Any, method: str, arguments: Any
) -> None:
    with pytest.raises(errors.InvalidRequest, match="detail: expected one of cost, nodes, steps, got 'all'"):
        await call(method, *arguments, detail="all")
    assert not stage.gateway.requests
