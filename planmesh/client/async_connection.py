"""The async client's connection: a channel of one event loop, and calls whose errors are planmesh's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message
from opentelemetry.trace import Tracer

from planmesh.client import core
from planmesh.client.core import Rpc
from planmesh.rpc import status as rpc_status
from planmesh.rpc.channel import TracedChannel, make_channel
from planmesh.rpc.client_stream import exchange_streams, send_stream

AnyRequest = TypeVar("AnyRequest", bound=Message)
AnyResponse = TypeVar("AnyResponse", bound=Message)
Item = TypeVar("Item")


class AsyncConnection:
    """A connection that opens with the first call. Calls raise the errors of `planmesh.errors`."""

    def __init__(
        self,
        address: str,
        timeout_s: float,
        token: str | None,
        tracer: Tracer | None,
        credentials: grpc.ChannelCredentials | None,
    ) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self._metadata = core.bearer(token)
        self._tracer = tracer
        self._credentials = credentials
        self._channel: TracedChannel | None = None
        self._calls: dict[str, Any] = {}

    async def __aenter__(self) -> Self:
        self._connected()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        channel, self._channel = self._channel, None
        self._calls.clear()
        if channel is not None:
            await channel.close()

    def _connected(self) -> TracedChannel:
        # Made on first use, not in the constructor: a channel belongs to the event loop that runs then.
        if self._channel is None:
            self._channel = make_channel(
                self.address,
                tracer=core.default_tracer(self._tracer),
                retried=core.RETRIED,
                unretried=core.UNRETRIED,
                credentials=self._credentials,
            )
        return self._channel

    def _call(self, kind: str, rpc: Rpc[Any, Any]) -> Any:
        channel = self._connected()
        call = self._calls.get(rpc.path)
        if call is None:
            call = getattr(channel, kind)(rpc.path, rpc.serialize, rpc.parse)
            self._calls[rpc.path] = call
        return call

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise rpc_status.from_rpc_error(error, f"planmesh at {self.address}") from error

    async def _unary(
        self, rpc: Rpc[AnyRequest, AnyResponse], request: AnyRequest, timeout_s: float | None
    ) -> AnyResponse:
        call = self._call("unary_unary", rpc)
        limit_s = core.time_limit_s(timeout_s, self.timeout_s)
        with self._errors():
            response: AnyResponse = await call(request, timeout=limit_s, metadata=self._metadata)
        return response

    async def _stream(
        self, rpc: Rpc[AnyRequest, AnyResponse], request: AnyRequest, timeout_s: float | None
    ) -> AsyncGenerator[AnyResponse, None]:
        stream = self._call("unary_stream", rpc)(request, timeout=timeout_s, metadata=self._metadata)
        try:
            with self._errors():
                async for message in stream:
                    yield message
        finally:
            stream.cancel()

    async def _send(
        self, rpc: Rpc[AnyRequest, AnyResponse], requests: AsyncIterator[AnyRequest], timeout_s: float | None
    ) -> AnyResponse:
        call = self._call("stream_unary", rpc)
        with self._errors():
            response: AnyResponse = await send_stream(call, requests, timeout=timeout_s, metadata=self._metadata)
        return response

    async def _exchange(
        self, rpc: Rpc[AnyRequest, AnyResponse], requests: AsyncIterator[AnyRequest], timeout_s: float | None
    ) -> AsyncGenerator[AnyResponse, None]:
        call = self._call("stream_stream", rpc)
        responses = exchange_streams(call, requests, timeout=timeout_s, metadata=self._metadata)
        with self._errors():
            async with contextlib.aclosing(responses):
                async for message in responses:
                    yield message


async def each(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncIterator[Item]:
    """Yield the items; a plain iterable is read in a thread, because it may block."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
        return
    iterator, end = iter(items), object()
    while (item_or_end := await asyncio.to_thread(next, iterator, end)) is not end:
        yield item_or_end  # type: ignore[misc]  # mypy does not narrow by identity
