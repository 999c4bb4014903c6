from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from planmesh.errors import InvalidGraph
from planmesh.rpc.client_stream import send_stream
from planmesh.rpc.server import Service
from planmesh.rpc.status import from_rpc_error

NAME = "planmesh.test.EchoService"


async def refuse(requests: AsyncIterator[bytes], context: Any) -> bytes:
    await anext(aiter(requests))
    raise InvalidGraph("not a number", source="edges.tsv", record="line 17", field="cost")


async def count(requests: AsyncIterator[bytes], context: Any) -> bytes:
    return str(len([message async for message in requests])).encode()


def service(handler: Any) -> Service:
    return Service(NAME, {"StreamUnary": grpc.stream_unary_rpc_method_handler(handler)})


async def many() -> AsyncIterator[bytes]:
    for _ in range(64):
        yield b"x" * 2**16


async def test_an_early_end_keeps_the_servers_status(stage: Any) -> None:
    server = await stage.server(service(refuse))
    call = stage.channel(server).stream_unary(f"/{NAME}/StreamUnary")
    for _ in range(50):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await send_stream(call, many(), timeout=60)
        error = from_rpc_error(caught.value)
        assert isinstance(error, InvalidGraph)
        assert error.metadata["record"] == "line 17"


async def test_the_answer_is_returned(stage: Any) -> None:
    server = await stage.server(service(count))
    call = stage.channel(server).stream_unary(f"/{NAME}/StreamUnary")
    assert await send_stream(call, many(), timeout=60) == b"64"


async def test_a_server_that_stops_is_an_error(stage: Any) -> None:
    begun = asyncio.Event()

    async def hang(requests: AsyncIterator[bytes], context: Any) -> bytes:
        begun.set()
        await asyncio.Event().wait()
        return b""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0)

    server = await stage.server(service(hang))
    call = stage.channel(server).stream_unary(f"/{NAME}/StreamUnary")
    waiting = asyncio.ensure_future(send_stream(call, endless(), timeout=60))
    await asyncio.wait_for(begun.wait(), 20)
    await server.stop(0)
    with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
        await asyncio.wait_for(waiting, 20)


async def test_cancelling_the_caller_cancels_the_call(stage: Any) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(requests: AsyncIterator[bytes], context: Any) -> bytes:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return b""

    server = await stage.server(service(hang))
    call = stage.channel(server).stream_unary(f"/{NAME}/StreamUnary")
    waiting = asyncio.ensure_future(send_stream(call, many(), timeout=60))
    await asyncio.wait_for(begun.wait(), 20)
    waiting.cancel()
    await asyncio.wait_for(cancelled.wait(), 20)
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_an_error_of_the_messages_is_raised_and_cancels_the_call(stage: Any) -> None:
    ended = asyncio.Event()

    async def collect(requests: AsyncIterator[bytes], context: Any) -> bytes:
        try:
            async for _ in requests:
                pass
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise ZeroDivisionError

    server = await stage.server(service(collect))
    call = stage.channel(server).stream_unary(f"/{NAME}/StreamUnary")
    with pytest.raises(ZeroDivisionError):
        await send_stream(call, broken(), timeout=60)
    await asyncio.wait_for(ended.wait(), 20)


@pytest.mark.parametrize("messages", [0, 1, 2])
async def test_a_refusal_while_the_stream_is_closed_is_kept(stage: Any, messages: int) -> None:
    async def at_once(requests: AsyncIterator[bytes], context: Any) -> bytes:
        raise InvalidGraph("refused")

    async def few() -> AsyncIterator[bytes]:
        for _ in range(messages):
            yield b"x"
            await asyncio.sleep(0)

    server = await stage.server(service(at_once))
    call = stage.channel(server).stream_unary(f"/{NAME}/StreamUnary")
    for _ in range(100):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await send_stream(call, few(), timeout=60)
        assert isinstance(from_rpc_error(caught.value), InvalidGraph)


async def test_a_missing_server_is_unavailable(stage: Any) -> None:
    server = await stage.server(service(count))
    call = stage.channel(server).stream_unary(f"/{NAME}/StreamUnary")
    await server.stop(0)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await send_stream(call, many(), timeout=60)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
