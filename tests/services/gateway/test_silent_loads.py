"""Loads that say nothing: they hold places of loads alone, and not for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from planmesh.errors import LimitExceeded, MessageUndecodable, Overloaded
from planmesh.rpc.client_stream import send_stream
from planmesh.rpc.status import from_rpc_error
from planmesh.v1 import graph_pb2, graph_pb2_grpc, mesh_pb2, mesh_pb2_grpc, plan_pb2, plan_pb2_grpc

LOAD = "/planmesh.v1.GraphService/LoadGraph"
HEADER = graph_pb2.LoadGraphRequest(header=graph_pb2.LoadGraphHeader(graph="default"))
NODES = graph_pb2.LoadGraphRequest(nodes=graph_pb2.NodeBatch(ids=["a"]))
PLAN = plan_pb2.PlanRequest(start="a", goal="b")
PLACES = 100
"""Of loads, by default."""
STREAMS = 1_000


async def test_a_thousand_silent_loads_shut_nothing_else_out(mesh_processes: Any) -> None:
    channel = await mesh_processes.start(gateway_load_first_message_s=3_600.0)
    silent = [channel.stream_unary(LOAD)(timeout=600) for _ in range(STREAMS)]
    ended: asyncio.Queue[Any] = asyncio.Queue()
    for call in silent:
        call.add_done_callback(ended.put_nowait)
    refused = [await asyncio.wait_for(ended.get(), 60) for _ in range(STREAMS - PLACES)]
    assert {await call.code() for call in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await refused[0]
    error = from_rpc_error(caught.value)
    assert isinstance(error, Overloaded)
    assert error.metadata["bound"] == "gateway_loads_in_flight_max"
    assert sum(not call.done() for call in silent) == PLACES
    # Everything else is answered while they are silent.
    assert (await plan_pb2_grpc.PlanServiceStub(channel).Plan(PLAN, timeout=20)).plan.goal == "b"
    assert (await graph_pb2_grpc.GraphServiceStub(channel).GetGraph(graph_pb2.GetGraphRequest(), timeout=20)).graph
    assert (await mesh_pb2_grpc.MeshServiceStub(channel).GetStatus(mesh_pb2.GetStatusRequest(), timeout=20)).ready
    await graph_pb2_grpc.GraphServiceStub(channel).UnloadGraph(graph_pb2.UnloadGraphRequest(), timeout=20)
    for call in silent:
        call.cancel()


async def ending(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(call, 60)
    return from_rpc_error(caught.value)


async def test_a_load_without_a_first_message_is_ended_and_gives_its_place_back(mesh_processes: Any) -> None:
    channel = await mesh_processes.start(gateway_load_first_message_s=0.05, gateway_loads_in_flight_max=1)
    error = await ending(channel.stream_unary(LOAD)(timeout=600))
    assert isinstance(error, LimitExceeded)
    assert error.metadata["bound"] == "gateway_load_first_message_s"
    stub = graph_pb2_grpc.GraphServiceStub(channel)
    assert (await send_stream(stub.LoadGraph, _messages(HEADER, NODES), timeout=60)).report.version == 4


async def test_a_load_that_falls_silent_is_ended_here_and_behind(mesh_processes: Any) -> None:
    channel = await mesh_processes.start(gateway_load_message_s=0.2, gateway_loads_in_flight_max=1)
    call = channel.stream_unary(LOAD)(timeout=600)
    await call.write(HEADER.SerializeToString())
    error = await ending(call)
    assert isinstance(error, LimitExceeded)
    assert error.metadata["bound"] == "gateway_load_message_s"
    stub = graph_pb2_grpc.GraphServiceStub(channel)
    assert (await send_stream(stub.LoadGraph, _messages(HEADER, NODES), timeout=60)).report.version == 4


async def test_a_header_that_cannot_be_decoded_is_named(mesh_processes: Any) -> None:
    channel = await mesh_processes.start()
    call = channel.stream_unary(LOAD)(timeout=60)
    await call.write(b"\xff\xff\xff")
    error = await ending(call)
    assert isinstance(error, MessageUndecodable)
    assert error.metadata["field"] == "header"


async def test_a_later_message_that_cannot_be_decoded_ends_the_load_as_the_callers_fault(mesh_processes: Any) -> None:
    channel = await mesh_processes.start()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await send_stream(channel.stream_unary(LOAD), _messages(HEADER.SerializeToString(), b"\xff\xff"), timeout=60)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert isinstance(from_rpc_error(caught.value), MessageUndecodable)


async def _messages(*messages: Any) -> AsyncIterator[Any]:
    for message in messages:
        yield message
