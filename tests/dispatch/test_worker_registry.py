from __future__ import annotations

from typing import Any

import pytest
import redis
from redis.exceptions import RedisError

from planmesh.dispatch.broker_clock import BrokerClock
from planmesh.dispatch.connections import connect, connect_async
from planmesh.dispatch.queues import WORKERS_KEY, worker_field
from planmesh.dispatch.worker_registry import FORGET_S, SILENCE_S_MAX, Heartbeat, LiveWorkers


async def test_a_worker_counts_as_live_while_it_beats_and_not_after_it_stopped(redis_server: Any) -> None:
    connection = connect_async(redis_server.url)
    live = LiveWorkers(connection, BrokerClock())
    beats = [Heartbeat(connect(redis_server.url), shard, f"worker-{shard}", BrokerClock()) for shard in (0, 0, 1)]
    other = Heartbeat(connect(redis_server.url), 0, "another", BrokerClock())
    for beat in (*beats[1:], other):
        beat.start()
    client = redis.Redis.from_url(redis_server.url)
    assert client.hlen(WORKERS_KEY) == 3
    assert await live.poll() == {0: 2, 1: 1}
    assert live.missed == {}
    other.stop()
    successor = Heartbeat(connect(redis_server.url), 0, "successor", BrokerClock())
    successor.start()
    assert await live.poll() == {0: 2, 1: 1}
    assert live.missed == {0: 1}, "a lost worker counts as missed even if another has replaced it"
    successor.stop()
    assert await live.poll() == {0: 1, 1: 1}
    assert live.missed == {0: 1}
    for beat in beats[1:]:
        beat.stop()
    assert await live.poll() == {}
    client.close()
    await connection.aclose()


async def test_a_silent_worker_is_dead_and_later_forgotten(redis_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test sets the clock, because the time between two polls decides whether a worker is live."""
    now_s = 1_000.0
    monkeypatch.setattr("planmesh.dispatch.worker_registry.time.monotonic", lambda: now_s)
    connection = connect_async(redis_server.url)
    live = LiveWorkers(connection, BrokerClock())
    await connection.hincrby(WORKERS_KEY, worker_field(0, "silent"), 1)
    assert await live.poll() == {0: 1}
    now_s += SILENCE_S_MAX + 0.1
    assert await live.poll() == {}
    await connection.hincrby(WORKERS_KEY, worker_field(0, "silent"), 1)
    assert await live.poll() == {0: 1}
    now_s += FORGET_S + 1
    assert await live.poll() == {}
    assert await connection.hlen(WORKERS_KEY) == 0
    await connection.aclose()


async def test_a_redis_that_is_down_is_an_error(redis_server: Any) -> None:
    connection = connect_async(redis_server.url)
    redis_server.kill()
    with pytest.raises((RedisError, OSError)):
        await LiveWorkers(connection, BrokerClock()).poll()
    await connection.aclose()


async def test_heartbeats_and_polls_set_the_clock_of_redis(redis_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("planmesh.dispatch.broker_clock.time.time", lambda: 0.0)
    of_worker, of_asker = BrokerClock(), BrokerClock()
    beat = Heartbeat(connect(redis_server.url), 0, "worker", of_worker)
    beat.start()
    connection = connect_async(redis_server.url)
    assert await LiveWorkers(connection, of_asker).poll() == {0: 1}
    seconds, _ = await connection.time()
    for clock in (of_worker, of_asker):
        assert abs(clock.unix_s() - seconds) < 60
    beat.stop()
    await connection.aclose()


def test_a_worker_starts_while_redis_is_down_and_counts_when_it_is_back(redis_server: Any) -> None:
    redis_server.kill()
    beat = Heartbeat(connect(redis_server.url), 0, "worker", BrokerClock())
    beat.start()
    redis_server.start()
    client = redis.Redis.from_url(redis_server.url)
    while not client.hlen(WORKERS_KEY):
        pass
    beat.stop()
    assert not client.hlen(WORKERS_KEY)
    client.close()
