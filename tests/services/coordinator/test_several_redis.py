"""A coordinator with two Redis servers: what each has, and what the end of one means for the shards of the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from planmesh.dispatch.broker_clock import BrokerClock
from planmesh.dispatch.connections import connect
from planmesh.dispatch.queues import query_queue
from planmesh.dispatch.worker_registry import Heartbeat
from planmesh.settings import CoordinatorSettings
from planmesh.telemetry.tracing import make_telemetry
from services.coordinator.availability import Availability
from services.coordinator.counters import Counters
from services.coordinator.redis_server import RedisServer
from tests.conftest import RedisServer as RunningRedis
from tests.services.coordinator.watched_graphs import WAIT_S_MAX, running

pytestmark = pytest.mark.mesh

SHARDS = 3


@pytest.fixture
def running_servers(tmp_path: Path) -> Iterator[list[RunningRedis]]:
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    started = [RunningRedis(folder) for folder in folders]
    for server in started:
        server.start()
    yield started
    for server in started:
        server.kill()


@pytest.fixture
async def servers(running_servers: list[RunningRedis]) -> AsyncIterator[list[RedisServer]]:
    urls = [server.url for server in running_servers]
    settings = CoordinatorSettings(redis_urls=SecretStr(",".join(urls)), shards=SHARDS)
    made = [
        RedisServer(number, url, "test", settings, make_telemetry("test"), Counters())
        for number, url in enumerate(settings.redis_servers)
    ]
    yield made
    for server in made:
        await server.close()
        await server.connection.aclose()


@contextlib.contextmanager
def live(url: str, *shards: int) -> Iterator[None]:
    """Have a worker of each shard beat at a server."""
    with contextlib.ExitStack() as stack:
        for shard in shards:
            connection = connect(url)
            stack.callback(connection.close)
            heartbeat = Heartbeat(connection, shard, "w", BrokerClock())
            heartbeat.start()
            stack.callback(heartbeat.stop)
        yield


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(WAIT_S_MAX):
        while not condition():
            await asyncio.sleep(0.02)


async def test_each_server_has_the_queues_of_its_own_shards(
    servers: list[RedisServer], running_servers: list[RunningRedis]
) -> None:
    assert [server.shards for server in servers] == [[0, 2], [1]]
    assert [server.name for server in servers] == ["redis", "redis-1"]
    for number, server in enumerate(servers):
        for shard in server.shards:
            await server.publisher.publish_query(shard, b"task", 60.0)
        waiting = [await server.connection.llen(query_queue(shard)) for shard in range(SHARDS)]
        assert waiting == [int(shard % 2 == number) for shard in range(SHARDS)]


async def test_one_server_that_ends_leaves_the_shards_of_the_other(
    servers: list[RedisServer], running_servers: list[RunningRedis], tmp_path: Path
) -> None:
    ready: list[bool] = []

    async def report(value: bool) -> None:
        ready.append(value)

    with live(running_servers[0].url, 0, 2), live(running_servers[1].url, 1):
        async with running(tmp_path) as coordinator:
            await coordinator.graphs.start()
            availability = Availability(servers, SHARDS, coordinator.graphs, make_telemetry("test"))
            await availability.start(report)
            await until(lambda: availability.ready and all(shard.workers for shard in availability.shards()))
            assert [process.problem for process in availability.processes()] == ["", "", "", ""]
            running_servers[1].kill()
            await until(lambda: not servers[1].dispatcher.broker_up)
            assert availability.ready, "plans on the shards of the other server are still answered"
            assert servers[0].dispatcher.broker_up
            problems = {process.name: process.problem for process in availability.processes()}
            assert problems == {
                "redis": "",
                "redis-1": "does not answer",
                "workers": "unknown while Redis is down",
                "partition": "",
            }
            running_servers[1].start()
            await until(lambda: all(not process.problem for process in availability.processes()))
            running_servers[0].kill()
            running_servers[1].kill()
            await until(lambda: not availability.ready)
            await availability.close()
    assert True in ready
    assert False in ready


async def test_workers_with_another_list_of_servers_are_named(
    servers: list[RedisServer], running_servers: list[RunningRedis]
) -> None:
    """Their heartbeats arrive at a server where no task of their shard is sent."""
    with live(running_servers[0].url, 0, 1):
        await until_seen(servers[0], 0)
        assert servers[0].misplaced.startswith("workers of shard 1 take tasks from redis, where this coordinator sends")
        assert "PLANMESH_REDIS_URLS" in servers[0].misplaced
        assert servers[0].dispatcher.workers(1) == 0
        assert servers[1].misplaced == ""
    with live(running_servers[0].url, 0), live(running_servers[1].url, 1):
        await until_seen(servers[1], 1)
        async with asyncio.timeout(WAIT_S_MAX):
            while servers[0].misplaced:
                await servers[0].poll()
                await asyncio.sleep(0.05)


async def until_seen(server: RedisServer, shard: int) -> None:
    async with asyncio.timeout(WAIT_S_MAX):
        while not server.dispatcher.workers(shard):
            await server.poll()
            await asyncio.sleep(0.05)
