"""The fields of a request that say how much its answer has, and in how many messages."""

from __future__ import annotations

from typing import Any

from planmesh import errors
from planmesh.v1 import plan_pb2, plan_pb2_grpc
from tests.services.gateway.test_gateway import every, failure


async def test_detail_and_batches_are_forwarded_and_an_unknown_detail_is_refused(mesh_processes: Any) -> None:
    stub = plan_pb2_grpc.PlanServiceStub(await mesh_processes.start())
    await stub.Plan(plan_pb2.PlanRequest(start="a", goal="b", detail=plan_pb2.DETAIL_COST), timeout=20)
    many = plan_pb2.PlanManyRequest(pairs=[plan_pb2.Pair(start="a", goal="b")], detail=plan_pb2.DETAIL_NODES)
    many.batched = True
    await every(stub.PlanMany(many, timeout=20))
    single, batch = mesh_processes.coordinator.requests
    assert (single.detail, batch.detail, batch.batched) == (plan_pb2.DETAIL_COST, plan_pb2.DETAIL_NODES, True)
    unknown = plan_pb2.PlanRequest(start="a", goal="b", detail=7)  # type: ignore[arg-type]
    error = await failure(stub.Plan(unknown, timeout=20))
    assert isinstance(error, errors.InvalidRequest)
    assert error.metadata["field"] == "detail"
    assert len(mesh_processes.coordinator.requests) == 2
