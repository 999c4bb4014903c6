"""The Celery task of query workers: its strategy, its replies, and the bound on a reply."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
import redis
from celery import Celery
from celery.exceptions import InvalidTaskError
from structlog.testing import capture_logs

from planmesh.dispatch.broker_clock import BrokerClock
from planmesh.dispatch.checksum import open_sealed, seal
from planmesh.dispatch.queues import REPLY_TTL_S
from planmesh.errors import InternalError
from planmesh.internal.v1 import task_pb2
from planmesh.telemetry.tracing import make_telemetry
from tests.workers.celery_messages import message
from workers.query_items import QueryItems
from workers.query_tasks import QueryTasks, at_once, seal_within


@pytest.fixture
def clock() -> BrokerClock:
    return BrokerClock()


@pytest.fixture
def received(clock: BrokerClock) -> tuple[Any, list[tuple[bytes, str]]]:
    app = Celery("test", set_as_current=False)
    calls: list[tuple[bytes, str]] = []

    @app.task(name="query", clock=clock)  # type: ignore[untyped-decorator]
    def query(payload: bytes, traceparent: str) -> None:
        calls.append((payload, traceparent))
        if payload == b"broken":
            raise KeyError("a defect")

    return at_once(query, app, None), calls


def test_a_task_that_fails_does_not_end_the_worker(received: Any) -> None:
    handle, calls = received
    for payload in (b"broken", b"whole"):
        handle(message(((payload,), {}, {}), traceparent="t"), None)
    assert calls == [(b"broken", "t"), (b"whole", "t")]


def test_expired_and_malformed_messages_are_not_run(received: Any) -> None:
    handle, calls = received
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    handle(message(((b"late",), {}, {}), expires=past), None)
    for bad in (message(((), {}, {})), message(7), message(((b"x",), {}, {}), expires="tomorrow")):
        with pytest.raises(InvalidTaskError):
            handle(bad, None)
    assert calls == []


def test_messages_expire_by_the_clock_of_redis(received: Any, clock: BrokerClock) -> None:
    handle, calls = received
    clock.note((int(time.time()) - 3600, 0), time.monotonic())
    half_an_hour_ago = (datetime.now(UTC) - timedelta(minutes=30)).isoformat()
    handle(message(((b"in time",), {}, {}), expires=half_an_hour_ago), None)
    clock.note((int(time.time()) + 3600, 0), time.monotonic())
    in_half_an_hour = (datetime.now(UTC) + timedelta(minutes=30)).isoformat()
    handle(message(((b"late",), {}, {}), expires=in_half_an_hour), None)
    assert calls == [(b"in time", "")]


class Echo:
    """Items whose results have as many bytes as the item's graph name says."""

    def answer(self, item: task_pb2.QueryItem) -> task_pb2.ItemReply:
        result = task_pb2.OperationResult(search=task_pb2.SearchResult(distances=bytes(int(item.graph))))
        return task_pb2.ItemReply(key=item.key, results=[result])


def query_task(*sizes: int) -> task_pb2.QueryTask:
    items = [task_pb2.QueryItem(key=key, graph=str(size)) for key, size in enumerate(sizes, 1)]
    return task_pb2.QueryTask(batch=9, reply_channel="replies", items=items)


def test_a_task_is_answered_with_one_reply_in_the_list_of_its_sender(redis_server: Any, clock: BrokerClock) -> None:
    with redis.Redis.from_url(redis_server.url) as connection, capture_logs() as logged:
        tasks = QueryTasks(cast("QueryItems", Echo()), connection, make_telemetry("test"), "w", 0, clock)
        tasks.run(seal(query_task(3, 5)), "")
        tasks.run(seal(query_task(3))[:-1], "")
        (raw,) = connection.lrange("replies", 0, -1)
        assert 0 < connection.ttl("replies") <= REPLY_TTL_S
    reply = open_sealed(task_pb2.QueryReply, raw)
    assert (reply.batch, reply.worker) == (9, "w")
    assert [(item.key, len(item.results[0].search.distances)) for item in reply.items] == [(1, 3), (2, 5)]
    assert [one["event"] for one in logged] == ["task dropped: it is not a QueryTask"]


def reply_of(*sizes: int) -> task_pb2.QueryReply:
    return task_pb2.QueryReply(items=[Echo().answer(item) for item in query_task(*sizes).items])


def test_only_as_many_of_the_largest_results_are_replaced_as_necessary() -> None:
    reply = open_sealed(task_pb2.QueryReply, seal_within(reply_of(100, 5_000, 900, 4_000), 2_000))
    kinds = [item.error.kind if item.HasField("error") else None for item in reply.items]
    too_large = task_pb2.ITEM_ERROR_KIND_OUT_OF_MEMORY
    assert kinds == [None, too_large, None, too_large]
    assert [len(item.results) for item in reply.items] == [1, 0, 1, 0]
    exact = seal(reply_of(100, 900))
    assert seal_within(reply_of(100, 900), len(exact)) == exact


def test_a_reply_that_is_too_large_without_results_is_a_defect() -> None:
    with pytest.raises(InternalError, match="without results exceeds 10 bytes"):
        seal_within(reply_of(100), 10)
