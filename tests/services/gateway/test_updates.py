"""Updates through the gateway: what it forwards, what it refuses itself, and the order of a stream's answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from planmesh import errors
from planmesh.rpc.client_stream import exchange_streams
from planmesh.rpc.status import from_rpc_error, from_status
from planmesh.v1 import graph_pb2, graph_pb2_grpc
from services.gateway.update_stream import UNANSWERED_MAX

EDGE = graph_pb2.Change(upsert_edge=graph_pb2.UpsertEdge(source="a", target="b", cost=2.5))
UPDATE = graph_pb2.UpdateGraphRequest(changes=[EDGE])
STREAM = "/planmesh.v1.GraphService/UpdateGraphStream"


def batch(graph: str = "", changes: int = 1, key: str = "") -> graph_pb2.UpdateGraphStreamRequest:
    update = graph_pb2.UpdateGraphRequest(graph=graph, changes=[EDGE] * changes, idempotency_key=key)
    return graph_pb2.UpdateGraphStreamRequest(update=update)


async def each(*messages: Any) -> AsyncIterator[Any]:
    for message in messages:
        yield message


async def answered(channel: Any, *messages: Any) -> list[Any]:
    """Send messages on a stream. Return an answer for each: a version, or an error."""
    call = graph_pb2_grpc.GraphServiceStub(channel).UpdateGraphStream
    return [outcome(answer) async for answer in exchange_streams(call, each(*messages), timeout=60)]


def outcome(answer: graph_pb2.UpdateGraphStreamResponse) -> Any:
    return answer.response.version if answer.HasField("response") else from_status(answer.status)


async def next_of(call: Any) -> Any:
    """Return the next answer of a call without our code: a version, or an error."""
    return outcome(graph_pb2.UpdateGraphStreamResponse.FromString(await anext(aiter(call))))


async def ending(call: Any) -> errors.PlanmeshError:
    """Return the error that ends a call with no further answers."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(aiter(call))
    return from_rpc_error(caught.value)


async def test_an_update_comes_through_with_defaults_filled_in(mesh_processes: Any) -> None:
    stub = graph_pb2_grpc.GraphServiceStub(await mesh_processes.start())
    asked = graph_pb2.UpdateGraphRequest(changes=[EDGE], if_version=0, idempotency_key="k", ignore_missing=True)
    response = await stub.UpdateGraph(asked, timeout=20)
    assert (response.graph, response.version, response.applied) == ("default", 5, 1)
    (received,) = mesh_processes.partition.requests
    asked.graph = "default"
    assert received.SerializeToString() == asked.SerializeToString()
    assert received.HasField("if_version")


@pytest.mark.parametrize(
    "raised",
    [
        errors.InvalidChange("expected a finite number, got nan", change=3, field="upsert_edge.cost"),
        errors.ChangeTargetUnknown("no node 'x'", change=0, field="delete_node.id"),
        errors.VersionConflict("the graph has version 7", version="7"),
        errors.KeyReused("used for another batch"),
        errors.Overloaded("too many changes wait", bound="unmerged", retry_after_s=0.5),
    ],
)
async def test_refusals_of_the_partition_service_come_back_as_they_were_raised(
    mesh_processes: Any, raised: errors.PlanmeshError
) -> None:
    async def refuse(request: Any) -> None:
        raise raised

    mesh_processes.partition.on_change = refuse
    channel = await mesh_processes.start()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await graph_pb2_grpc.GraphServiceStub(channel).UpdateGraph(UPDATE, timeout=20)
    for error in (from_rpc_error(caught.value), *await answered(channel, batch())):
        assert type(error) is type(raised)
        assert error.message == raised.message
        assert raised.metadata.items() <= error.metadata.items()


async def test_a_stream_answers_in_the_order_of_the_requests(mesh_processes: Any) -> None:
    held, go = asyncio.Event(), asyncio.Event()

    async def wait_once(request: Any) -> None:
        if request.graph == "slow":
            held.set()
            await go.wait()

    mesh_processes.partition.on_change = wait_once
    channel = await mesh_processes.start()
    call = channel.stream_stream(STREAM)(timeout=60)
    for message in (batch("No Name"), batch("slow"), batch(changes=0), batch(changes=10_001), batch(), batch("..")):
        await call.write(message.SerializeToString())
    # A refusal with nothing before it comes while the next request is being answered.
    first = await next_of(call)
    assert isinstance(first, errors.InvalidRequest)
    assert first.metadata["field"] == "graph"
    assert len(first.metadata["trace_id"]) == 32
    await asyncio.wait_for(held.wait(), 20)
    go.set()
    await call.done_writing()
    rest = [outcome(graph_pb2.UpdateGraphStreamResponse.FromString(answer)) async for answer in call]
    assert [getattr(one, "metadata", {}).get("field", one) for one in rest] == [5, "changes", "changes", 5, "graph"]
    assert [request.graph for request in mesh_processes.partition.requests] == ["slow", "default"]


async def test_a_stream_of_nothing_but_refusals(mesh_processes: Any) -> None:
    found = await answered(await mesh_processes.start(), *[batch(key="k" * 129)] * 50)
    assert [error.metadata["field"] for error in found] == ["idempotency_key"] * 50
    assert mesh_processes.partition.requests == []


async def test_a_stream_has_more_requests_than_may_be_unanswered(mesh_processes: Any) -> None:
    channel = await mesh_processes.start()
    count = 2 * UNANSWERED_MAX
    found = await answered(channel, *[batch("..") if number % 2 else batch() for number in range(count)])
    assert [isinstance(one, errors.InvalidRequest) for one in found] == [False, True] * (count // 2)


async def test_a_message_that_cannot_be_decoded_ends_the_stream_after_the_answers(mesh_processes: Any) -> None:
    channel = await mesh_processes.start()
    call = channel.stream_stream(STREAM)(timeout=60)
    for raw in (batch().SerializeToString(), batch().SerializeToString(), b"\xff\xff"):
        await call.write(raw)
    for _ in range(2):
        assert await next_of(call) == 5
    assert isinstance(await ending(call), errors.MessageUndecodable)


@pytest.mark.parametrize(("messages", "bound"), [(0, "gateway_load_first_message_s"), (1, "gateway_load_message_s")])
async def test_an_idle_stream_is_ended_and_no_longer_counts(mesh_processes: Any, messages: int, bound: str) -> None:
    channel = await mesh_processes.start(
        gateway_load_first_message_s=0.2 if messages == 0 else 60,
        gateway_load_message_s=0.2,
        gateway_updates_in_flight_max=1,
    )
    call = channel.stream_stream(STREAM)(timeout=60)
    for _ in range(messages):
        await call.write(batch().SerializeToString())
        assert await next_of(call) == 5
    error = await ending(call)
    assert isinstance(error, errors.LimitExceeded)
    assert error.metadata["bound"] == bound
    assert await answered(channel, batch()) == [5]


async def test_a_stream_that_waits_for_an_answer_is_not_idle(mesh_processes: Any) -> None:
    go = asyncio.Event()

    async def wait(request: Any) -> None:
        await go.wait()

    mesh_processes.partition.on_change = wait
    channel = await mesh_processes.start(gateway_load_message_s=0.01)
    call = channel.stream_stream(STREAM)(timeout=60)
    await call.write(batch().SerializeToString())
    # Another stream falls idle meanwhile, many times over: the first is ended only when its answer has come.
    idle = channel.stream_stream(STREAM)(timeout=60)
    await idle.write(batch("..").SerializeToString())
    assert isinstance(await next_of(idle), errors.InvalidRequest)
    assert isinstance(await ending(idle), errors.LimitExceeded)
    assert not call.done()
    go.set()
    assert await next_of(call) == 5
    assert isinstance(await ending(call), errors.LimitExceeded)


async def test_a_partition_service_that_is_down_is_named(mesh_processes: Any) -> None:
    channel = await mesh_processes.start_gateway()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answered(channel, batch())
    error = from_rpc_error(caught.value)
    assert isinstance(error, errors.ServiceUnavailable)
    assert error.metadata["service"] == "partition"


async def test_a_caller_that_leaves_cancels_the_downstream_stream(mesh_processes: Any) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def forever(request: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    mesh_processes.partition.on_change = forever
    call = (await mesh_processes.start()).stream_stream(STREAM)(timeout=60)
    await call.write(batch().SerializeToString())
    await asyncio.wait_for(begun.wait(), 20)
    call.cancel()
    await asyncio.wait_for(cancelled.wait(), 20)


async def test_every_batch_of_a_stream_counts_toward_the_rate(mesh_processes: Any) -> None:
    first, second, *_ = await answered(
        await mesh_processes.start(gateway_update_rate_per_s=0.001), batch(), batch(), batch()
    )
    assert first == 5
    assert isinstance(second, errors.Overloaded)
    assert second.metadata["bound"] == "gateway_update_rate_per_s"
    assert second.retry_after_s > 0
    assert len(mesh_processes.partition.requests) == 1
