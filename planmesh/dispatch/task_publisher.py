"""Sends Celery tasks from an event loop.

Celery's own `apply_async` blocks, and costs 1.1 to 1.5 ms where a plan as a whole may cost five: it looks up bindings
and acquires a pooled connection for every message. Here Celery makes the message (`as_task_v2`, task protocol 2) and
kombu serialises it, and the envelope of kombu's Redis transport goes to the queue's list by one LPUSH on the asyncio
connection. `tests/dispatch/test_task_publisher.py` holds the envelope against the one that kombu itself writes, and
against a real worker.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from typing import Final

import orjson
import redis.asyncio
from celery import Celery
from kombu.serialization import dumps
from redis.exceptions import RedisError

from planmesh.dispatch.queues import BUILD_QUEUE, BUILD_TASK, QUERY_TASK, query_queue
from planmesh.errors import BrokerUnavailable

BUILD_EXPIRES_S: Final = 24 * 3600.0
"""A build task that no builder took for a day is stale: the build that asked has given up long since."""

TRANSIENT: Final = 1
"""AMQP delivery mode: the asker repeats what is lost."""


def celery_envelope(
    app: Celery, task: str, queue: str, payload: bytes, expires_s: float, headers: Mapping[str, str]
) -> bytes:
    """One message of task protocol 2 as kombu's Redis transport stores it in the list `queue`."""
    message = app.amqp.as_task_v2(
        str(uuid.uuid4()), task, (payload,), {}, expires=expires_s, argsrepr="", kwargsrepr="", ignore_result=True
    )
    content_type, content_encoding, body = dumps(message.body, serializer="msgpack")  # type: ignore[no-untyped-call]
    return orjson.dumps(
        {
            "body": base64.b64encode(body).decode("ascii"),
            "content-encoding": content_encoding,
            "content-type": content_type,
            "headers": {**message.headers, **headers},
            "properties": {
                **message.properties,
                "body_encoding": "base64",
                "delivery_info": {"exchange": "", "routing_key": queue},
                "delivery_mode": TRANSIENT,
                "delivery_tag": str(uuid.uuid4()),
                "priority": 0,
            },
        }
    )


class TaskPublisher:
    """Publishes tasks on one asyncio Redis connection pool, which it borrows."""

    def __init__(self, app: Celery, connection: redis.asyncio.Redis) -> None:
        self._app = app
        self._connection = connection

    async def publish_query(
        self, shard: int, payload: bytes, expires_s: float, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a serialised QueryTask to a shard; it is dropped unstarted after `expires_s` seconds.

        Raises BrokerUnavailable when Redis does not take it.
        """
        await self._publish(QUERY_TASK, query_queue(shard), payload, expires_s, headers or {})

    async def publish_build(self, payload: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send a serialised BuildTask to the builders. Raises BrokerUnavailable when Redis does not take it."""
        await self._publish(BUILD_TASK, BUILD_QUEUE, payload, BUILD_EXPIRES_S, headers or {})

    async def _publish(
        self, task: str, queue: str, payload: bytes, expires_s: float, headers: Mapping[str, str]
    ) -> None:
        envelope = celery_envelope(self._app, task, queue, payload, expires_s, headers)
        try:
            await self._connection.lpush(queue, envelope)
        except (RedisError, OSError) as error:
            raise BrokerUnavailable(f"Redis did not take a task for {queue}: {error}") from error
