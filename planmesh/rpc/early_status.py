"""The status of a client stream that the server ended early, as a refused load does.

grpc.aio loses it about half of the time: a write that fails because the server has ended the call replaces the status
that the server sent by "INTERNAL: Internal error from Core" (grpc issue 36066, still so in 1.85).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

import grpc
import grpc.aio

LOST: Final = "Internal error from Core"
WAIT_S_MAX: Final = 2.0
"""For the server's status when the failed write came first: it is on its way, or the connection itself broke."""


async def result_of(call: Any) -> Any:
    """Await a client-streaming call. Raises AioRpcError with the status that the server sent."""
    statuses: list[grpc.aio.AioRpcError] = []
    told = asyncio.Event()

    def note(done: Any) -> None:
        # Called at once whenever the status is set, also when a failed write replaces it.
        status = _status_now(done)
        if status is not None and status.details() != LOST:
            statuses.append(status)
            told.set()

    call.add_done_callback(note)
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.INTERNAL or error.details() != LOST:
            raise
        try:
            async with asyncio.timeout(WAIT_S_MAX):
                await told.wait()
        except TimeoutError:
            raise error from None
        raise statuses[0] from error


def _status_now(call: Any) -> grpc.aio.AioRpcError | None:
    """The status of a finished call; its coroutines return without waiting, so they can be run right here."""
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
