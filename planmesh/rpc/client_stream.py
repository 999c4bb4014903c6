"""Sends a stream of messages without losing the server's status.

A server may end a call while its client is still sending, for example to refuse a load. grpc.aio then sometimes loses
the status (in 1 of 300 such calls here): a write that fails because the call has ended replaces it by "INTERNAL:
Internal error from Core" (grpc issue 36066, still open in 1.85). By its source, a failed half-close also cancels the
call when the messages come from an iterator. So we write messages one by one here, and record the status when it
arrives.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Coroutine
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
    statuses: list[grpc.aio.AioRpcError] = []
    status_came = asyncio.Event()

    def note(done: Any) -> None:
        # grpc.aio calls this whenever the status is set, including when a failed write replaces it.
        status = _status_now(done)
        if status is not None and status.details() != LOST:
            statuses.append(status)
            status_came.set()

    call.add_done_callback(note)
    writing = asyncio.ensure_future(_write(call, messages))
    try:
        return await call
    except asyncio.CancelledError:
        if writing.done() and not writing.cancelled() and (failure := writing.exception()) is not None:
            raise failure from None
        raise
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.INTERNAL or error.details() != LOST:
            raise
        try:
            async with asyncio.timeout(WAIT_S_MAX):
                await status_came.wait()
        except TimeoutError:
            raise error from None
        raise statuses[0] from error
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


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
