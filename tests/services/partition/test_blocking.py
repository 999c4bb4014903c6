from __future__ import annotations

import asyncio
import threading

import pytest

from services.partition.blocking import Abandoned, BlockingWork, uninterrupted


async def test_work_runs_in_one_separate_thread() -> None:
    work = BlockingWork("test")
    threads = {await work.run(threading.get_ident) for _ in range(3)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    work.close()


async def test_a_cancelled_caller_waits_until_the_work_has_ended() -> None:
    work = BlockingWork("test")
    begun, ended = threading.Event(), threading.Event()

    def until_abandoned() -> None:
        begun.set()
        try:
            while True:
                work.checkpoint()
        except Abandoned:
            ended.set()
            raise

    task = asyncio.create_task(work.run(until_abandoned))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    work.close()


async def test_uninterrupted_work_does_not_stop_halfway() -> None:
    steps = []
    go_on = asyncio.Event()

    async def publish() -> str:
        steps.append("begun")
        await go_on.wait()
        steps.append("ended")
        return "done"

    async def load() -> None:
        await uninterrupted(asyncio.ensure_future(publish()))
        steps.append("not reached")

    task = asyncio.create_task(load())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps == ["begun", "ended"]
    assert await uninterrupted(asyncio.ensure_future(publish())) == "done"
