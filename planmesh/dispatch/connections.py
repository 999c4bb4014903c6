"""Redis connections of the services and workers, with the same timeouts and retries everywhere."""

from __future__ import annotations

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from planmesh.dispatch.celery_app import CONNECT_TIMEOUT_S, SOCKET_TIMEOUT_S


def connect_async(redis_url: str, *, socket_timeout_s: float = SOCKET_TIMEOUT_S) -> redis.asyncio.Redis:
    """Return an asyncio client with its own connection pool.

    It fails fast: after one immediate retry it raises RedisError or OSError, and the caller decides about further ones.
    """
    return redis.asyncio.Redis.from_url(
        redis_url,
        socket_timeout=socket_timeout_s,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_keepalive=True,
        # One immediate retry replaces a pooled connection that Redis closed while it was idle.
        retry=AsyncRetry(NoBackoff(), 1),
    )


def connect(redis_url: str) -> redis.Redis:
    """Return a blocking client, for workers, with the timeouts and the retry of `connect_async`."""
    return redis.Redis.from_url(
        redis_url,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 1),
    )
