"""Sends Celery tasks from an event loop.

Celery's own `apply_async` blocks, and takes 1.1 to 1.5 ms of the 5 ms that a whole plan may take: it looks up bindings
and acquires a pooled connection for every message. This module lets Celery make one message of task protocol 2 as a
template. It fills the template for each task, and pushes it to the queue's list in the envelope of kombu's Redis
transport, by one LPUSH on the asyncio connection. `tests/dispatch/test_task_publisher.py` compares the envelope with
kombu's own, and sends it to a real worker.
"""

from __future__ import annotations

import base64
import itertools
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

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
"""A build task that no builder took for a day is stale: its build failed long before."""

TRANSIENT: Final = 1
"""AMQP delivery mode of messages that need not survive the broker: the sender repeats lost tasks."""


class EnvelopeTemplate:
    """A template for messages of one task in one queue, in the form that kombu's Redis transport stores in the list.

    Celery and kombu make one message; `fill` replaces the fields that differ between messages.
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
        """Return a message. Its worker calls the task with `payload`, or discards it after `expires_unix_s`."""
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


class Published(NamedTuple):
    """A message as stored in its queue, and how many messages of all senders then waited there, itself included."""

    envelope: bytes
    waiting: int


class TaskPublisher:
    """Publishes tasks on an asyncio Redis connection pool, which the caller closes. Expiry times follow `clock`."""

    def __init__(self, app: Celery, connection: redis.asyncio.Redis, clock: BrokerClock) -> None:
        self._app = app
        self._clock = clock
        self._connection = connection
        self._templates: dict[str, EnvelopeTemplate] = {}

    async def publish_query(
        self, shard: int, payload: bytes, expires_s: float, headers: Mapping[str, str] | None = None
    ) -> Published:
        """Send a serialised QueryTask to a shard. A worker that takes it after `expires_s` seconds discards it.

        Raises BrokerUnavailable when Redis does not accept it.
        """
        return await self._publish(QUERY_TASK, query_queue(shard), payload, expires_s, headers or {})

    async def waits(self, shard: int, envelope: bytes) -> bool:
        """Whether a message that `publish_query` returned is still in its queue, so that no worker has taken it.

        The cost is linear in the length of the queue. Raises BrokerUnavailable when Redis does not answer.
        """
        try:
            return await self._connection.lpos(query_queue(shard), envelope) is not None  # type: ignore[arg-type]
        except (RedisError, OSError) as error:
            raise BrokerUnavailable(f"Redis did not search the queue of shard {shard} for a task: {error}") from error

    async def withdraw(self, shard: int, envelope: bytes) -> bool:
        """Remove a message that `publish_query` returned from its queue. Return False when it is no longer there.

        Raises BrokerUnavailable when Redis does not answer.
        """
        try:
            return bool(await self._connection.lrem(query_queue(shard), 1, envelope))  # type: ignore[arg-type]
        except (RedisError, OSError) as error:
            raise BrokerUnavailable(f"Redis did not remove a task of shard {shard}: {error}") from error

    async def publish_build(self, payload: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send a serialised BuildTask to the build workers. Raises BrokerUnavailable when Redis does not accept it."""
        await self._publish(BUILD_TASK, BUILD_QUEUE, payload, BUILD_EXPIRES_S, headers or {})

    async def publish_shadow(self, payload: bytes, expires_s: float, waiting_max: int) -> bool:
        """Send a serialised ShadowCheck. Return False without sending when `waiting_max` checks are in the queue.

        Coordinators that look at the same moment may each exceed the bound by one. Raises BrokerUnavailable when Redis
        does not answer.
        """
        try:
            waiting = await self._connection.llen(SHADOW_QUEUE)
        except (RedisError, OSError) as error:
            raise BrokerUnavailable(f"Redis did not report the length of {SHADOW_QUEUE}: {error}") from error
        if waiting >= waiting_max:
            return False
        await self._publish(SHADOW_TASK, SHADOW_QUEUE, payload, expires_s, {})
        return True

    async def _publish(
        self, task: str, queue: str, payload: bytes, expires_s: float, headers: Mapping[str, str]
    ) -> Published:
        template = self._templates.get(queue)
        if template is None:
            template = self._templates[queue] = EnvelopeTemplate(self._app, task, queue)
        envelope = template.fill(payload, self._clock.unix_s() + expires_s, headers)
        try:
            waiting = await self._connection.lpush(queue, envelope)
        except (RedisError, OSError) as error:
            raise BrokerUnavailable(f"Redis did not accept a task for {queue}: {error}") from error
        return Published(envelope, waiting)
