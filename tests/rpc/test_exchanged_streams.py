"""Both directions of a bidirectional call: responses as they arrive, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from planmesh.errors import InvalidGraph
from planmesh.rpc.client_stream import exchange_streams
from planmesh.rpc.server import Service
from planmesh.rpc.status import from_rpc_error

NAME = "planmesh.test.EchoService"


async def connected(stage: Any, handler: Any) -> Any:
    """Serve a handler of streams, and return its method of a channel."""
    server = await stage.server(Service(NAME, {"Both": grpc.stream_stream_rpc_method_handler(handler)}))
    return stage.channel(server).stream_stream(f"/{NAME}/Both")


async def echo(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def many() -> AsyncIterator[bytes]:
    for _ in range(64):
        yield b"x" * 2**16


async def test_each_response_comes_before_the_next_message_is_sent(stage: Any) -> None:
    answered = asyncio.Semaphore(1)

    async def one_by_one() -> AsyncIterator[bytes]:
        for number in range(20):
            await answered.acquire()
            yield str(number).encode()

    found = []
    async for response in exchange_streams(await connected(stage, echo), one_by_one(), timeout=60):
        found.append(int(response))
        answered.release()
    assert found == list(range(20))


async def test_an_early_end_keeps_the_servers_status(stage: Any) -> None:
    async def refuse(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        yield await anext(aiter(requests))
        raise InvalidGraph("not a number", source="edges.tsv", record="line 17", field="cost")

    call = await connected(stage, refuse)
    for _ in range(50):
        responses = exchange_streams(call, many(), timeout=60)
        assert len(await anext(responses)) == 2**16
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(responses)
        error = from_rpc_error(caught.value)
        assert isinstance(error, InvalidGraph)
        assert error.metadata["record"] == "line 17"


async def test_an_error_of_the_messages_is_raised_and_cancels_the_call(stage: Any) -> None:
    ended = asyncio.Event()

    async def collect(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        try:
            async for _ in requests:
                pass
            await asyncio.Event().wait()
            yield b""
        finally:
            ended.set()

    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async for _ in exchange_streams(await connected(stage, collect), broken(), timeout=60):
            pass
    await asyncio.wait_for(ended.wait(), 20)


async def test_closing_the_iterator_cancels_the_call(stage: Any) -> None:
    ended = asyncio.Event()

    async def answer_once(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        try:
            yield b"x"
            await asyncio.Event().wait()
        finally:
            ended.set()

    call = await connected(stage, answer_once)
    async with contextlib.aclosing(exchange_streams(call, many(), timeout=60)) as responses:
        assert await anext(responses) == b"x"
    await asyncio.wait_for(ended.wait(), 20)
