from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from structlog.testing import capture_logs

from planmesh.supervision import JITTER_SHARE, OneShotTasks, SupervisedTask, backoff_s

QUICK: dict[str, Any] = {"restart_s_first": 0.001, "restart_s_max": 0.002}


class Flaky:
    """A run that raises the given failures, one at each start, and works afterwards."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.working = asyncio.Event()
        self.states: list[bool] = []
        self.task = SupervisedTask("flaky", self.run, self.on_failure, **QUICK)

    async def run(self) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.task.note_progress()
        self.working.set()
        await asyncio.Event().wait()

    async def on_failure(self) -> None:
        self.states.append(self.task.failing)


async def test_a_task_that_fails_is_logged_with_its_traceback_and_restarted() -> None:
    flaky = Flaky(KeyError("defect"), ZeroDivisionError("another"))
    with capture_logs() as logged:
        flaky.task.start()
        await asyncio.wait_for(flaky.working.wait(), 30)
    assert flaky.states == [True, True]
    assert not flaky.task.failing
    failed = [one for one in logged if one["event"] == "background task failed; it will be restarted"]
    assert [(one["failures"], one["error"]) for one in failed] == [
        (1, "KeyError('defect')"),
        (2, "ZeroDivisionError('another')"),
    ]
    assert all(one["exc_info"].__traceback__ is not None for one in failed)
    await flaky.task.close()


async def test_an_unexpected_cancellation_is_a_failure() -> None:
    flaky = Flaky(asyncio.CancelledError())
    flaky.task.start()
    await asyncio.wait_for(flaky.working.wait(), 30)
    assert flaky.states == [True]
    await flaky.task.close()


async def test_a_task_that_returns_is_restarted() -> None:
    runs = 0
    again = asyncio.Event()

    async def run() -> None:
        nonlocal runs
        runs += 1
        if runs == 3:
            again.set()

    task = SupervisedTask("returns", run, **QUICK)
    task.start()
    await asyncio.wait_for(again.wait(), 30)
    assert task.failing
    await task.close()


async def test_a_failing_failure_handler_does_not_end_the_task() -> None:
    flaky = Flaky(KeyError("defect"))

    async def failing_handler() -> None:
        raise OSError("unreachable")

    flaky.task = SupervisedTask("flaky", flaky.run, failing_handler, **QUICK)
    flaky.task.start()
    await asyncio.wait_for(flaky.working.wait(), 30)
    await flaky.task.close()


async def test_closing_ends_a_task_that_swallows_a_cancellation() -> None:
    begun, swallowed = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            begun.set()
            await asyncio.Event().wait()
        swallowed.set()
        await asyncio.Event().wait()

    task = SupervisedTask("stubborn", run)
    task.start()
    await asyncio.wait_for(begun.wait(), 30)
    await asyncio.wait_for(task.close(), 30)
    assert swallowed.is_set()


@pytest.mark.parametrize("failures", [1, 2, 5, 7, 1_000])
def test_waits_double_up_to_a_bound(failures: int) -> None:
    whole_s = min(30.0, 0.5 * 2.0 ** min(failures - 1, 30))
    waits = [backoff_s(failures, 0.5, 30.0) for _ in range(100)]
    assert all(whole_s * (1 - JITTER_SHARE) <= one <= whole_s for one in waits)
    assert len(set(waits)) > 1


async def test_a_one_shot_task_is_logged_when_it_fails() -> None:
    tasks = OneShotTasks()
    done = asyncio.Event()

    async def fails() -> None:
        raise KeyError("defect")

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            done.set()

    with capture_logs() as logged:
        tasks.start("fails", fails())
        tasks.start("waits", waits())
        while len(tasks) > 1:
            await asyncio.sleep(0)
        await tasks.close()
    assert done.is_set()
    assert [(one["event"], one["task"]) for one in logged] == [("background task failed", "fails")]
