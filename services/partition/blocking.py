"""Blocking work of one load, off the event loop, that can be abandoned."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Abandoned(Exception):  # noqa: N818  # it is no error: somebody asked for it
    """The work is no longer wanted."""


class BlockingWork:
    """A thread that does one thing after another.

    When the caller of `run` is cancelled, the work is told through `checkpoint` and waited for: what it writes to is
    in nobody else's hands before it has ended.
    """

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, name)
        self._abandoned = threading.Event()

    async def run(self, work: Callable[[], T]) -> T:
        """Do `work` in the thread and return what it returns."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self._abandoned.set()
            await finish(future)
            raise

    def checkpoint(self) -> None:
        """Called by the work now and then; raises Abandoned when nobody waits for it any more."""
        if self._abandoned.is_set():
            raise Abandoned

    def close(self) -> None:
        """End the thread; nothing runs in it any more."""
        self._pool.shutdown(wait=False)


async def finish(future: asyncio.Future[T]) -> None:
    """Wait until a future is done, whatever becomes of the caller; the caller raises its own cancellation then."""
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue
    if not future.cancelled():
        future.exception()  # seen; the cancellation is what is told


async def uninterrupted(work: asyncio.Future[T]) -> T:
    """Await what must not stop halfway; a cancellation of the caller is raised when it is done."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await finish(work)
        raise
