"""The poll on which readiness depends, over a real Redis, with polls that fail as the test says."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
from structlog.testing import capture_logs

from planmesh.dispatch.broker_clock import BrokerClock
from planmesh.dispatch.connections import connect
from planmesh.dispatch.worker_registry import Heartbeat, LiveWorkers
from planmesh.settings import CoordinatorSettings
from planmesh.telemetry.tracing import make_telemetry
from services.coordinator.availability import Availability
from services.coordinator.counters import Counters
from services.coordinator.redis_server import RedisServer
from tests.conftest import RedisServer as RunningRedis
from tests.services.coordinator.watched_graphs import WAIT_S_MAX, running

pytestmark = pytest.mark.mesh


class FailingPoll(LiveWorkers):
    """Live workers whose polls raise the given errors, each once."""

    errors: ClassVar[list[BaseException]] = []

    async def poll(self) -> Counter[int]:
        live = await super().poll()
        if self.errors:
            raise self.errors.pop(0)
        return live


async def test_an_unexpected_error_makes_the_coordinator_not_ready_until_the_poll_works_again(
    redis_server: RunningRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.coordinator.redis_server.LiveWorkers", FailingPoll)
    telemetry, settings = make_telemetry("test"), CoordinatorSettings(shards=1)
    blocking = connect(redis_server.url)
    server = RedisServer(0, redis_server.url, "test", settings, telemetry, Counters())
    heartbeat = Heartbeat(blocking, 0, "w", BrokerClock())
    heartbeat.start()
    reported: asyncio.Queue[bool] = asyncio.Queue()

    async def reaches(ready: bool) -> None:
        async with asyncio.timeout(WAIT_S_MAX):
            while await reported.get() is not ready:
                pass

    async with running(tmp_path) as coordinator:
        await coordinator.graphs.start()
        availability = Availability([server], 1, coordinator.graphs, telemetry)
        with capture_logs() as logged:
            await availability.start(reported.put)
            await reaches(True)
            FailingPoll.errors[:] = [KeyError("a defect"), asyncio.CancelledError()]
            await reaches(False)
            assert not availability.ready
            await reaches(True)
            assert availability.ready
            assert not FailingPoll.errors
        failed = [one for one in logged if one["event"] == "background task failed; it will be restarted"]
        assert [type(one["exc_info"]) for one in failed] == [KeyError, asyncio.CancelledError]
        await availability.close()
    heartbeat.stop()
    await server.close()
    await cast("Any", server.connection).aclose()
    blocking.close()
