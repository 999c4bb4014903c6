"""The dispatcher: when it repeats work, withdraws a repeat, and refuses a reply."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from planmesh.dispatch import hedge_times
from planmesh.dispatch.batching import REFUSED_AT_ONCE_MAX
from planmesh.dispatch.batching_ledger import ATTEMPTS_MAX
from planmesh.dispatch.checksum import seal
from planmesh.errors import DeadlineExceeded
from planmesh.internal.v1 import task_pb2
from services.coordinator.dispatch_errors import NoValidReplyError
from tests.services.coordinator.dispatcher_bench import bench


async def test_work_without_a_reply_is_repeated_and_the_second_reply_discarded(
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
        # The slot of the withdrawn copy is free again.
        other = mesh.ask()
        await mesh.reply(await mesh.take())
        await other


async def test_late_replies_raise_the_hedge_time(redis_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hedge_times, "HEDGE_S_FIRST", 0.01)
    async with bench(redis_server.url) as mesh:
        for _ in range(12):
            asked = mesh.ask()
            task = await mesh.take()
            await asyncio.sleep(0.1)  # a slow worker
            await mesh.reply(task)
            await asked
            await mesh.wait_until_queued(0)
        assert mesh.counters.hedges <= 4, "a few repeats, and then none"
        assert mesh.counters.tasks <= 12 + 4


async def test_a_worker_that_never_answers_gets_an_item_a_bounded_number_of_times(
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


async def test_an_invalid_reply_is_refused_and_the_work_repeated(redis_server: Any) -> None:
    async with bench(redis_server.url) as mesh:
        asked = mesh.ask()
        no_node = np.array([1], np.int32).tobytes()
        wrong = task_pb2.SearchResult(overlay_nodes=no_node, distances=np.zeros(1).tobytes())
        await mesh.reply(await mesh.take(), results=[task_pb2.OperationResult(search=wrong)])
        await mesh.reply(await mesh.take(), results=[])
        await mesh.reply(await mesh.take())
        answer = await asked
        assert (answer.tasks, answer.results[0].search.settled_nodes) == (3, 5)


async def test_items_missing_in_a_reply_are_repeated_at_once(
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


async def test_a_worker_that_is_always_wrong_is_not_kept_busy_and_the_error_says_why(
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


async def test_work_whose_replies_are_all_refused_fails_long_before_its_deadline(
    redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hedge_times, "HEDGE_S_FIRST", 0.05)
    async with bench(redis_server.url) as mesh:
        asked = mesh.ask(deadline_s=3_600.0)
        for attempt in range(ATTEMPTS_MAX):
            await mesh.reply(await mesh.take(), results=[], **({} if attempt else {"key": 2**62}))
        async with asyncio.timeout(60):
            with pytest.raises(NoValidReplyError, match=r"the last one: expected 1 results, got 0"):
                await asked
        assert (await mesh.queued(), mesh.counters.tasks) == (0, ATTEMPTS_MAX)
        other = mesh.ask()
        await mesh.reply(await mesh.take())
        assert (await other).tasks == 1


async def test_work_whose_replies_cannot_be_read_fails_when_its_last_task_is_overdue(
    redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hedge_times, "HEDGE_S_FIRST", 0.05)
    monkeypatch.setattr(hedge_times, "HEDGE_S_MAX", 0.1)
    async with bench(redis_server.url, coordinator_tasks_in_flight_max=8) as mesh:
        asked = mesh.ask(deadline_s=3_600.0)
        for payload in (b"", b"\xff", b"noise", b"", b"\x00", b"\x08"):
            await mesh.take()
            await mesh.connection.rpush(mesh.reply_key, payload)
        async with asyncio.timeout(60):
            with pytest.raises(NoValidReplyError, match=r"the last one: damaged, or without this work"):
                await asked
        assert mesh.counters.tasks == ATTEMPTS_MAX


async def test_bytes_that_changed_in_transit_are_not_a_reply(
    redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
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


async def test_a_report_of_expiry_before_the_deadline_is_refused(redis_server: Any) -> None:
    async with bench(redis_server.url) as mesh:
        asked = mesh.ask()
        error = task_pb2.ItemError(kind=task_pb2.ITEM_ERROR_KIND_EXPIRED)
        await mesh.reply(await mesh.take(), results=[], error=error)
        await mesh.reply(await mesh.take())
        assert (await asked).tasks == 2
