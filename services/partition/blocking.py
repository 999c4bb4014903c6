"""Runs the blocking work of a load in a thread, with a way to abandon it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Abandoned(Exception):  # noqa: N818  # not an error: the caller was cancelled
    """The work is no longer needed."""


class BlockingWork:
    """A thread that runs one function after another.

    When the caller of `run` is cancelled, the next `checkpoint` in the function raises Abandoned. `run` still waits for
    the function to end, so that nothing else uses the files that it writes until then.
    """

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, name)
        self._abandoned = threading.Event()

    async def run(self, work: Callable[[], T]) -> T:
        """Call `work` in the thread and return its result."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self._abandoned.set()
            await finish(future)
            raise

    def checkpoint(self) -> None:
        """Raise Abandoned if the caller of `run` was cancelled. The work calls this regularly."""
        if self._abandoned.is_set():
            raise Abandoned

    def close(self) -> None:
        """End the thread. No work may be running."""
        self._pool.shutdown(wait=False)


async def finish(future: asyncio.Future[T], seconds: float | None = None) -> None:
    """Wait until a future is done, or for `seconds`, even if the caller is cancelled meanwhile.

    Such a cancellation is swallowed; the caller, which was cancelled before, raises CancelledError itself.
    """
    while not future.done():
        try:
            await asyncio.wait([future], timeout=seconds)
        except asyncio.CancelledError:
            continue
        if seconds is not None:
            break
    if future.done() and not future.cancelled():
        future.exception()  # marks it as retrieved: the caller raises its cancellation instead


async def uninterrupted(work: asyncio.Future[T]) -> T:
    """Await work that must not stop halfway. A cancellation of the caller is raised after the work is done."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await finish(work)
        raise
