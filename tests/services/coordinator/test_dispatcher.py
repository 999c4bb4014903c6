"""The dispatcher: batches, deadlines, cancellations, errors and outages."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from planmesh.errors import BrokerUnavailable, DeadlineExceeded, Overloaded, WorkerUnavailable
from planmesh.internal.v1 import task_pb2
from services.coordinator import dispatcher as dispatcher_module
from services.coordinator.dispatch_errors import WorkerItemError
from tests.services.coordinator.dispatcher_bench import BATCH_MAX, bench


async def test_an_idle_shard_gets_work_at_once_and_a_busy_one_in_batches(redis_server: Any) -> None:
    async with bench(redis_server.url) as mesh:
        first = mesh.ask()
        task = await mesh.take()
        assert len(task.items) == 1
        later = [mesh.ask() for _ in range(6)]
        while mesh.dispatcher.pending_items(0) < 7:
            await asyncio.sleep(0)
        await mesh.reply(task)
        batch = await mesh.take()
        assert len(batch.items) == BATCH_MAX
        await mesh.reply(batch)
        await mesh.reply(await mesh.take())
        answers = await asyncio.gather(first, *later)
        assert sorted(answer.batch_sizes[0] for answer in answers) == [1, 2, 2, 4, 4, 4, 4]
        assert (mesh.counters.tasks, mesh.counters.task_items) == (3, 7)


async def test_shards_do_not_wait_for_each_other(redis_server: Any) -> None:
    async with bench(redis_server.url) as mesh:
        slow, quick = mesh.ask(0), mesh.ask(1)
        await mesh.reply(await mesh.take(1))
        await quick
        assert not slow.done()
        await mesh.reply(await mesh.take(0))
        await slow


async def test_cancelled_work_is_withdrawn_from_the_queue(redis_server: Any) -> None:
    async with bench(redis_server.url) as mesh:
        asked = mesh.ask()
        await mesh.wait_until_queued(1)
        asked.cancel()
        await mesh.wait_until_queued(0)
        other = mesh.ask()
        task = await mesh.take()
        assert [item.key for item in task.items] == [2]
        await mesh.reply(task)
        await other


async def test_the_deadline_ends_a_request_and_leaves_nothing_behind(redis_server: Any) -> None:
    async with bench(redis_server.url) as mesh:
        busy = mesh.ask()
        waiting = mesh.ask(deadline_s=0.2)
        with pytest.raises(DeadlineExceeded):
            await waiting
        task = await mesh.take()
        await mesh.reply(task)
        await busy
        assert mesh.dispatcher.pending_items(0) == 0
        assert await mesh.queued() == 0, "the item without a caller must not be sent"


async def test_a_cancelled_request_is_not_sent(redis_server: Any) -> None:
    async with bench(redis_server.url) as mesh:
        busy, cancelled = mesh.ask(), mesh.ask()
        task = await mesh.take()
        cancelled.cancel()
        await asyncio.wait({cancelled})
        await mesh.reply(task)
        await busy
        assert mesh.counters.task_items == 1


async def test_deadlines_follow_the_clock_of_redis(redis_server: Any) -> None:
    async with bench(redis_server.url) as mesh:
        mesh.clock.note((1_000_000, 0), time.monotonic())
        asked = mesh.ask(deadline_s=30)
        task = await mesh.take()
        assert 1_000_000 < task.items[0].deadline_unix_s < 1_000_060
        await mesh.reply(task)
        await asked


async def test_tasks_expire_with_the_last_deadline_of_their_items(redis_server: Any) -> None:
    async with bench(redis_server.url) as mesh:
        asked = mesh.ask(deadline_s=30)
        task = await mesh.take()
        assert 25 < task.items[0].deadline_unix_s - time.time() <= 30
        await mesh.reply(task)
        await asked


async def test_a_workers_error_reaches_the_caller(redis_server: Any) -> None:
    async with bench(redis_server.url) as mesh:
        asked = mesh.ask()
        error = task_pb2.ItemError(kind=task_pb2.ITEM_ERROR_KIND_DAMAGED, message="broken", file="partitions/00007")
        await mesh.reply(await mesh.take(), results=[], error=error)
        with pytest.raises(WorkerItemError) as raised:
            await asked
        assert (raised.value.kind, raised.value.file) == (task_pb2.ITEM_ERROR_KIND_DAMAGED, "partitions/00007")


async def test_a_shard_without_a_worker_is_unavailable_within_the_deadline_and_then_at_once(
    redis_server: Any,
) -> None:
    async with bench(redis_server.url, coordinator_worker_grace_s=0.3) as mesh:
        mesh.dispatcher.note_workers({1: 1})
        with pytest.raises(WorkerUnavailable):
            await mesh.ask(0, deadline_s=0.1)
        assert await mesh.queued() == 0, "tasks must not pile up for a shard without workers"
        waiting = mesh.ask(0, deadline_s=60)
        async with asyncio.timeout(30):
            while not waiting.done():
                mesh.dispatcher.note_workers({1: 1})
                await asyncio.sleep(0)
        with pytest.raises(WorkerUnavailable):
            await waiting
        with pytest.raises(WorkerUnavailable):
            await mesh.ask(0)
        mesh.dispatcher.note_workers({0: 1, 1: 1})
        back = mesh.ask(0)
        await mesh.reply(await mesh.take(0))
        await back


async def test_work_waits_for_a_broker_that_returns_in_time(redis_server: Any) -> None:
    async with bench(redis_server.url, coordinator_worker_grace_s=60) as mesh:
        redis_server.kill()
        asked = mesh.ask()
        while mesh.dispatcher.broker_up:
            await asyncio.sleep(0)
        redis_server.start()
        mesh.dispatcher.note_workers({0: 1, 1: 1})
        await mesh.reply(await mesh.take())
        await asked


async def test_a_broker_that_stays_down_is_unavailable(redis_server: Any) -> None:
    async with bench(redis_server.url, coordinator_worker_grace_s=60) as mesh:
        redis_server.kill()
        with pytest.raises(BrokerUnavailable):
            await mesh.ask(deadline_s=2)


async def test_the_queue_is_bounded(redis_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher_module, "PENDING_MAX", 2)
    async with bench(redis_server.url) as mesh:
        asked = [mesh.ask(), mesh.ask()]
        while mesh.dispatcher.pending_items(0) < 2:
            await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="already"):
            await mesh.ask()
        for _ in asked:
            await mesh.reply(await mesh.take())
        await asyncio.gather(*asked)
