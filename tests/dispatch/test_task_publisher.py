"""The task publisher bypasses kombu, so its envelopes are compared with kombu's own and sent to a real worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis

from planmesh.dispatch.broker_clock import BrokerClock
from planmesh.dispatch.celery_app import make_app
from planmesh.dispatch.connections import connect_async
from planmesh.dispatch.queues import QUERY_TASK, query_queue
from planmesh.dispatch.task_publisher import EnvelopeTemplate, TaskPublisher
from planmesh.errors import BrokerUnavailable
from planmesh.internal.v1 import task_pb2

UNIQUE = {
    "argsrepr",
    "kwargsrepr",
    "expiration",
    "id",
    "root_id",
    "correlation_id",
    "delivery_tag",
    "origin",
    "expires",
    "reply_to",
    "delivery_info",
    "stamps",
}

OPTIONAL = {"stamps", "reply_to", "argsrepr", "kwargsrepr", "expiration"}


def comparable(envelope: dict[str, Any]) -> dict[str, Any]:
    """Return an envelope without the fields that differ between messages or depend on an exchange."""
    return {
        key: {name: value for name, value in fields.items() if name not in UNIQUE}
        if isinstance(fields, dict)
        else fields
        for key, fields in envelope.items()
    }


def test_the_envelope_is_the_one_that_celery_writes(redis_server: Any) -> None:
    app = make_app(redis_server.url)

    @app.task(name=QUERY_TASK, ignore_result=True)  # type: ignore[untyped-decorator]
    def task(payload: bytes) -> None:
        """Never run here."""

    client = redis.Redis.from_url(redis_server.url)
    with app.connection_for_write() as connection:  # a separate one, because the app's pooled ones stay open
        asked = {"queue": "by-celery", "expires": 30, "argsrepr": "", "kwargsrepr": ""}
        task.apply_async((b"payload",), connection=connection, **asked)
    written = client.rpop("by-celery")
    assert isinstance(written, bytes)
    theirs = json.loads(written)
    ours = json.loads(EnvelopeTemplate(app, QUERY_TASK, "by-us").fill(b"payload", time.time() + 30, {}))
    assert comparable(ours) == comparable(theirs)
    for section in ("headers", "properties"):
        assert set(ours[section]) >= set(theirs[section]) - OPTIONAL
    client.close()
    app.close()


async def test_the_task_expires_at_the_deadline_by_the_clock_of_redis(redis_server: Any) -> None:
    connection = connect_async(redis_server.url)
    clock = BrokerClock()
    clock.note((1_000_000, 0), time.monotonic())
    await TaskPublisher(make_app(redis_server.url), connection, clock).publish_query(0, b"", 30.0)
    written = await connection.rpop(query_queue(0))
    assert isinstance(written, bytes)
    expires = datetime.fromisoformat(json.loads(written)["headers"]["expires"])
    assert expires.tzinfo == UTC
    assert 1_000_030 <= expires.timestamp() < 1_000_060
    await connection.aclose()


async def test_a_broker_that_is_down_is_an_error(redis_server: Any) -> None:
    connection = connect_async(redis_server.url)
    publisher = TaskPublisher(make_app(redis_server.url), connection, BrokerClock())
    await publisher.publish_query(0, b"", 1.0)
    redis_server.kill()
    with pytest.raises(BrokerUnavailable):
        await publisher.publish_query(0, b"", 1.0)
    redis_server.start()
    await publisher.publish_query(0, b"", 1.0)
    await connection.aclose()


@pytest.mark.mesh
async def test_a_real_worker_takes_the_task_and_drops_an_expired_one(redis_server: Any, tmp_path: Path) -> None:
    """The first task has expired when the worker starts. The second is answered with an error: it has no snapshot."""
    connection = connect_async(redis_server.url, socket_timeout_s=120)
    publisher = TaskPublisher(make_app(redis_server.url), connection, BrokerClock())
    for key, expires_s in ((1, 0.001), (2, 600.0)):
        item = task_pb2.QueryItem(
            key=key,
            snapshot_url=str(tmp_path / "none"),
            snapshot_identity="0" * 32,
            deadline_unix_s=time.time() + 600,
        )
        task = task_pb2.QueryTask(batch=key, reply_channel="replies", items=[item])
        await publisher.publish_query(3, task.SerializeToString(), expires_s)
    environment = {**os.environ, "PLANMESH_REDIS_URL": redis_server.url, "PLANMESH_DATA": str(tmp_path)}
    command = [sys.executable, "-m", "workers", "--role", "query", "--shard", "3"]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, env=environment, stderr=log) as worker:
        try:
            popped = await connection.blpop(["replies"], timeout=110)
            assert popped is not None, (tmp_path / "log").read_text()
            assert isinstance(popped[1], bytes)
            reply = task_pb2.QueryReply.FromString(popped[1])
            assert (reply.batch, reply.items[0].key) == (2, 2)
            assert reply.items[0].error.kind == task_pb2.ITEM_ERROR_KIND_VERSION_GONE
            assert await connection.llen(query_queue(3)) == 0
            assert await connection.llen("replies") == 0
        finally:
            worker.terminate()
    assert worker.returncode == 0
    await connection.aclose()
