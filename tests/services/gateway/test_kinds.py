"""Every rpc of the public API has a kind, and counts toward its bounds."""

from __future__ import annotations

from typing import Any

import grpc.aio
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from planmesh.errors import InvalidRequest, Overloaded, PlanmeshError
from planmesh.rpc.status import from_rpc_error
from planmesh.settings import GatewaySettings
from planmesh.v1 import graph_pb2, mesh_pb2, plan_pb2, plan_pb2_grpc
from services.gateway.kinds import KIND_OF, Kind, bounds_of

METHODS: dict[str, MethodDescriptor] = {
    f"{service.full_name}/{method.name}": method
    for file in (plan_pb2, graph_pb2, mesh_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
RATES = {
    "gateway_rate_per_s": 0.001,
    "gateway_read_rate_per_s": 0.001,
    "gateway_load_rate_per_s": 0.001,
    "gateway_update_rate_per_s": 0.001,
    "gateway_admin_rate_per_s": 0.001,
}
"""Rates that allow one call, and the next after a quarter of an hour."""


def test_exactly_the_rpcs_of_the_protos_have_a_kind() -> None:
    assert set(KIND_OF) == set(METHODS)
    assert set(KIND_OF.values()) == set(Kind)


def test_every_kind_has_bounds_named_after_settings() -> None:
    bounds = bounds_of(GatewaySettings(gateway_loads_in_flight_max=7, gateway_load_rate_per_s=0.5))
    assert set(bounds) == set(Kind)
    assert (bounds[Kind.LOAD].in_flight_max, bounds[Kind.LOAD].rate_per_s) == (7, 0.5)
    assert len({each.in_flight_setting for each in bounds.values()}) == len(Kind)
    # By default no rate is limited.
    assert {each.rate_per_s for each in bounds_of(GatewaySettings()).values()} == {0.0}


async def answer(channel: Any, method: MethodDescriptor, metadata: Any) -> PlanmeshError | None:
    """Send an empty request to an rpc, and return its error, or None."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    request = GetMessageClass(method.input_type)().SerializeToString()
    try:
        if method.client_streaming and method.server_streaming:
            both = channel.stream_stream(path)(timeout=20, metadata=metadata)
            await both.done_writing()
            async for _ in both:
                pass
        elif method.client_streaming:
            call = channel.stream_unary(path)(timeout=20, metadata=metadata)
            await call.done_writing()
            await call
        elif method.server_streaming:
            async for _ in channel.unary_stream(path)(request, timeout=20, metadata=metadata):
                pass
        else:
            await channel.unary_unary(path)(request, timeout=20, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error)
    return None


@pytest.mark.parametrize("rpc", METHODS)
async def test_every_rpc_is_counted_under_its_kind(mesh_processes: Any, rpc: str) -> None:
    channel = await mesh_processes.start(**RATES, gateway_trusted_proxies="unix")
    first = await answer(channel, METHODS[rpc], (("x-forwarded-for", "203.0.113.1"),))
    assert not isinstance(first, Overloaded)
    expected = bounds_of(GatewaySettings())[KIND_OF[rpc]].rate_setting
    second = await answer(channel, METHODS[rpc], (("x-forwarded-for", "203.0.113.1"),))
    assert isinstance(second, Overloaded)
    assert second.metadata["bound"] == expected
    assert second.retry_after_s > 0
    # Another caller behind the same proxy has its own rate.
    assert not isinstance(await answer(channel, METHODS[rpc], (("x-forwarded-for", "203.0.113.2"),)), Overloaded)


async def test_a_batch_that_the_checks_refuse_costs_as_much_as_one_plan(mesh_processes: Any) -> None:
    stub = plan_pb2_grpc.PlanServiceStub(await mesh_processes.start(gateway_rate_per_s=2.0))
    pairs = [plan_pb2.Pair(start="a", goal="b")] * 9_999
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.PlanMany(plan_pb2.PlanManyRequest(pairs=[*pairs, plan_pb2.Pair(start="a")]), timeout=20).read()
    assert isinstance(from_rpc_error(caught.value), InvalidRequest)
    assert (await stub.Plan(plan_pb2.PlanRequest(start="a", goal="b"), timeout=20)).plan.goal == "b"


async def test_an_answered_batch_is_charged_in_full(mesh_processes: Any) -> None:
    stub = plan_pb2_grpc.PlanServiceStub(await mesh_processes.start(gateway_rate_per_s=2.0))
    pairs = [plan_pb2.Pair(start="a", goal="b")] * 1_000
    answers = [answer async for answer in stub.PlanMany(plan_pb2.PlanManyRequest(pairs=pairs), timeout=60)]
    assert len(answers) == 1_000
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Plan(plan_pb2.PlanRequest(start="a", goal="b"), timeout=20)
    refused = from_rpc_error(caught.value)
    assert isinstance(refused, Overloaded)
    assert refused.retry_after_s > 400


@pytest.mark.parametrize(
    "options", [{"alternatives": 20}, {"waypoints": ["c"] * 16}], ids=["alternatives", "waypoints"]
)
async def test_alternatives_and_waypoints_are_charged_as_plans(mesh_processes: Any, options: dict[str, Any]) -> None:
    stub = plan_pb2_grpc.PlanServiceStub(await mesh_processes.start(gateway_rate_per_s=0.5))
    assert (await stub.Plan(plan_pb2.PlanRequest(start="a", goal="b", **options), timeout=20)).plan.goal == "b"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Plan(plan_pb2.PlanRequest(start="a", goal="b"), timeout=20)
    refused = from_rpc_error(caught.value)
    assert isinstance(refused, Overloaded)
    assert refused.retry_after_s > 30
