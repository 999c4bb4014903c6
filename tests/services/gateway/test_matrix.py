"""Matrices through the gateway: their rows are forwarded, and their sources and targets are charged."""

from __future__ import annotations

import math
from typing import Any

import grpc
import pytest

from planmesh.errors import InvalidRequest, Overloaded
from planmesh.rpc.status import from_rpc_error
from planmesh.v1 import plan_pb2, plan_pb2_grpc


async def test_the_rows_of_a_matrix_come_through(mesh_processes: Any) -> None:
    stub = plan_pb2_grpc.PlanServiceStub(await mesh_processes.start())
    request = plan_pb2.PlanMatrixRequest(sources=["a", "b"], targets=["c"])
    rows = [one async for one in stub.PlanMatrix(request, timeout=20)]
    assert [(one.graph, one.first_row, list(one.costs)) for one in rows] == [
        ("default", 0, [math.inf]),
        ("default", 1, [math.inf]),
    ]


async def test_a_matrix_is_charged_for_its_sources_and_targets(mesh_processes: Any) -> None:
    stub = plan_pb2_grpc.PlanServiceStub(await mesh_processes.start(gateway_rate_per_s=2.0))
    request = plan_pb2.PlanMatrixRequest(sources=["a"] * 1_000, targets=["b"] * 1_000)
    refused = plan_pb2.PlanMatrixRequest(sources=["a"] * 1_001, targets=["b"] * 1_000)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.PlanMatrix(refused, timeout=20).read()
    assert isinstance(from_rpc_error(caught.value), InvalidRequest)
    assert len([rows async for rows in stub.PlanMatrix(request, timeout=60)]) == 1_000
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Plan(plan_pb2.PlanRequest(start="a", goal="b"), timeout=20)
    late = from_rpc_error(caught.value)
    assert isinstance(late, Overloaded)
    assert 900 < late.retry_after_s < 1_000
