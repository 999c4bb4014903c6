from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from planmesh.errors import ServiceUnavailable
from planmesh.internal.v1 import coordinator_pb2, coordinator_pb2_grpc
from planmesh.rpc.channel import METADATA_BYTES_MAX, REQUEST_BYTES_MAX
from planmesh.rpc.server import LIVENESS, Service, make_server, serve_until_signal
from planmesh.rpc.status import from_rpc_error
from planmesh.telemetry.tracing import make_telemetry

NAME = "planmesh.test.EchoService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
COORDINATOR = "planmesh.internal.v1.CoordinatorService"


class OnlyEcho(coordinator_pb2_grpc.CoordinatorServiceServicer):
    async def Echo(self, request: Any, context: Any) -> coordinator_pb2.EchoResponse:  # noqa: N802
        return coordinator_pb2.EchoResponse()


def only_echo() -> Service:
    servicer = OnlyEcho()  # type: ignore[abstract]  # the test needs the other methods to be missing
    return Service.of(coordinator_pb2_grpc.add_CoordinatorServiceServicer_to_server, servicer)


async def health(channel: grpc.aio.Channel, name: str) -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    return int((await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=20)).status)


async def test_health_follows_readiness_and_liveness_does_not(stage: Any) -> None:
    server = await stage.server(stage.service())
    channel = stage.bare(server)
    for ready in (True, False, True):
        await server.set_ready(ready)
        assert server.ready is ready
        expected = SERVING if ready else NOT_SERVING
        assert [await health(channel, name) for name in ("", NAME, LIVENESS)] == [expected, expected, SERVING]


async def test_health_is_watched(stage: Any) -> None:
    server = await stage.server(stage.service())
    stub = health_pb2_grpc.HealthStub(stage.bare(server))
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=NAME), timeout=20)
    assert (await watch.read()).status == SERVING
    await server.set_ready(False)
    assert (await watch.read()).status == NOT_SERVING
    watch.cancel()


async def test_reflection_lists_and_describes_without_our_code(stage: Any) -> None:
    server = await stage.server(only_echo())
    stub = reflection_pb2_grpc.ServerReflectionStub(stage.bare(server))
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=COORDINATOR),
    ]
    answers = [answer async for answer in stub.ServerReflectionInfo(iter(asked), timeout=20)]
    listed = {service.name for service in answers[0].list_services_response.service}
    assert listed == {COORDINATOR, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    file = descriptor_pb2.FileDescriptorProto.FromString(answers[1].file_descriptor_response.file_descriptor_proto[0])
    assert "ComputePlan" in {method.name for method in file.service[0].method}


async def test_a_method_without_a_handler_is_unimplemented(stage: Any) -> None:
    server = await stage.server(only_echo())
    stub = coordinator_pb2_grpc.CoordinatorServiceStub(stage.bare(server))
    assert await stub.Echo(coordinator_pb2.EchoRequest()) == coordinator_pb2.EchoResponse()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ComputePlan(coordinator_pb2.ComputePlanRequest())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_message_over_the_bound_is_refused_by_name(stage: Any) -> None:
    server = await stage.server(stage.service())
    call = stage.bare(server).unary_unary(f"/{NAME}/Unary")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"x" * (REQUEST_BYTES_MAX + 1), timeout=20)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(REQUEST_BYTES_MAX) in str(caught.value.details())
    restored = from_rpc_error(caught.value)
    assert restored.metadata["bound"] == "message_bytes"
    assert "smaller" in restored.message
    # Our own channel would not even send it.
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stage.channel(server).unary_unary(f"/{NAME}/Unary")(b"x" * (REQUEST_BYTES_MAX + 1), timeout=20)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("arity", ["UnaryStream", "StreamUnary"])
async def test_a_stream_with_a_message_over_the_bound_is_refused_too(stage: Any, arity: str) -> None:
    server = await stage.server(stage.service())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stage.call(stage.bare(server), arity, b"x" * (REQUEST_BYTES_MAX + 1))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_message_that_exceeds_the_bound_when_decompressed_is_refused(stage: Any) -> None:
    server = await stage.server(stage.service())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stage.call(stage.bare(server), "Unary", bytes(4 * REQUEST_BYTES_MAX), compression=grpc.Compression.Gzip)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("size_bytes", [METADATA_BYTES_MAX, METADATA_BYTES_MAX + 5_000, 2**21])
async def test_metadata_over_the_bound_are_refused_each_time(stage: Any, size_bytes: int) -> None:
    server = await stage.server(stage.service())
    channel = stage.bare(server)
    assert await stage.call(channel, "Unary", b"x", metadata=(("x", "y" * (METADATA_BYTES_MAX // 2)),)) == [b"x"]
    for _ in range(10):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stage.call(channel, "Unary", b"x", metadata=(("x", "y" * size_bytes),))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_burst_waits_instead_of_being_refused(stage: Any) -> None:
    """With gRPC's own bound, some calls above 1,000 would be refused without a time to retry."""
    server = await stage.server(stage.service())
    call = stage.bare(server).unary_unary(f"/{NAME}/Unary")
    answers = [call(b"burst", timeout=60) for _ in range(6_000)]
    codes = Counter([await answer.code() for answer in answers])
    assert codes == {grpc.StatusCode.OK: 6_000}


async def test_stopping_reports_not_serving_then_lets_calls_end(stage: Any) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def wait(request: bytes, context: Any) -> bytes:
        begun.set()
        await go.wait()
        return request

    server = await stage.server(stage.service(wait))
    channel = stage.bare(server)
    under_way = asyncio.ensure_future(_await(channel.unary_unary(f"/{NAME}/Unary")(b"last")))
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=20)
    assert (await watch.read()).status == SERVING
    await asyncio.wait_for(begun.wait(), 20)
    stopping = asyncio.ensure_future(server.stop(20))
    assert (await watch.read()).status == NOT_SERVING
    watch.cancel()
    await server.set_ready(True)
    assert not server.ready
    go.set()
    assert await under_way == b"last"
    await stopping
    late = stage.bare(server)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await late.unary_unary(f"/{NAME}/Unary")(b"late", timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def _await(call: Any) -> Any:
    return await call


async def test_calls_that_outlast_the_grace_are_cancelled(stage: Any) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def wait(request: bytes, context: Any) -> bytes:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return b""

    server = await stage.server(stage.service(wait))
    under_way = asyncio.ensure_future(_await(stage.bare(server).unary_unary(f"/{NAME}/Unary")(b"")))
    await asyncio.wait_for(begun.wait(), 20)
    await server.stop(0.05)
    await asyncio.wait_for(cancelled.wait(), 20)
    with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
        await under_way


async def test_a_signal_stops_and_a_second_one_hurries(stage: Any) -> None:
    begun = asyncio.Event()

    async def wait(request: bytes, context: Any) -> bytes:
        begun.set()
        await asyncio.Event().wait()
        return b""

    server = await stage.server(stage.service(wait))
    channel = stage.bare(server)
    serving = asyncio.ensure_future(serve_until_signal(server, grace_s=3_600))
    under_way = asyncio.ensure_future(_await(channel.unary_unary(f"/{NAME}/Unary")(b"")))
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
    assert (await watch.read()).status == SERVING
    await asyncio.wait_for(begun.wait(), 20)
    os.kill(os.getpid(), signal.SIGTERM)
    assert (await watch.read()).status == NOT_SERVING
    watch.cancel()
    assert not serving.done()
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.wait_for(serving, 60)
    with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
        await under_way


async def test_a_leaving_service_reports_not_serving_and_still_answers(stage: Any) -> None:
    server = await stage.server(stage.service())
    channel = stage.bare(server)
    serving = asyncio.ensure_future(serve_until_signal(server, grace_s=3_600, leave_s=3_600))
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
    assert (await watch.read()).status == SERVING
    os.kill(os.getpid(), signal.SIGTERM)
    assert (await watch.read()).status == NOT_SERVING
    assert await channel.unary_unary(f"/{NAME}/Unary")(b"x") == b"x"
    assert not serving.done()
    watch.cancel()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(serving, 60)
    with pytest.raises(grpc.aio.AioRpcError):
        await channel.unary_unary(f"/{NAME}/Unary")(b"x")


async def test_the_real_port_replaces_port_0(stage: Any) -> None:
    server = await stage.server(stage.service(), "127.0.0.1:0")
    host, _, port = server.addresses[0].rpartition(":")
    assert host == "127.0.0.1"
    assert int(port) > 0
    assert await stage.channel(server).unary_unary(f"/{NAME}/Unary")(b"x") == b"x"


async def test_a_port_in_use_is_a_clear_error(stage: Any) -> None:
    first = await stage.server(stage.service(), "127.0.0.1:0")
    second = make_server([stage.service()], [first.addresses[0]], make_telemetry("test"))
    with pytest.raises(ServiceUnavailable, match="Address already in use") as caught:
        await second.start()
    assert caught.value.metadata["address"] == first.addresses[0]
    await second.stop(0)


async def test_the_socket_of_a_dead_process_is_replaced(stage: Any) -> None:
    path = stage.folder / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.exists()
    server = await stage.server(stage.service())
    assert await stage.channel(server).unary_unary(f"/{NAME}/Unary")(b"x") == b"x"
    await server.stop(0)
    assert not path.exists()


async def test_the_socket_of_a_live_process_is_not_taken(stage: Any) -> None:
    first = await stage.server(stage.service())
    second = make_server([stage.service()], [first.addresses[0]], make_telemetry("test"))
    with pytest.raises(ServiceUnavailable, match="another process serves there"):
        await second.start()
    await second.stop(0)
    assert await stage.channel(first).unary_unary(f"/{NAME}/Unary")(b"x") == b"x"


@pytest.mark.parametrize("wrong", ["file", "folder", "long"])
async def test_an_impossible_socket_is_a_clear_error(stage: Any, wrong: str) -> None:
    path: Path = {
        "file": stage.folder / "file",
        "folder": stage.folder / "missing" / "s",
        "long": stage.folder / ("x" * 120),
    }[wrong]
    if wrong == "file":
        path.write_text("not a socket")
    server = make_server([stage.service()], [f"unix:{path}"], make_telemetry("test"))
    with pytest.raises(ServiceUnavailable, match="cannot listen on unix:"):
        await server.start()
    await server.stop(0)
    if wrong == "file":
        assert path.read_text() == "not a socket"


QUIET_S = 6.0
PING_INTERVAL_MS = 1_000
"""gRPC's shortest interval between pings."""


async def ask_quietly(stage: Any) -> list[bytes]:
    """Make a long call without data, on a connection with frequent keepalive pings."""

    async def slow(request: bytes, context: Any) -> bytes:
        await asyncio.sleep(QUIET_S)
        return request

    server = await stage.server(stage.service(slow))
    # Without the second option, gRPC sends two such pings and then one a minute.
    often = [("grpc.keepalive_time_ms", PING_INTERVAL_MS), ("grpc.http2.max_pings_without_data", 0)]
    channel = stage.channel(server, options=often)
    return list(await stage.call(channel, "Unary", b"quiet"))


async def test_a_quiet_call_outlives_the_pings_of_its_client(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("planmesh.rpc.server.KEEPALIVE_INTERVAL_MS_MIN", PING_INTERVAL_MS // 2)
    assert await ask_quietly(stage) == [b"quiet"]


async def test_a_client_that_pings_too_often_is_disconnected(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that the test before this one can fail: a load may take minutes in which nothing is sent."""
    monkeypatch.setattr("planmesh.rpc.server.KEEPALIVE_INTERVAL_MS_MIN", 300_000)
    with pytest.raises(grpc.aio.AioRpcError, match=r"Too many pings|too_many_pings"):
        await ask_quietly(stage)
