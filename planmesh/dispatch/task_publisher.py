"""Sends Celery tasks from an event loop.

Celery's own `apply_async` blocks, and costs 1.1 to 1.5 ms where a plan as a whole may cost five: it looks up bindings
and acquires a pooled connection for every message. Here Celery makes a message of task protocol 2 once, and each
message like it goes to the queue's list, in the envelope of kombu's Redis transport, by one LPUSH on the asyncio
connection. `tests/dispatch/test_task_publisher.py` holds the envelope against the one that kombu itself writes, and
against a real worker.
"""

from __future__ import annotations

import base64
import itertools
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgpack
import orjson
import redis.asyncio
from celery import Celery
from kombu.serialization import dumps
from redis.exceptions import RedisError

from planmesh.dispatch.broker_clock import BrokerClock
from planmesh.dispatch.queues import BUILD_QUEUE, BUILD_TASK, QUERY_TASK, SHADOW_QUEUE, SHADOW_TASK, query_queue
from planmesh.errors import BrokerUnavailable

BUILD_EXPIRES_S: Final = 24 * 3600.0
"""A build task that no builder took for a day is stale: the build that asked has given up long since."""

TRANSIENT: Final = 1
"""AMQP delivery mode: the asker repeats what is lost."""


class EnvelopeTemplate:
    """Messages of one task for one queue, as kombu's Redis transport stores them in the queue's list.

    Celery and kombu make one message, once; what differs from message to message is put in its place.
    """

    def __init__(self, app: Celery, task: str, queue: str) -> None:
        message = app.amqp.as_task_v2("", task, (b"",), {}, argsrepr="", kwargsrepr="", ignore_result=True)
        content_type, content_encoding, _ = dumps(message.body, serializer="msgpack")  # type: ignore[no-untyped-call]
        _, self._keyword_arguments, self._embedded = message.body
        self._id = uuid.uuid4()
        self._numbers = itertools.count(1)
        self._headers = message.headers
        self._properties = {
            **message.properties,
            "body_encoding": "base64",
            "delivery_info": {"exchange": "", "routing_key": queue},
            "delivery_mode": TRANSIENT,
            "priority": 0,
        }
        self._content = {"content-encoding": content_encoding, "content-type": content_type}

    def fill(self, payload: bytes, expires_unix_s: float, headers: Mapping[str, str]) -> bytes:
        """One message: the task is called with `payload`, unless it begins later than `expires_unix_s`."""
        task_id = f"{self._id}-{next(self._numbers)}"
        body = msgpack.packb(((payload,), self._keyword_arguments, self._embedded), use_bin_type=True)
        expires = datetime.fromtimestamp(expires_unix_s, UTC)
        own = {"id": task_id, "root_id": task_id, "expires": expires.isoformat()}
        properties = {"correlation_id": task_id, "delivery_tag": task_id}
        return orjson.dumps(
            {
                "body": base64.b64encode(body).decode("ascii"),
                "headers": {**self._headers, **own, **headers},
                "properties": {**self._properties, **properties},
                **self._content,
            }
        )


class TaskPublisher:
    """Publishes tasks on one asyncio Redis connection pool, which it borrows. `clock` says what time it is."""

    def __init__(self, app: Celery, connection: redis.asyncio.Redis, clock: BrokerClock) -> None:
        self._app = app
        self._clock = clock
        self._connection = connection
        self._templates: dict[str, EnvelopeTemplate] = {}

    async def publish_query(
        self, shard: int, payload: bytes, expires_s: float, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Send a serialised QueryTask to a shard; it is dropped unstarted after `expires_s` seconds.

        Return the message as it lies in the queue. Raises BrokerUnavailable when Redis does not take it.
        """
        return await self._publish(QUERY_TASK, query_queue(shard), payload, expires_s, headers or {})

    async def waits(self, shard: int, envelope: bytes) -> bool:
        """Whether a message that `publish_query` returned is still in its queue, where no worker has taken it.

        Raises BrokerUnavailable when Redis does not answer.
        """
        try:
            return await self._connection.lpos(query_queue(shard), envelope) is not None  # type: ignore[arg-type]
        except (RedisError, OSError) as error:
            raise BrokerUnavailable(f"Redis did not say what waits for shard {shard}: {error}") from error

    async def withdraw(self, shard: int, envelope: bytes) -> bool:
        """Take such a message out of its queue; False when it is not there any more.

        Raises BrokerUnavailable when Redis does not answer.
        """
        try:
            return bool(await self._connection.lrem(query_queue(shard), 1, envelope))  # type: ignore[arg-type]
        except (RedisError, OSError) as error:
            raise BrokerUnavailable(f"Redis did not remove a task of shard {shard}: {error}") from error

    async def publish_build(self, payload: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send a serialised BuildTask to the builders. Raises BrokerUnavailable when Redis does not take it."""
        await self._publish(BUILD_TASK, BUILD_QUEUE, payload, BUILD_EXPIRES_S, headers or {})

    async def publish_shadow(self, payload: bytes, expires_s: float, waiting_max: int) -> bool:
        """Send a serialised ShadowCheck; False when as many as `waiting_max` wait in the queue already.

        The bound may be exceeded by one for each coordinator that looks at the same moment. Raises BrokerUnavailable
        when Redis does not take it.
        """
        try:
            waiting = await self._connection.llen(SHADOW_QUEUE)
        except (RedisError, OSError) as error:
            raise BrokerUnavailable(f"Redis does not say how long {SHADOW_QUEUE} is: {error}") from error
        if waiting >= waiting_max:
            return False
        await self._publish(SHADOW_TASK, SHADOW_QUEUE, payload, expires_s, {})
        return True

    async def _publish(
        self, task: str, queue: str, payload: bytes, expires_s: float, headers: Mapping[str, str]
    ) -> bytes:
        template = self._templates.get(queue)
        if template is None:
            template = self._templates[queue] = EnvelopeTemplate(self._app, task, queue)
        envelope = template.fill(payload, self._clock.unix_s() + expires_s, headers)
        try:
            await self._connection.lpush(queue, envelope)
        except (RedisError, OSError) as error:
            raise BrokerUnavailable(f"Redis did not take a task for {queue}: {error}") from error
        return envelope
