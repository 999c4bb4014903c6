"""Undecodable bytes, sent to every rpc of the mesh on a live server."""

from __future__ import annotations

import asyncio
import functools
import io
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
import structlog
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from planmesh.errors import MessageUndecodable
from planmesh.internal.v1 import coordinator_pb2, partition_pb2
from planmesh.rpc import calls, interceptors
from planmesh.rpc.client_stream import send_stream
from planmesh.rpc.decoding import decode
from planmesh.rpc.server import Service, make_server
from planmesh.rpc.status import from_rpc_error
from planmesh.telemetry import names
from planmesh.telemetry.limited_log import LimitedLog
from planmesh.telemetry.logs import configure_logs
from planmesh.telemetry.tracing import make_telemetry
from planmesh.v1 import graph_pb2, mesh_pb2, plan_pb2
from tests.rpc.random_messages import random_bytes, random_message

OURS = (plan_pb2, graph_pb2, mesh_pb2, coordinator_pb2, partition_pb2)
METHODS: list[MethodDescriptor] = [
    method for file in OURS for service in file.DESCRIPTOR.services_by_name.values() for method in service.methods
]
STANDARD: list[MethodDescriptor] = [
    health_pb2.DESCRIPTOR.services_by_name["Health"].methods_by_name["Check"],
    reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].methods_by_name["ServerReflectionInfo"],
]
MESSAGES = 120
"""Messages sent to each rpc."""
LINES_APART_S = 3_600.0
"""The limited log's interval in these tests, so that the number of lines does not depend on time."""


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Everything that planmesh and the libraries log."""
    stream = io.StringIO()
    configure_logs("test", "json", "info", stream)
    monkeypatch.setattr(calls, "LimitedLog", functools.partial(LimitedLog, interval_s=LINES_APART_S))
    yield stream
    structlog.reset_defaults()


def services() -> list[Service]:
    """Return every service of the mesh; each rpc reads all its requests and answers with empty messages."""
    handlers: dict[str, dict[str, Any]] = {}
    for method in METHODS:
        handlers.setdefault(method.containing_service.full_name, {})[method.name] = handler(method)
    return [Service(name, of_service) for name, of_service in handlers.items()]


def handler(method: MethodDescriptor) -> grpc.RpcMethodHandler[Any, Any]:
    answer = GetMessageClass(method.output_type)()

    async def unary(request: Any, context: Any) -> Any:
        assert isinstance(request, GetMessageClass(method.input_type))
        return answer

    async def server_stream(request: Any, context: Any) -> AsyncIterator[Any]:
        yield await unary(request, context)

    async def client_stream(requests: Any, context: Any) -> Any:
        async for request in requests:
            await unary(request, context)
        return answer

    async def both(requests: Any, context: Any) -> AsyncIterator[Any]:
        # A separate task reads, and its error is lost.
        await asyncio.gather(asyncio.create_task(client_stream(requests, context)), return_exceptions=True)
        yield answer

    behaviors = {(False, False): unary, (False, True): server_stream, (True, False): client_stream, (True, True): both}
    make = interceptors._MAKERS[method.client_streaming, method.server_streaming]
    return make(
        behaviors[method.client_streaming, method.server_streaming],
        GetMessageClass(method.input_type).FromString,
        lambda message: message.SerializeToString(),
    )


async def outcome(channel: Any, method: MethodDescriptor, messages: list[bytes]) -> grpc.aio.AioRpcError | None:
    """Return the error that the rpc ends with for these bytes, None when it answers."""
    path = f"/{method.containing_service.full_name}/{method.name}"

    async def each() -> AsyncIterator[bytes]:
        for message in messages:
            yield message

    try:
        if method.client_streaming and method.server_streaming:
            stream = channel.stream_stream(path)(timeout=60)
            for message in messages[:-1]:
                await stream.write(message)
            await stream.write(messages[-1])
            await stream.done_writing()
            async for _ in stream:
                pass
        elif method.client_streaming:
            await send_stream(channel.stream_unary(path), each(), timeout=60)
        elif method.server_streaming:
            async for _ in channel.unary_stream(path)(messages[0], timeout=60):
                pass
        else:
            await channel.unary_unary(path)(messages[0], timeout=60)
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
        if isinstance(error, grpc.aio.AioRpcError) and error.details() != "Internal error from Core":
            return error
        # The call had ended before the write, so it has the status.
        return grpc.aio.AioRpcError(
            await stream.code(), grpc.aio.Metadata(), await stream.trailing_metadata(), await stream.details(), ""
        )
    return None


def readable(method: MethodDescriptor, raw: bytes) -> bool:
    try:
        GetMessageClass(method.input_type).FromString(raw)
    except DecodeError:
        return False
    return True


@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
async def test_undecodable_messages_are_the_callers_error_at_every_rpc(
    stage: Any, logged: io.StringIO, first: bool
) -> None:
    reader = InMemoryMetricReader()
    telemetry = make_telemetry("test", metric_readers=[reader])
    server = make_server(services(), [f"unix:{stage.folder}/s"], telemetry)
    await server.start()
    stage.stack.push_async_callback(server.stop, 0)
    channel = stage.bare(server)
    draw, expected, found = random.Random(13), Counter[str](), Counter[tuple[str, str, str]]()
    for method in [*METHODS, *STANDARD]:
        if not first and not method.client_streaming:
            continue
        name = f"{method.containing_service.full_name}/{method.name}"
        for _ in range(MESSAGES):
            raw = random_bytes(method.input_type, draw)
            valid = random_message(method.input_type, draw).SerializeToString()
            error = await outcome(channel, method, [raw] if first else [valid, raw])
            if readable(method, raw):
                # Health answers NOT_FOUND for an unknown service.
                assert error is None or (method in STANDARD and error.code() is grpc.StatusCode.NOT_FOUND)
                continue
            expected[name] += 1
            assert error is not None
            restored = from_rpc_error(error)
            found[name, error.code().name, type(restored).__name__] += 1
            assert "proto" in restored.message
    assert found == {(name, "INVALID_ARGUMENT", "MessageUndecodable"): n for name, n in expected.items()}
    assert sum(expected.values()) > MESSAGES
    text = logged.getvalue()
    assert "Traceback" not in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["event"] for line in lines] == ["a message cannot be decoded"]
    assert counted(reader) == expected


def counted(reader: InMemoryMetricReader) -> dict[str, int]:
    data: Any = reader.get_metrics_data()
    return {
        point.attributes[names.RPC_METHOD]: point.value
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == names.METRIC_UNDECODABLE
        for point in metric.data.data_points
    }


async def test_a_forwarding_service_logs_undecodable_messages_as_rarely(stage: Any, logged: io.StringIO) -> None:
    async def refuse(request: bytes, context: Any) -> bytes:
        return decode(plan_pb2.PlanRequest.FromString, request).SerializeToString()

    behind = await stage.server(stage.service(refuse))
    to_behind = stage.channel(behind)

    async def forward(request: bytes, context: Any) -> bytes:
        return bytes(await to_behind.unary_unary("/planmesh.test.EchoService/Unary")(request))

    front = await stage.server(stage.service(forward), f"unix:{stage.folder}/f")
    for _ in range(50):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stage.call(stage.channel(front), "Unary", b"\xff\xff")
        assert isinstance(from_rpc_error(caught.value), MessageUndecodable)
    events = [json.loads(line)["event"] for line in logged.getvalue().splitlines()]
    events = [event for event in events if event != "ready"]
    assert sorted(events) == ["a message cannot be decoded", "call failed downstream"]


def test_the_error_names_the_type_and_field_and_repeats_no_bytes() -> None:
    with pytest.raises(MessageUndecodable) as caught:
        decode(graph_pb2.LoadGraphRequest.FromString, b"\x0asecret-of-somebody", field="header")
    assert caught.value.message.startswith("header: ")
    assert "LoadGraphRequest" in caught.value.message
    assert "secret" not in caught.value.message
    assert caught.value.metadata == {"field": "header"}
