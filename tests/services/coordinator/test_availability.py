"""The poll on which readiness depends, over a real Redis, with polls that fail as the test says."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from planmesh.dispatch.broker_clock import BrokerClock
from planmesh.dispatch.celery_app import make_app
from planmesh.dispatch.connections import connect, connect_async
from planmesh.dispatch.task_publisher import TaskPublisher
from planmesh.dispatch.worker_registry import Heartbeat, LiveWorkers
from planmesh.settings import CoordinatorSettings
from planmesh.telemetry.tracing import make_telemetry
from services.coordinator.availability import Availability
from services.coordinator.counters import Counters
from services.coordinator.dispatcher import Dispatcher
from services.coordinator.redis_persistence import RedisPersistence
from tests.conftest import RedisServer
from tests.services.coordinator.watched_graphs import WAIT_S_MAX, running

pytestmark = pytest.mark.mesh


class FailingPoll(LiveWorkers):
    """Live workers whose polls raise the given errors, each once."""

    errors: list[BaseException]

    async def poll(self) -> Counter[int]:
        live = await super().poll()
        if self.errors:
            raise self.errors.pop(0)
        return live


async def test_an_unexpected_error_makes_the_coordinator_not_ready_until_the_poll_works_again(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    clock, telemetry, settings = BrokerClock(), make_telemetry("test"), CoordinatorSettings(shards=1)
    connection, blocking = connect_async(redis_server.url), connect(redis_server.url)
    publisher = TaskPublisher(make_app(redis_server.url), connection, clock)
    dispatcher = Dispatcher(publisher, "replies", settings, telemetry, Counters(), clock)
    workers = FailingPoll(connection, clock)
    workers.errors = []
    heartbeat = Heartbeat(blocking, 0, "w", BrokerClock())
    heartbeat.start()
    reported: asyncio.Queue[bool] = asyncio.Queue()

    async def reaches(ready: bool) -> None:
        async with asyncio.timeout(WAIT_S_MAX):
            while await reported.get() is not ready:
                pass

    async with running(tmp_path) as coordinator:
        await coordinator.graphs.start()
        persistence = RedisPersistence(connection, settings.redis_persistence)
        availability = Availability(workers, persistence, dispatcher, coordinator.graphs, telemetry)
        with capture_logs() as logged:
            await availability.start(reported.put)
            await reaches(True)
            workers.errors = [KeyError("a defect"), asyncio.CancelledError()]
            await reaches(False)
            assert not availability.ready
            await reaches(True)
            assert availability.ready
            assert not workers.errors
        failed = [one for one in logged if one["event"] == "background task failed; it will be restarted"]
        assert [type(one["exc_info"]) for one in failed] == [KeyError, asyncio.CancelledError]
        await availability.close()
    heartbeat.stop()
    await dispatcher.close()
    await cast("Any", connection).aclose()
    blocking.close()
