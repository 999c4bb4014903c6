"""Calls to the services behind the gateway, of bytes, with deadlines and with errors that name the failed service."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any, Final

import grpc
import grpc.aio

from planmesh.errors import DeadlineExceeded, PlanmeshError, ServiceUnavailable
from planmesh.rpc import status as rpc_status
from planmesh.rpc.channel import TracedChannel
from planmesh.rpc.client_stream import exchange_streams, send_stream
from planmesh.rpc.deadline import Deadline
from planmesh.rpc.interceptors import Context

MARGIN_S_MAX: Final = 0.025
MARGIN_SHARE: Final = 0.1
"""Share of the remaining time by which the downstream call ends earlier than the caller's deadline, at most
MARGIN_S_MAX."""

DEADLINE_S_MIN: Final = 0.001
"""Remaining time that counts as none. gRPC counts milliseconds: a deadline of zero arrives with up to 1 ms left, and no
answer takes less."""


def deadline_of(context: Context, *, default_s: float, max_s: float) -> Deadline:
    """Return the deadline for the calls downstream of a call. Raises DeadlineExceeded when no time is left."""
    deadline = Deadline.from_context(context, default_s=default_s, max_s=max_s)
    if deadline.remaining_s() <= DEADLINE_S_MIN:
        raise DeadlineExceeded("the deadline had passed when the call arrived; allow it more time")
    return deadline.with_share_margin(MARGIN_SHARE, MARGIN_S_MAX)


class Downstream:
    """A service behind the gateway. `name` is what errors and `planmesh status` call it."""

    def __init__(self, name: str, service: str, channel: TracedChannel) -> None:
        self.name = name
        self._service = service
        self._channel = channel
        self._unary_calls: dict[str, Any] = {}

    def _path(self, method: str) -> str:
        return f"/{self._service}/{method}"

    async def unary(self, method: str, request: bytes, deadline: Deadline) -> bytes:
        """Send one serialised request and return the serialised response.

        Raises AioRpcError if the service sent a rich status; otherwise an error that names the service. The other calls
        of this class raise the same.
        """
        call = self._unary_calls.get(method)
        if call is None:
            call = self._unary_calls[method] = self._channel.unary_unary(self._path(method))
        with self._errors():
            response: bytes = await call(request, timeout=deadline.remaining_s())
        return response

    async def server_stream(self, method: str, request: bytes, deadline: Deadline) -> AsyncIterator[bytes]:
        """Send one request and yield the responses. Closing the iterator early cancels the call."""
        call = self._channel.unary_stream(self._path(method))(request, timeout=deadline.remaining_s())
        try:
            with self._errors():
                async for response in call:
                    yield response
        finally:
            call.cancel()

    async def client_stream(self, method: str, requests: AsyncIterator[bytes], deadline: Deadline) -> bytes:
        """Send a stream of requests and return the response."""
        with self._errors():
            call = self._channel.stream_unary(self._path(method))
            response: bytes = await send_stream(call, requests, timeout=deadline.remaining_s())
        return response

    async def both_streams(
        self, method: str, requests: AsyncIterator[bytes], deadline: Deadline
    ) -> AsyncGenerator[bytes, None]:
        """Send a stream of requests and yield the responses. Closing the iterator early cancels the call."""
        call = self._channel.stream_stream(self._path(method))
        with self._errors():
            async with contextlib.aclosing(
                exchange_streams(call, requests, timeout=deadline.remaining_s())
            ) as responses:
                async for response in responses:
                    yield response

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Let errors with a rich status pass; turn gRPC's own errors into errors that name the service."""
        try:
            yield
        except grpc.aio.AioRpcError as error:
            if rpc_status.rich_status(error) is not None:
                raise
            raise self.explain(error) from error

    def explain(self, error: grpc.aio.AioRpcError) -> PlanmeshError:
        """Return the error for a failed call whose status has no details."""
        code = error.code()
        connected = self._channel.get_state() is grpc.ChannelConnectivity.READY
        if code is grpc.StatusCode.UNAVAILABLE or (code is grpc.StatusCode.DEADLINE_EXCEEDED and not connected):
            return self.away()
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return self.late()
        return rpc_status.from_rpc_error(error, f"the {self.name} service")

    def away(self) -> ServiceUnavailable:
        """Return the error for a service that does not answer."""
        return ServiceUnavailable(
            f"the {self.name} service does not answer; try again, and see `planmesh status`", service=self.name
        )

    def late(self) -> DeadlineExceeded:
        """Return the error for an answer that did not come in time."""
        return DeadlineExceeded(
            f"the {self.name} service found no answer before the deadline; allow the call more time", service=self.name
        )
