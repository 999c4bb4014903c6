from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import grpc
import grpc.aio
import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from planmesh.errors import NoPath, ServiceUnavailable
from planmesh.rpc.channel import ATTEMPTS_MAX, make_channel, service_config
from planmesh.telemetry.trace_context import current_trace_id

NAME = "planmesh.test.EchoService"


def test_the_service_config_retries_unavailable_and_nothing_else() -> None:
    config = json.loads(service_config(["a.B"], [("a.B", "Load")]))
    unretried, retried = config["methodConfig"]
    assert unretried == {"name": [{"service": "a.B", "method": "Load"}]}
    assert retried["name"] == [{"service": "a.B"}]
    assert retried["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
    assert json.loads(service_config()) == {"methodConfig": []}


@pytest.mark.parametrize(
    ("error", "options", "attempts"),
    [
        (ServiceUnavailable("away"), {"retried": [NAME]}, ATTEMPTS_MAX),
        (NoPath("a", "b"), {"retried": [NAME]}, 1),
        (ServiceUnavailable("away"), {"retried": [NAME], "unretried": [(NAME, "Unary")]}, 1),
        (ServiceUnavailable("away"), {}, 1),
    ],
)
async def test_failed_calls_are_retried(stage: Any, error: Exception, options: dict[str, Any], attempts: int) -> None:
    tried = 0

    async def fail(request: bytes, context: Any) -> bytes:
        nonlocal tried
        tried += 1
        raise error

    server = await stage.server(stage.service(fail))
    with pytest.raises(grpc.aio.AioRpcError):
        await stage.channel(server, **options).unary_unary(f"/{NAME}/Unary")(b"", timeout=20)
    assert tried == attempts


async def test_a_call_that_succeeds_at_the_second_attempt_succeeds(stage: Any) -> None:
    tried = 0

    async def fail_once(request: bytes, context: Any) -> bytes:
        nonlocal tried
        tried += 1
        if tried == 1:
            raise ServiceUnavailable("away")
        return b"answer"

    server = await stage.server(stage.service(fail_once))
    assert await stage.channel(server, retried=[NAME]).unary_unary(f"/{NAME}/Unary")(b"", timeout=20) == b"answer"


async def test_calls_rotate_among_ready_servers(stage: Any) -> None:
    """All calls go to the first server until the second one is ready, and then to both."""

    def named(name: bytes) -> Any:
        async def answer(request: bytes, context: Any) -> bytes:
            return name

        return stage.service(answer)

    servers = [await stage.server(named(name), "127.0.0.1:0") for name in (b"one", b"two")]
    await servers[1].set_ready(False)
    both = "ipv4:" + ",".join(server.addresses[0] for server in servers)
    async with make_channel(both) as channel:
        call = channel.unary_unary(f"/{NAME}/Unary")
        assert {await call(b"", timeout=20, wait_for_ready=True) for _ in range(20)} == {b"one"}
        await servers[1].set_ready(True)
        async with asyncio.timeout(20):
            while await call(b"", timeout=20) != b"two":
                await asyncio.sleep(0.01)
        assert Counter([await call(b"", timeout=20) for _ in range(20)]) == {b"one": 10, b"two": 10}
        await servers[0].set_ready(False)
        async with asyncio.timeout(20):
            while await call(b"", timeout=20) != b"two" or await call(b"", timeout=20) != b"two":
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("recording", [False, True])
async def test_the_current_trace_is_propagated(stage: Any, recording: bool) -> None:
    async def trace_id_of_call(request: bytes, context: Any) -> bytes:
        state = dict(context.invocation_metadata()).get("tracestate", "")
        return f"{current_trace_id()} {state}".encode()

    server = await stage.server(stage.service(trace_id_of_call))
    channel = stage.channel(server, stage.recording("client") if recording else None)
    context = trace.SpanContext(
        0x0AF7651916CD43DD8448EB211C80319C,
        0xB7AD6B7169203331,
        is_remote=True,
        trace_flags=trace.TraceFlags(1),
        trace_state=trace.TraceState([("vendor", "x")]),
    )
    with trace.use_span(trace.NonRecordingSpan(context)):
        answer = await channel.unary_unary(f"/{NAME}/Unary")(b"", metadata=(("mine", "too"),))
    assert answer == b"0af7651916cd43dd8448eb211c80319c vendor=x"


async def test_a_call_that_cannot_be_made_ends_its_span(stage: Any) -> None:
    server = await stage.server(stage.service())
    channel = stage.channel(server, stage.recording("client"))
    with pytest.raises(TypeError):
        channel.unary_unary(f"/{NAME}/Unary")(b"", no_such_option=1)
    (span,) = stage.exporter.get_finished_spans()
    assert span.kind is SpanKind.CLIENT


async def test_a_channel_is_a_context_manager_and_reports_its_state(stage: Any) -> None:
    server = await stage.server(stage.service())
    channel = stage.channel(server)
    async with channel:
        state = channel.get_state(try_to_connect=True)
        assert state is grpc.ChannelConnectivity.IDLE
        await channel.wait_for_state_change(state)
        await channel.channel_ready()
        assert channel.get_state() is grpc.ChannelConnectivity.READY
    assert channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN
