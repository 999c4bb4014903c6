"""Background tasks of a process: restarts endless tasks that fail, and logs the failures of one-shot tasks."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from planmesh.telemetry.logs import get_logger

RESTART_S_FIRST: Final = 0.5
"""Wait before the first restart. It doubles with every further failure in a row."""

RESTART_S_MAX: Final = 30.0
"""Longest wait before a restart: a task works again within half a minute after the cause of its failures has ended."""

JITTER_SHARE: Final = 0.5
"""Share of a wait that is random, so that processes that failed together do not restart together."""

CANCEL_AGAIN_S: Final = 0.5
CANCELS_MAX: Final = 10
"""redis.asyncio may swallow a cancellation that arrives together with a reply, so a task that continues is cancelled
again after CANCEL_AGAIN_S, at most CANCELS_MAX times."""

log = get_logger(__name__)


def backoff_s(failures: int, first_s: float = RESTART_S_FIRST, max_s: float = RESTART_S_MAX) -> float:
    """Return the wait in seconds after `failures` failures in a row (1 or more): doubling, bounded, with jitter."""
    wait_s = min(max_s, first_s * 2.0 ** min(failures - 1, 64))
    return wait_s * (1.0 - JITTER_SHARE * random.random())  # noqa: S311  # it spreads load; it is not for secrets


class SupervisedTask:
    """Runs a coroutine function that should never return, and restarts it with back-off if it returns or raises.

    `failing` is True from a failure until the run calls `note_progress`. `on_failure` is awaited after each failure,
    before the back-off. Only `close` ends the task; any other cancellation counts as a failure.
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
        """Start the task, in the running event loop."""
        assert self._task is None, "started twice"
        self._task = asyncio.create_task(self._supervise(), name=self._name)

    def note_progress(self) -> None:
        """Record that the run works."""
        if self.failing:
            log.info("background task works again", task=self._name, failures=self._failures)
        self.failing = False

    async def close(self) -> None:
        """Cancel the task and wait until it has ended. One that does not end is logged as an error."""
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
                self._note_failure(RuntimeError(f"{self._name} returned; expected it to run for ever"))
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
                    log.exception("the failure handler of a background task failed", task=self._name)
            await asyncio.sleep(backoff_s(self._failures, self._restart_s_first, self._restart_s_max))

    def _note_failure(self, error: BaseException) -> None:
        self.failing = True
        if time.monotonic() - self._began_at_s > self._restart_s_max:
            self._failures = 0  # the run lasted long enough to end a series of failures
        self._failures += 1
        log.error(
            "background task failed; it will be restarted",
            task=self._name,
            failures=self._failures,
            error=repr(error),
            exc_info=error,
        )


class OneShotTasks:
    """Tasks that run once and have no awaiting caller. Keeps references until they end, and logs their failures."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in a new task."""
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._end)

    async def close(self) -> None:
        """Cancel the unfinished tasks and wait until they have ended."""
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        log_failure(task)


def log_failure(task: asyncio.Future[Any]) -> None:
    """Log the exception of a finished task, with its traceback. For use as a done callback; ignores cancellations."""
    if task.cancelled() or (error := task.exception()) is None:
        return
    name = task.get_name() if isinstance(task, asyncio.Task) else repr(task)
    log.error("background task failed", task=name, error=repr(error), exc_info=error)
