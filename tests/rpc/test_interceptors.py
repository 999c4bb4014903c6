from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
import structlog
from opentelemetry.trace import SpanKind, StatusCode

from planmesh.errors import NodeUnknown, NoPath, Overloaded, ServiceUnavailable
from planmesh.rpc.interceptors import HandlerWrapper
from planmesh.rpc.server import Service
from planmesh.rpc.status import from_rpc_error
from planmesh.telemetry.logs import configure_logs
from planmesh.telemetry.trace_context import current_trace_id
from planmesh.telemetry.tracing import make_telemetry

NAME = "planmesh.test.EchoService"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def lines() -> Any:
    """The logged lines."""
    stream = io.StringIO()
    configure_logs("test", "json", "debug", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()


async def failing(stage: Any, channel: Any, arity: str) -> grpc.aio.AioRpcError:
    """Return the error that the rpc of an arity ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stage.call(channel, arity, b"x")
    return caught.value


ARITIES = ["Unary", "UnaryStream", "StreamUnary", "StreamStream", "Written"]


async def test_every_arity_answers(stage: Any) -> None:
    server = await stage.server(stage.service())
    channel = stage.channel(server)
    assert {arity: await stage.call(channel, arity, b"x") for arity in ARITIES} == {
        "Unary": [b"x"],
        "UnaryStream": [b"first", b"x"],
        "Written": [b"x"],
        "StreamUnary": [b"x"],
        "StreamStream": [b"x", b"x"],
    }


@pytest.mark.parametrize("arity", ARITIES)
async def test_every_arity_maps_errors(stage: Any, arity: str) -> None:
    async def fail(request: bytes, context: Any) -> bytes:
        raise NoPath("a", "b")

    server = await stage.server(stage.service(fail))
    error = await failing(stage, stage.channel(server), arity)
    restored = from_rpc_error(error)
    assert isinstance(restored, NoPath)
    assert restored.metadata["start"] == "a"


@pytest.mark.parametrize("arity", ARITIES)
async def test_an_unexpected_error_shows_only_its_trace_id(stage: Any, arity: str, lines: Any) -> None:
    async def fail(request: bytes, context: Any) -> bytes:
        raise ZeroDivisionError("the secret inside")

    server = await stage.server(stage.service(fail))
    error = await failing(stage, stage.channel(server), arity)
    assert error.code() is grpc.StatusCode.INTERNAL
    restored = from_rpc_error(error)
    trace_id = restored.metadata["trace_id"]
    assert len(trace_id) == 32
    assert trace_id in restored.message
    assert "secret" not in str(error)
    logged = [line for line in lines() if line["event"] == "call failed unexpectedly"]
    assert len(logged) == 1
    assert logged[0]["trace_id"] == trace_id
    assert logged[0]["method"] == f"{NAME}/{arity}"
    assert "ZeroDivisionError: the secret inside" in logged[0]["exception"]


async def test_the_log_level_depends_on_who_caused_the_failure(stage: Any, lines: Any) -> None:
    raised: list[Exception] = []

    async def fail(request: bytes, context: Any) -> bytes:
        raise raised[0]

    server = await stage.server(stage.service(fail))
    channel = stage.channel(server)
    levels = []
    for error in (NodeUnknown("a", []), NoPath("a", "b"), ServiceUnavailable("away"), Overloaded("full")):
        raised[:] = [error]
        await failing(stage, channel, "Unary")
        (line,) = [line for line in lines() if line.get("message") == error.message]
        levels.append(line["level"])
        assert line["reason"]
        assert line["trace_id"]
    assert levels == ["info", "debug", "warning", "debug"]


async def test_a_cancelled_future_inside_a_handler_is_a_defect_not_a_hang(stage: Any) -> None:
    async def fail(request: bytes, context: Any) -> bytes:
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        future.cancel()
        return await future

    server = await stage.server(stage.service(fail))
    error = await failing(stage, stage.channel(server), "Unary")
    assert error.code() is grpc.StatusCode.INTERNAL


async def test_a_handler_may_abort(stage: Any) -> None:
    async def fail(request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.ALREADY_EXISTS, "mine")
        raise AssertionError

    telemetry = stage.recording("server")
    server = await stage.server(stage.service(fail), telemetry=telemetry)
    error = await failing(stage, stage.channel(server), "Unary")
    assert (error.code(), error.details()) == (grpc.StatusCode.ALREADY_EXISTS, "mine")
    await server.stop(5)
    (span,) = stage.exporter.get_finished_spans()
    assert span.attributes["rpc.grpc.status_code"] == grpc.StatusCode.ALREADY_EXISTS.value[0]


@pytest.mark.parametrize("arity", ["Unary", "UnaryStream"])
async def test_a_cancelled_call_cancels_its_handler(stage: Any, arity: str) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def wait(request: bytes, context: Any) -> bytes:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return b""

    telemetry = stage.recording("server")
    server = await stage.server(stage.service(wait), telemetry=telemetry)
    channel = stage.channel(server)
    call = getattr(channel, "unary_unary" if arity == "Unary" else "unary_stream")(f"/{NAME}/{arity}", None, None)(b"x")
    if arity == "UnaryStream":
        assert await call.read() == b"first"
        leaving = None
    else:
        leaving = asyncio.ensure_future(_ignore(call))
    await asyncio.wait_for(begun.wait(), 20)
    call.cancel()
    if leaving is not None:
        await leaving
    await asyncio.wait_for(cancelled.wait(), 20)
    await server.stop(5)
    (span,) = stage.exporter.get_finished_spans()
    assert span.attributes["rpc.grpc.status_code"] == grpc.StatusCode.CANCELLED.value[0]


async def _ignore(call: Any) -> None:
    try:
        await call
    except (asyncio.CancelledError, grpc.aio.AioRpcError):
        return


async def test_a_deadline_that_passes_cancels_the_handler(stage: Any) -> None:
    cancelled = asyncio.Event()

    async def wait(request: bytes, context: Any) -> bytes:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return b""

    server = await stage.server(stage.service(wait))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stage.channel(server).unary_unary(f"/{NAME}/Unary", None, None)(b"x", timeout=0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(cancelled.wait(), 20)


async def trace_id_of_call(request: bytes, context: Any) -> bytes:
    return current_trace_id().encode()


@pytest.mark.parametrize("recording", [False, True])
async def test_the_callers_trace_continues_or_a_new_one_begins(stage: Any, recording: bool) -> None:
    telemetry = stage.recording("server") if recording else None
    server = await stage.server(stage.service(trace_id_of_call), telemetry=telemetry)
    call = stage.bare(server).unary_unary(f"/{NAME}/Unary")
    expected = TRACEPARENT.split("-")[1].encode()
    assert await call(b"", metadata=(("traceparent", TRACEPARENT),)) == expected
    fresh = [await call(b"") for _ in range(2)]
    malformed = await call(b"", metadata=(("traceparent", "00-xyz-1-01"),))
    zero = await call(b"", metadata=(("traceparent", f"00-{'0' * 32}-{'0' * 16}-01"),))
    found = {*fresh, malformed, zero, expected}
    assert len(found) == 5
    assert all(len(trace_id) == 32 and trace_id != b"0" * 32 for trace_id in found)


async def test_calls_do_not_leak_their_trace_into_each_other(stage: Any) -> None:
    async def slow(request: bytes, context: Any) -> bytes:
        before = current_trace_id()
        await asyncio.sleep(0)
        return b"%s %s" % (before.encode(), current_trace_id().encode())

    server = await stage.server(stage.service(slow))
    call = stage.channel(server).unary_unary(f"/{NAME}/Unary")
    answers = [answer.split() for answer in await asyncio.gather(*(call(b"") for _ in range(20)))]
    assert all(before == after for before, after in answers)
    assert len({before for before, _ in answers}) == 20
    assert current_trace_id() == ""


async def test_client_and_server_spans_are_parent_and_child(stage: Any) -> None:
    server = await stage.server(stage.service(), telemetry=stage.recording("server"))
    channel = stage.channel(server, stage.recording("client"))
    for arity in ARITIES:
        await stage.call(channel, arity, b"x")
    await channel.close()
    spans = stage.exporter.get_finished_spans()
    clients = {span.context.span_id: span for span in spans if span.kind is SpanKind.CLIENT}
    servers = [span for span in spans if span.kind is SpanKind.SERVER]
    assert len(clients) == len(servers) == len(ARITIES)
    for span in servers:
        parent = clients[span.parent.span_id]
        assert parent.name == span.name
        assert parent.context.trace_id == span.context.trace_id
        assert parent.resource.attributes["service.name"] == "client"
        assert span.resource.attributes["service.name"] == "server"
        for one in (span, parent):
            assert one.attributes["rpc.system"] == "grpc"
            assert one.attributes["rpc.service"] == NAME
            assert f"{NAME}/{one.attributes['rpc.method']}" == one.name
            assert one.attributes["rpc.grpc.status_code"] == 0
            assert one.status.status_code is StatusCode.UNSET


async def test_spans_of_failed_calls_are_errors(stage: Any) -> None:
    raised: list[Exception] = []

    async def fail(request: bytes, context: Any) -> bytes:
        raise raised[0]

    server = await stage.server(stage.service(fail), telemetry=stage.recording("server"))
    channel = stage.channel(server, stage.recording("client"))
    for error in (NoPath("a", "b"), ServiceUnavailable("away")):
        raised[:] = [error]
        await failing(stage, channel, "Unary")
    await channel.close()
    await server.stop(5)
    spans = stage.exporter.get_finished_spans()
    at_server = {
        span.attributes["planmesh.reason"]: span.status.status_code for span in spans if span.kind is SpanKind.SERVER
    }
    assert at_server == {"NO_PATH": StatusCode.UNSET, "SERVICE_UNAVAILABLE": StatusCode.ERROR}
    at_client = [span.status.status_code for span in spans if span.kind is SpanKind.CLIENT]
    assert at_client == [StatusCode.ERROR, StatusCode.ERROR]


def test_a_sync_handler_is_refused() -> None:
    def sync(request: bytes, context: Any) -> bytes:
        return request

    with pytest.raises(TypeError, match="async def"):
        HandlerWrapper(make_telemetry("test")).wrap("a.B/C", grpc.unary_unary_rpc_method_handler(sync))


async def test_a_rich_status_from_downstream_is_passed_on_unchanged(stage: Any) -> None:
    async def fail(request: bytes, context: Any) -> bytes:
        raise Overloaded("full", bound="in_flight", retry_after_s=0.5)

    behind = await stage.server(stage.service(fail))
    to_behind = stage.channel(behind)

    async def forward(request: bytes, context: Any) -> bytes:
        return bytes(await to_behind.unary_unary(f"/{NAME}/Unary")(request))

    front = await stage.server(stage.service(forward), f"unix:{stage.folder}/f")
    first = await failing(stage, to_behind, "Unary")
    second = await failing(stage, stage.channel(front), "Unary")
    one, two = from_rpc_error(first), from_rpc_error(second)
    assert isinstance(two, Overloaded)
    assert two.retry_after_s == 0.5
    one.metadata.pop("trace_id")
    two.metadata.pop("trace_id")
    assert (one.message, one.metadata) == (two.message, two.metadata)


async def test_cancelling_a_stream_closes_the_handlers_generator(stage: Any) -> None:
    closed = asyncio.Event()

    async def endless(request: bytes, context: Any) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 1_000
        finally:
            closed.set()

    service = Service(NAME, {"UnaryStream": grpc.unary_stream_rpc_method_handler(endless)})
    server = await stage.server(service)
    call = stage.channel(server).unary_stream(f"/{NAME}/UnaryStream")(b"")
    assert await call.read() == b"x" * 1_000
    call.cancel()
    await asyncio.wait_for(closed.wait(), 20)
