"""Redis connections of the services and workers, made in one way."""

from __future__ import annotations

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from planmesh.dispatch.celery_app import CONNECT_TIMEOUT_S, SOCKET_TIMEOUT_S


def connect_async(redis_url: str, *, socket_timeout_s: float = SOCKET_TIMEOUT_S) -> redis.asyncio.Redis:
    """An asyncio client with a pool of its own. It fails fast: whoever asks decides about asking again."""
    return redis.asyncio.Redis.from_url(
        redis_url,
        socket_timeout=socket_timeout_s,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_keepalive=True,
        # One retry at once: a pooled connection that Redis closed while it idled is replaced without a word.
        retry=AsyncRetry(NoBackoff(), 1),
    )


def connect(redis_url: str) -> redis.Redis:
    """A blocking client, for workers."""
    return redis.Redis.from_url(
        redis_url,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 1),
    )
