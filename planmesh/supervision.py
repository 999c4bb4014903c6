"""Background tasks of a process: one that runs for ever is restarted when it fails, one that runs once is logged."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from planmesh.telemetry.logs import get_logger

RESTART_S_FIRST: Final = 0.5
"""Wait before the first restart; it doubles with every further failure in a row."""

RESTART_S_MAX: Final = 30.0
"""Longest wait before a restart: what failed for an hour is whole again within half a minute of its cause's end."""

JITTER_SHARE: Final = 0.5
"""Part of a wait that is drawn at random, so that processes that failed together do not come back together."""

CANCEL_AGAIN_S: Final = 0.5
CANCELS_MAX: Final = 10
"""redis.asyncio may swallow a cancellation that arrives with an answer, so a task that goes on is cancelled again."""

log = get_logger(__name__)


def backoff_s(failures: int, first_s: float = RESTART_S_FIRST, max_s: float = RESTART_S_MAX) -> float:
    """Return the wait after so many failures in a row (1 or more): doubling, bounded, with jitter."""
    wait_s = min(max_s, first_s * 2.0 ** min(failures - 1, 64))
    return wait_s * (1.0 - JITTER_SHARE * random.random())  # noqa: S311  # it spreads load, it hides nothing


class SupervisedTask:
    """Runs a coroutine function that should never return, and restarts it with back-off when it does or raises.

    `failing` is true from a failure until the run reports by `note_progress` that it works. `on_failure` is awaited
    after each failure, before the back-off. Only `close` ends the task: any other cancellation is a failure too.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[], Awaitable[None]],
        on_failure: Callable[[], Awaitable[None]] | None = None,
        *,
        restart_s_first: float = RESTART_S_FIRST,
        restart_s_max: float = RESTART_S_MAX,
    ) -> None:
        self._name = name
        self._run = run
        self._on_failure = on_failure
        self._restart_s_first = restart_s_first
        self._restart_s_max = restart_s_max
        self._failures = 0
        self._began_at_s = 0.0
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self.failing = False

    def start(self) -> None:
        """Begin to run."""
        assert self._task is None, "started twice"
        self._task = asyncio.create_task(self._supervise(), name=self._name)

    def note_progress(self) -> None:
        """Say that the run works."""
        if self.failing:
            log.info("background task works again", task=self._name, failures=self._failures)
        self.failing = False

    async def close(self) -> None:
        """End the task, and return when it has ended."""
        self._closing = True
        if self._task is None:
            return
        for _ in range(CANCELS_MAX):
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CANCEL_AGAIN_S)
            if self._task.done():
                return
        log.error("background task does not end", task=self._name)

    async def _supervise(self) -> None:
        while not self._closing:
            self._began_at_s = time.monotonic()
            try:
                await self._run()
                self._note_failure(RuntimeError(f"{self._name} returned, and should run for ever"))
            except asyncio.CancelledError as error:
                if self._closing:
                    raise
                self._note_failure(error)
            except Exception as error:
                self._note_failure(error)
            if self._on_failure is not None:
                try:
                    await self._on_failure()
                except Exception:
                    log.exception("the failure of a background task was not told", task=self._name)
            await asyncio.sleep(backoff_s(self._failures, self._restart_s_first, self._restart_s_max))

    def _note_failure(self, error: BaseException) -> None:
        self.failing = True
        if time.monotonic() - self._began_at_s > self._restart_s_max:
            self._failures = 0  # a run that lasted so long ended a row of failures
        self._failures += 1
        log.error(
            "background task failed, and is restarted",
            task=self._name,
            failures=self._failures,
            error=repr(error),
            exc_info=error,
        )


class OneShotTasks:
    """Tasks that run once and that nobody awaits: kept alive until they end, and logged when they fail."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in a task of its own."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._end)

    async def close(self) -> None:
        """Cancel what is under way, and return when it has ended."""
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        log_failure(task)


def log_failure(task: asyncio.Future[Any]) -> None:
    """Log what a finished task raised, with its traceback; a cancellation is no failure. A done callback."""
    if task.cancelled() or (error := task.exception()) is None:
        return
    name = task.get_name() if isinstance(task, asyncio.Task) else repr(task)
    log.error("background task failed", task=name, error=repr(error), exc_info=error)
