"""A service with one rpc of every arity and a behaviour that the test chooses, behind a real server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from planmesh.rpc.channel import TracedChannel, make_channel
from planmesh.rpc.client_stream import send_stream
from planmesh.rpc.server import Server, Service, make_server
from planmesh.telemetry.tracing import Telemetry, make_telemetry

NAME = "planmesh.test.EchoService"
Behavior = Callable[[bytes, Any], Awaitable[bytes]]


async def echo(request: bytes, context: Any) -> bytes:
    return request


async def each(messages: list[bytes]) -> AsyncIterator[bytes]:
    for message in messages:
        yield message


def echo_service(behavior: Behavior = echo) -> Service:
    """Return a service whose rpcs answer each message by `behavior`."""

    async def unary(request: bytes, context: Any) -> bytes:
        return await behavior(request, context)

    async def unary_stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        yield await behavior(request, context)

    async def stream_unary(requests: AsyncIterator[bytes], context: Any) -> bytes:
        received = [message async for message in requests]
        return await behavior(received[-1], context)

    async def stream_stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for message in requests:
            yield await behavior(message, context)

    async def written(request: bytes, context: Any) -> None:
        await context.write(await behavior(request, context))

    return Service(
        NAME,
        {
            "Unary": grpc.unary_unary_rpc_method_handler(unary),
            "UnaryStream": grpc.unary_stream_rpc_method_handler(unary_stream),
            "StreamUnary": grpc.stream_unary_rpc_method_handler(stream_unary),
            "StreamStream": grpc.stream_stream_rpc_method_handler(stream_stream),
            "Written": grpc.unary_stream_rpc_method_handler(written),
        },
    )


@dataclass
class Stage:
    """Starts servers and channels, and closes them after the test."""

    folder: Path
    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    def service(self, behavior: Behavior = echo) -> Service:
        """Return the service with a behaviour."""
        return echo_service(behavior)

    def recording(self, service: str) -> Telemetry:
        """Return telemetry whose spans the test can read."""
        telemetry = make_telemetry(service, span_processors=[SimpleSpanProcessor(self.exporter)])
        self.stack.callback(telemetry.shutdown)
        return telemetry

    async def server(
        self, service: Service, address: str = "", telemetry: Telemetry | None = None, **options: Any
    ) -> Server:
        """Return a started and ready server on a unix socket."""
        server = make_server(
            [service], [address or f"unix:{self.folder}/s"], telemetry or make_telemetry("test"), **options
        )
        await server.start()
        self.stack.push_async_callback(server.stop, 0)
        await server.set_ready(True)
        return server

    def channel(self, server: Server, telemetry: Telemetry | None = None, **options: Any) -> TracedChannel:
        """Open a channel with our code."""
        channel = make_channel(server.addresses[0], telemetry, **options)
        self.stack.push_async_callback(channel.close)
        return channel

    async def call(self, channel: Any, arity: str, request: bytes, **options: Any) -> list[bytes]:
        """Call the rpc of an arity and return its answers; a stream of requests sends the message twice."""
        path = f"/{NAME}/{arity}"
        options = {"timeout": 20, **options}
        if arity == "Unary":
            return [await channel.unary_unary(path, None, None)(request, **options)]
        if arity == "StreamUnary":
            return [await send_stream(channel.stream_unary(path, None, None), each([request, request]), **options)]
        if arity == "StreamStream":
            stream = channel.stream_stream(path, None, None)(**options)
            answers = []
            for _ in range(2):
                # One by one: a write after the server's end loses its status (see rpc/client_stream.py).
                await stream.write(request)
                answers.append(await stream.read())
            await stream.done_writing()
            return answers
        stream = channel.unary_stream(path, None, None)(request, **options)
        return [message async for message in stream]

    def bare(self, server: Server) -> Any:
        """Open a channel as a client without our code would."""
        channel = grpc.aio.insecure_channel(server.addresses[0])
        self.stack.push_async_callback(channel.close, None)
        return channel


@pytest.fixture
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    # Not tmp_path, because the name of a unix socket has at most 107 bytes.
    stage = Stage(tmp_path_factory.mktemp("s"))
    async with stage.stack:
        yield stage
