"""Redis connections: their timeouts, and the one retry that hides a closed idle connection."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from redis.exceptions import RedisError

from planmesh.dispatch.celery_app import CONNECT_TIMEOUT_S, SOCKET_TIMEOUT_S
from planmesh.dispatch.connections import connect, connect_async


def test_every_connection_has_timeouts() -> None:
    for client, socket_timeout_s in (
        (connect("redis://h:1/0"), SOCKET_TIMEOUT_S),
        (connect_async("redis://h:1/0"), SOCKET_TIMEOUT_S),
        (connect_async("redis://h:1/0", socket_timeout_s=5.0), 5.0),
    ):
        options: dict[str, Any] = client.connection_pool.connection_kwargs
        assert (options["socket_timeout"], options["socket_connect_timeout"]) == (socket_timeout_s, CONNECT_TIMEOUT_S)


async def test_a_connection_that_redis_closed_is_replaced(redis_server: Any) -> None:
    blocking, other = connect(redis_server.url), connect_async(redis_server.url)
    assert blocking.ping()
    assert await other.ping()
    with redis.Redis.from_url(redis_server.url) as admin:
        admin.client_kill_filter(_type="normal", skipme=True)
    assert blocking.ping()
    assert await other.ping()
    redis_server.kill()
    with pytest.raises((RedisError, OSError)):
        blocking.ping()
    with pytest.raises((RedisError, OSError)):
        await other.ping()
    blocking.close()
    await other.aclose()
