"""The answers that are sent to be checked, read from a real Redis as a build worker receives them."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import msgpack
import pytest
import redis.asyncio
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from planmesh.dispatch.broker_clock import BrokerClock
from planmesh.dispatch.celery_app import make_app
from planmesh.dispatch.checksum import open_sealed
from planmesh.dispatch.connections import connect_async
from planmesh.dispatch.queues import SHADOW_QUEUE
from planmesh.dispatch.task_publisher import TaskPublisher
from planmesh.internal.v1 import task_pb2
from planmesh.settings import CoordinatorSettings
from planmesh.telemetry import names
from planmesh.telemetry.tracing import make_telemetry
from planmesh.v1 import plan_pb2
from services.coordinator.shadow_checks import EXPIRES_S, QUEUED_MAX, UNSENT_MAX, ShadowChecks
from services.coordinator.versioned_graph import VersionedGraph

PLAN = plan_pb2.Plan(graph="roads", version=3, start="a", goal="b", cost=2.5).SerializeToString()


class Directory:
    """Finds two nodes."""

    def find(self, node_id: str) -> int:
        return {"a": 7, "b": 9}[node_id]


@dataclass
class FakeGraph:
    """The attributes of a VersionedGraph that a check uses."""

    name: str = "roads"
    version: int = 3
    snapshot_url: str = "/data/snapshots/roads/3"
    identity: str = "ab" * 16
    directory: Directory = Directory()  # noqa: RUF009 - it has no state
    changes: object = None


GRAPH = cast(VersionedGraph, FakeGraph())


@dataclass
class Sending:
    """The checks under test, their Redis, and their counts."""

    checks: ShadowChecks
    redis: redis.asyncio.Redis
    reader: InMemoryMetricReader

    def counts(self) -> dict[str, int]:
        data: Any = self.reader.get_metrics_data()
        points = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
        return {point.attributes[names.RESULT]: point.value for point in points}

    async def sent(self) -> list[dict[str, Any]]:
        """Return the messages in the queue, the oldest first."""
        return [json.loads(raw) for raw in reversed(await self.redis.lrange(SHADOW_QUEUE, 0, -1))]

    async def until(self, look: Callable[[int, int], bool]) -> None:
        """Wait until `look` returns True for the numbers of queued and of skipped checks."""
        async with asyncio.timeout(60):
            while not look(await self.redis.llen(SHADOW_QUEUE), self.counts()[names.SHADOW_SKIPPED]):
                await asyncio.sleep(0.01)


@asynccontextmanager
async def sending(url: str, draw: Callable[[], float] = random.random, **settings: float) -> AsyncIterator[Sending]:
    reader = InMemoryMetricReader()
    connection = connect_async(url)
    checks = ShadowChecks(
        TaskPublisher(make_app(url), connection, BrokerClock()),
        CoordinatorSettings(**settings),  # type: ignore[arg-type]
        make_telemetry("test", metric_readers=[reader]),
        draw,
    )
    await checks.start()
    try:
        yield Sending(checks, connection, reader)
    finally:
        await checks.close()
        await connection.aclose()


def opened(message: dict[str, Any]) -> task_pb2.ShadowCheck:
    (payload,), _, _ = msgpack.unpackb(base64.b64decode(message["body"]))
    return open_sealed(task_pb2.ShadowCheck, payload)


@pytest.mark.parametrize("detail", plan_pb2.Detail.values())
async def test_a_check_has_the_answer_and_its_version(redis_server: Any, detail: plan_pb2.Detail.ValueType) -> None:
    answer = PLAN + plan_pb2.Plan(detail=detail).SerializeToString()
    async with sending(redis_server.url, shadow_share=1.0, shadow_no_path_share=1.0) as one:
        one.checks.consider(GRAPH, "a", "b", answer)
        one.checks.consider(GRAPH, "b", "a", None)
        await one.until(lambda queued, _: queued == 2)
        plan, no_path = await one.sent()
        for message in (plan, no_path):
            left_s = datetime.fromisoformat(message["headers"]["expires"]).timestamp() - datetime.now().timestamp()
            assert 0 < left_s <= EXPIRES_S
        check = opened(plan)
        assert (check.graph, check.version, check.start_node, check.goal_node) == ("roads", 3, 7, 9)
        assert (check.snapshot_url, check.identity) == (GRAPH.snapshot_url, GRAPH.identity)
        assert check.cost == 2.5
        assert not opened(no_path).HasField("cost")
        assert (opened(no_path).start, opened(no_path).goal) == ("b", "a")


async def test_shares_are_those_of_the_settings() -> None:
    """The defaults are a thousandth of the plans and a fiftieth of the NoPath answers."""
    drawn: Counter[bool] = Counter()

    class Counting(ShadowChecks):
        def _count(self, result: str, checks: int = 1) -> None:
            drawn[self.no_path] += checks

        no_path = False

    even = itertools.cycle((place + 0.5) / 100_000 for place in range(100_000))
    url = "redis://127.0.0.1:1/0"
    connection = connect_async(url)
    publisher = TaskPublisher(make_app(url), connection, BrokerClock())
    checks = Counting(publisher, CoordinatorSettings(), make_telemetry("test"), lambda: next(even))
    for _ in range(UNSENT_MAX):  # the queue is full, so every answer drawn from here on counts as skipped
        checks._unsent.put_nowait(cast(Any, None))
    for checks.no_path, plan, share in ((False, PLAN, 0.001), (True, None, 0.02)):
        for _ in range(100_000):
            checks.consider(GRAPH, "a", "b", plan)
        assert drawn[checks.no_path] == round(100_000 * share)
    await connection.aclose()


async def test_a_share_of_nothing_draws_nothing(redis_server: Any) -> None:
    async with sending(redis_server.url, lambda: 0.0, shadow_share=0.0, shadow_no_path_share=0.0) as one:
        for plan in (PLAN, None):
            one.checks.consider(GRAPH, "a", "b", plan)
        assert one.checks._unsent.empty()


async def test_the_queue_of_checks_is_bounded(redis_server: Any) -> None:
    async with sending(redis_server.url, shadow_share=1.0) as one:
        for _ in range(QUEUED_MAX + 10):
            while one.checks._unsent.full():
                await asyncio.sleep(0)
            one.checks.consider(GRAPH, "a", "b", PLAN)
        await one.until(lambda queued, skipped: (queued, skipped) == (QUEUED_MAX, 10))


async def test_checks_that_cannot_be_sent_are_skipped_without_delay(redis_server: Any) -> None:
    async with sending(redis_server.url, shadow_share=1.0) as one:
        redis_server.kill()
        for _ in range(UNSENT_MAX + 5):
            one.checks.consider(GRAPH, "a", "b", PLAN)  # it is not a coroutine, so it returns at once
        await asyncio.wait_for(_all_skipped(one, UNSENT_MAX + 5), 60)


async def _all_skipped(one: Sending, count: int) -> None:
    while one.counts()[names.SHADOW_SKIPPED] < count:
        await asyncio.sleep(0.01)


async def test_a_defect_with_one_answer_does_not_affect_other_checks(redis_server: Any) -> None:
    async with sending(redis_server.url, shadow_share=1.0) as one:
        one.checks.consider(GRAPH, "a", "unknown", PLAN)
        one.checks.consider(GRAPH, "a", "b", PLAN)
        await one.until(lambda queued, _: queued == 1)
        assert one.counts()[names.SHADOW_ERROR] == 1
