"""Sends a stream of messages without losing the server's status.

A server may end a call while its client is still sending, for example to refuse a load. grpc.aio then sometimes loses
the status (in 1 of 300 such calls here): a write that fails because the call has ended replaces it by "INTERNAL:
Internal error from Core" (grpc issue 36066, still open in 1.85). By its source, a failed half-close also cancels the
call when the messages come from an iterator. So we write messages one by one here, and record the status when it
arrives.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine
from typing import Any, Final

import grpc
import grpc.aio

LOST: Final = "Internal error from Core"
WAIT_S_MAX: Final = 2.0
"""Wait, in seconds, for the server's status after a failed write: it is on its way, or the connection broke."""


async def send_stream(call_it: Callable[..., Any], messages: AsyncIterable[Any], **options: Any) -> Any:
    """Send `messages` through a client-streaming method of a channel, and return its response.

    `options` are those of a call: timeout, metadata. Raises AioRpcError with the status that the server sent. An error
    of `messages` cancels the call and is raised unchanged.
    """
    call = call_it(**options)
    status = _SentStatus(call)
    writing = asyncio.ensure_future(_write(call, messages))
    try:
        return await call
    except asyncio.CancelledError:
        _raise_failure_of(writing)
        raise
    except grpc.aio.AioRpcError as error:
        raise await status.instead_of(error) from error
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


async def exchange_streams(
    call_it: Callable[..., Any], messages: AsyncIterable[Any], **options: Any
) -> AsyncGenerator[Any, None]:
    """Send `messages` through a bidirectional method of a channel, and yield its responses as they arrive.

    Options and errors are those of `send_stream`. Close the iterator to cancel the call.
    """
    call = call_it(**options)
    status = _SentStatus(call)
    writing = asyncio.ensure_future(_write(call, messages))
    try:
        async for response in call:
            yield response
    except asyncio.CancelledError:
        _raise_failure_of(writing)
        raise
    except grpc.aio.AioRpcError as error:
        raise await status.instead_of(error) from error
    finally:
        call.cancel()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


class _SentStatus:
    """The status that the server sent, even if a failed write replaces it."""

    def __init__(self, call: Any) -> None:
        self._statuses: list[grpc.aio.AioRpcError] = []
        self._came = asyncio.Event()
        call.add_done_callback(self._note)

    def _note(self, done: Any) -> None:
        # grpc.aio calls this whenever the status is set, including when a failed write replaces it.
        status = _status_now(done)
        if status is not None and status.details() != LOST:
            self._statuses.append(status)
            self._came.set()

    async def instead_of(self, error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        """Return the server's status if `error` has replaced it, otherwise `error`."""
        if error.code() is not grpc.StatusCode.INTERNAL or error.details() != LOST:
            return error
        try:
            async with asyncio.timeout(WAIT_S_MAX):
                await self._came.wait()
        except TimeoutError:
            return error
        return self._statuses[0]


def _raise_failure_of(writing: asyncio.Future[None]) -> None:
    """Raise the error with which writing has ended, if there is one."""
    if writing.done() and not writing.cancelled() and (failure := writing.exception()) is not None:
        raise failure from None


async def _write(call: Any, messages: AsyncIterable[Any]) -> None:
    try:
        async for message in messages:
            await call.write(message)
        await call.done_writing()
    except (grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError):
        # The call has ended or is about to, and its status says why. Do not wait for ever in case it does not end.
        try:
            async with asyncio.timeout(WAIT_S_MAX):
                await call.code()
        except TimeoutError:
            call.cancel()
            raise
    except Exception:
        call.cancel()
        raise


def _status_now(call: Any) -> grpc.aio.AioRpcError | None:
    """Return the status of a finished call; its coroutines do not wait, so they can run here."""
    code = _run(call.code())
    if code is None or code is grpc.StatusCode.OK:
        return None
    return grpc.aio.AioRpcError(
        code,
        _run(call.initial_metadata()) or grpc.aio.Metadata(),
        _run(call.trailing_metadata()) or grpc.aio.Metadata(),
        _run(call.details()),
        _run(call.debug_error_string()),
    )


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return ended.value
    coroutine.close()
    return None
