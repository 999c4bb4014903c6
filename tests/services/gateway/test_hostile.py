"""Random messages, as a hostile client that knows the protos may send them: decodable, but without sense."""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc.aio
import pytest
import structlog
from google.protobuf.descriptor import MethodDescriptor

from planmesh.rpc.client_stream import exchange_streams, send_stream
from planmesh.rpc.status import from_rpc_error
from planmesh.telemetry.logs import configure_logs
from planmesh.v1 import graph_pb2, mesh_pb2, plan_pb2
from tests.rpc.random_messages import random_message

METHODS: list[MethodDescriptor] = [
    method
    for file in (plan_pb2, graph_pb2, mesh_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
MESSAGES = 100
"""Messages to each rpc."""
ALLOWED = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"}


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure_logs("test", "json", "info", stream)
    yield stream
    structlog.reset_defaults()


async def code_of(channel: Any, method: MethodDescriptor, messages: list[Any]) -> str:
    """Return the status code, or ANONYMOUS for an error without a reason of planmesh."""
    path = f"/{method.containing_service.full_name}/{method.name}"

    async def each() -> Any:
        for message in messages:
            yield message.SerializeToString()

    try:
        if method.client_streaming and method.server_streaming:
            async for _ in exchange_streams(channel.stream_stream(path), each(), timeout=60):
                pass
        elif method.client_streaming:
            await send_stream(channel.stream_unary(path), each(), timeout=60)
        elif method.server_streaming:
            async for _ in channel.unary_stream(path)(messages[0].SerializeToString(), timeout=60):
                pass
        else:
            await channel.unary_unary(path)(messages[0].SerializeToString(), timeout=60)
    except grpc.aio.AioRpcError as error:
        return "ANONYMOUS" if "code" in from_rpc_error(error).metadata else error.code().name
    return "OK"


async def test_no_decodable_message_causes_an_unknown_or_an_internal_error(
    mesh_processes: Any, logged: io.StringIO
) -> None:
    channel = await mesh_processes.start()
    draw, found = random.Random(13), Counter[tuple[str, str]]()
    for method in METHODS:
        for _ in range(MESSAGES):
            messages = [random_message(method.input_type, draw) for _ in range(3)]
            found[method.name, await code_of(channel, method, messages)] += 1
    assert {code for _, code in found} <= ALLOWED
    assert sum(found.values()) == MESSAGES * len(METHODS)
    # The checks passed some messages and refused others.
    assert {"OK", "INVALID_ARGUMENT"} <= {code for _, code in found}
    assert "Traceback" not in logged.getvalue()
    assert not [line for line in map(json.loads, logged.getvalue().splitlines()) if line["level"] == "error"]
