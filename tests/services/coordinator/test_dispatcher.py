"""The dispatcher against a real Redis; the test is the worker, so that it decides what is answered, and when."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
import pytest
import redis.asyncio
from pydantic import SecretStr

from planmesh.dispatch import hedge_times
from planmesh.dispatch.batching import ATTEMPTS_MAX, REFUSED_AT_ONCE_MAX
from planmesh.dispatch.broker_clock import BrokerClock
from planmesh.dispatch.celery_app import make_app
from planmesh.dispatch.checksum import open_sealed, seal
from planmesh.dispatch.connections import connect_async
from planmesh.dispatch.queues import query_queue
from planmesh.dispatch.reply_channel import ReplyChannel
from planmesh.dispatch.task_publisher import TaskPublisher
from planmesh.errors import BrokerUnavailable, DeadlineExceeded, Overloaded, WorkerUnavailable
from planmesh.internal.v1 import task_pb2
from planmesh.rpc.deadline import Deadline
from planmesh.settings import CoordinatorSettings
from planmesh.telemetry.tracing import make_telemetry
from services.coordinator import dispatcher as dispatcher_module
from services.coordinator.counters import Counters
from services.coordinator.dispatcher import Answer, Dispatcher, WorkerItemError

WORK = task_pb2.Operation(search=task_pb2.SearchOperation(partition=7, node=3))
BATCH_MAX = 4


class Small:
    """The sizes of a graph of ten nodes in each partition, one of them in the overlay."""

    node_count = 100

    def nodes_of(self, partition: int) -> int:
        return 10

    def overlay_nodes_of(self, partition: int) -> int:
        return 1


@dataclass
class Bench:
    """A dispatcher, and the worker's end of it."""

    dispatcher: Dispatcher
    counters: Counters
    publisher: TaskPublisher
    connection: redis.asyncio.Redis
    reply_key: str
    clock: BrokerClock

    def ask(self, shard: int = 0, deadline_s: float = 60.0) -> asyncio.Task[Answer]:
        return asyncio.create_task(
            self.dispatcher.ask(
                shard,
                [WORK],
                graph="g",
                version=1,
                snapshot_url="/s",
                snapshot_identity="s",
                sizes=Small(),
                deadline=Deadline.after(deadline_s),
            )
        )

    async def take(self, shard: int = 0) -> task_pb2.QueryTask:
        """The next task of a shard, as a worker gets it."""
        popped = await self.connection.brpop([query_queue(shard)], timeout=60)
        assert popped is not None, "no task came"
        arguments, _, _ = msgpack.unpackb(base64.b64decode(json.loads(popped[1])["body"]))
        return open_sealed(task_pb2.QueryTask, arguments[0])

    async def reply(self, task: task_pb2.QueryTask, **fields: Any) -> None:
        result = task_pb2.OperationResult(search=task_pb2.SearchResult(settled_nodes=5))
        items = [task_pb2.ItemReply(key=item.key, **({"results": [result]} | fields)) for item in task.items]
        reply = task_pb2.QueryReply(batch=task.batch, items=items)
        await self.connection.rpush(self.reply_key, seal(reply))

    async def wait_until_queued(self, count: int, shard: int = 0) -> None:
        """Wait until so many tasks lie in a shard's queue."""
        async with asyncio.timeout(60):
            while await self.queued(shard) != count:
                await asyncio.sleep(0)

    async def queued(self, shard: int = 0) -> int:
        return int(await self.connection.llen(query_queue(shard)))


@contextlib.asynccontextmanager
async def bench(redis_url: str, **overrides: Any) -> AsyncIterator[Bench]:
    settings = CoordinatorSettings(
        redis_url=SecretStr(redis_url),
        shards=2,
        coordinator_batch_items_max=BATCH_MAX,
        **{"coordinator_tasks_in_flight_max": 1, **overrides},
    )
    connection = connect_async(redis_url, socket_timeout_s=70.0)
    replies = ReplyChannel(redis_url, "bench")
    counters = Counters()
    clock = BrokerClock()
    publisher = TaskPublisher(make_app(redis_url), connection, clock)
    dispatcher = Dispatcher(publisher, replies.key, settings, make_telemetry("test"), counters, clock)
    await replies.start(dispatcher.receive)
    dispatcher.tell_workers({0: 1, 1: 1})
    yield Bench(dispatcher, counters, publisher, connection, replies.key, clock)
    await dispatcher.close()
    await replies.close()
    await connection.aclose()


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


async def test_work_without_a_reply_is_asked_again_and_the_second_reply_dropped(
    redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hedge_times, "HEDGE_S_FIRST", 0.05)
    async with bench(redis_server.url) as mesh:
        asked = mesh.ask()
        lost, repeated = await mesh.take(), await mesh.take()
        assert lost.batch != repeated.batch
        assert lost.items[0].key == repeated.items[0].key
        await mesh.reply(repeated)
        answer = await asked
        assert answer.hedges >= 1
        await mesh.reply(lost)
        other = mesh.ask(1)
        await mesh.reply(await mesh.take(1))
        await other
        assert mesh.counters.duplicate_replies >= 1


async def test_a_task_that_no_worker_took_is_not_sent_a_second_time(
    redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hedge_times, "HEDGE_S_FIRST", 0.01)
    async with bench(redis_server.url) as mesh:
        looks = 0
        waits = mesh.publisher.waits

        async def counted(shard: int, envelope: bytes) -> bool:
            nonlocal looks
            looks += 1
            return await waits(shard, envelope)

        monkeypatch.setattr(mesh.publisher, "waits", counted)
        asked = mesh.ask()
        async with asyncio.timeout(60):
            while looks < 3:
                await asyncio.sleep(0)
        assert await mesh.queued() == 1
        await mesh.reply(await mesh.take())
        assert ((await asked).tasks, mesh.counters.hedges) == (1, 0)


async def test_a_repeat_is_withdrawn_when_the_first_task_is_answered(
    redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hedge_times, "HEDGE_S_FIRST", 0.01)
    async with bench(redis_server.url) as mesh:
        asked = mesh.ask()
        slow = await mesh.take()
        await mesh.wait_until_queued(1)
        await mesh.reply(slow)
        await asked
        await mesh.wait_until_queued(0)
        # Its place is free again.
        other = mesh.ask()
        await mesh.reply(await mesh.take())
        await other


async def test_late_replies_teach_how_long_work_takes(redis_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hedge_times, "HEDGE_S_FIRST", 0.01)
    async with bench(redis_server.url) as mesh:
        for _ in range(12):
            asked = mesh.ask()
            task = await mesh.take()
            await asyncio.sleep(0.1)  # what a slow worker takes
            await mesh.reply(task)
            await asked
            await mesh.wait_until_queued(0)
        assert mesh.counters.hedges <= 4, "a few repeats, and then none"
        assert mesh.counters.tasks <= 12 + 4


async def test_work_that_was_cancelled_is_taken_out_of_the_queue(redis_server: Any) -> None:
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


async def test_a_worker_that_takes_work_and_never_answers_is_not_fed_for_ever(
    redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hedge_times, "HEDGE_S_FIRST", 0.001)
    async with bench(redis_server.url, coordinator_tasks_in_flight_max=8) as mesh:
        asked = mesh.ask(deadline_s=6.0)
        for _ in range(ATTEMPTS_MAX):
            await mesh.take()
        with pytest.raises(DeadlineExceeded):
            await asked
        assert await mesh.queued() == 0
        assert mesh.counters.tasks == ATTEMPTS_MAX


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
        assert await mesh.queued() == 0, "what nobody waits for is not sent"


async def test_a_cancelled_request_is_not_sent(redis_server: Any) -> None:
    async with bench(redis_server.url) as mesh:
        busy, cancelled = mesh.ask(), mesh.ask()
        task = await mesh.take()
        cancelled.cancel()
        await asyncio.wait({cancelled})
        await mesh.reply(task)
        await busy
        assert mesh.counters.task_items == 1


async def test_a_reply_that_is_no_answer_is_refused_and_the_work_asked_again(redis_server: Any) -> None:
    async with bench(redis_server.url) as mesh:
        asked = mesh.ask()
        no_node = np.array([1], np.int32).tobytes()
        wrong = task_pb2.SearchResult(overlay_nodes=no_node, distances=np.zeros(1).tobytes())
        await mesh.reply(await mesh.take(), results=[task_pb2.OperationResult(search=wrong)])
        await mesh.reply(await mesh.take(), results=[])
        await mesh.reply(await mesh.take())
        answer = await asked
        assert (answer.tasks, answer.results[0].search.settled_nodes) == (3, 5)


async def test_a_reply_without_what_was_asked_is_asked_again_at_once(
    redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hedge_times, "HEDGE_S_FIRST", 3_600.0)
    monkeypatch.setattr(hedge_times, "HEDGE_S_MAX", 3_600.0)
    async with bench(redis_server.url) as mesh:
        asked = mesh.ask()
        task = await mesh.take()
        await mesh.connection.rpush(mesh.reply_key, seal(task_pb2.QueryReply(batch=task.batch)))
        await mesh.reply(await mesh.take())
        assert (await asked).tasks == 2


async def test_a_worker_that_is_always_wrong_is_not_kept_busy_and_named_in_the_end(
    redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hedge_times, "HEDGE_S_FIRST", 3_600.0)
    monkeypatch.setattr(hedge_times, "HEDGE_S_MAX", 3_600.0)
    async with bench(redis_server.url) as mesh:
        asked = mesh.ask(deadline_s=3.0)
        for _ in range(REFUSED_AT_ONCE_MAX + 1):
            await mesh.reply(await mesh.take(), results=[])
        with pytest.raises(DeadlineExceeded, match="expected 1 results, got 0"):
            await asked
        assert await mesh.queued() == 0
        assert mesh.counters.tasks == REFUSED_AT_ONCE_MAX + 1


async def test_bytes_that_changed_on_their_way_are_no_reply(redis_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hedge_times, "HEDGE_S_FIRST", 0.05)
    async with bench(redis_server.url) as mesh:
        asked = mesh.ask()
        task = await mesh.take()
        result = task_pb2.OperationResult(search=task_pb2.SearchResult(settled_nodes=6))
        right = task_pb2.QueryReply(
            batch=task.batch, items=[task_pb2.ItemReply(key=task.items[0].key, results=[result])]
        )
        changed = seal(right).replace(result.SerializeToString(), result.SerializeToString()[:-1] + b"\x07")
        assert task_pb2.QueryReply.FromString(changed).items[0].results[0].search.settled_nodes == 7
        await mesh.connection.rpush(mesh.reply_key, changed)
        await mesh.reply(await mesh.take())
        assert (await asked).results[0].search.settled_nodes == 5


async def test_a_worker_that_calls_a_task_expired_too_early_is_not_believed(redis_server: Any) -> None:
    async with bench(redis_server.url) as mesh:
        asked = mesh.ask()
        error = task_pb2.ItemError(kind=task_pb2.ITEM_ERROR_KIND_EXPIRED)
        await mesh.reply(await mesh.take(), results=[], error=error)
        await mesh.reply(await mesh.take())
        assert (await asked).tasks == 2


async def test_deadlines_are_told_by_the_clock_of_redis(redis_server: Any) -> None:
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


async def test_a_workers_error_reaches_whoever_asked(redis_server: Any) -> None:
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
        mesh.dispatcher.tell_workers({1: 1})
        with pytest.raises(WorkerUnavailable):
            await mesh.ask(0, deadline_s=0.1)
        assert await mesh.queued() == 0, "nothing piles up for a worker that is away"
        waiting = mesh.ask(0, deadline_s=60)
        async with asyncio.timeout(30):
            while not waiting.done():
                mesh.dispatcher.tell_workers({1: 1})
                await asyncio.sleep(0)
        with pytest.raises(WorkerUnavailable):
            await waiting
        with pytest.raises(WorkerUnavailable):
            await mesh.ask(0)
        mesh.dispatcher.tell_workers({0: 1, 1: 1})
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
        mesh.dispatcher.tell_workers({0: 1, 1: 1})
        await mesh.reply(await mesh.take())
        await asked


async def test_a_broker_that_stays_away_is_unavailable(redis_server: Any) -> None:
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
