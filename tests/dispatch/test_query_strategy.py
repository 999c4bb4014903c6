"""The Celery strategy of query tasks, which run in the receiving thread. A failing one must not end the worker."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import InvalidTaskError
from kombu.message import Message
from kombu.serialization import dumps

from planmesh.dispatch.broker_clock import BrokerClock
from workers.query_tasks import at_once


def message(payload: Any, **headers: str) -> Message:
    content_type, encoding, body = dumps(payload, serializer="msgpack")  # type: ignore[no-untyped-call]
    return Message(  # type: ignore[no-untyped-call]
        body=body,
        content_type=content_type,
        content_encoding=encoding,
        headers=headers,
        accept={content_type},
        channel=None,
    )


@pytest.fixture
def clock() -> BrokerClock:
    return BrokerClock()


@pytest.fixture
def received(clock: BrokerClock) -> tuple[Any, list[tuple[bytes, str]]]:
    app = Celery("test", set_as_current=False)
    calls: list[tuple[bytes, str]] = []

    @app.task(name="query", clock=clock)  # type: ignore[untyped-decorator]
    def query(payload: bytes, traceparent: str) -> None:
        calls.append((payload, traceparent))
        if payload == b"broken":
            raise KeyError("a defect")

    return at_once(query, app, None), calls


def test_a_task_that_fails_does_not_end_the_worker(received: Any) -> None:
    handle, calls = received
    for payload in (b"broken", b"whole"):
        handle(message(((payload,), {}, {}), traceparent="t"), None)
    assert calls == [(b"broken", "t"), (b"whole", "t")]


def test_expired_and_malformed_messages_are_not_run(received: Any) -> None:
    handle, calls = received
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    handle(message(((b"late",), {}, {}), expires=past), None)
    for bad in (message(((), {}, {})), message(7), message(((b"x",), {}, {}), expires="tomorrow")):
        with pytest.raises(InvalidTaskError):
            handle(bad, None)
    assert calls == []


def test_messages_expire_by_the_clock_of_redis(received: Any, clock: BrokerClock) -> None:
    handle, calls = received
    clock.note((int(time.time()) - 3600, 0), time.monotonic())
    half_an_hour_ago = (datetime.now(UTC) - timedelta(minutes=30)).isoformat()
    handle(message(((b"in time",), {}, {}), expires=half_an_hour_ago), None)
    clock.note((int(time.time()) + 3600, 0), time.monotonic())
    in_half_an_hour = (datetime.now(UTC) + timedelta(minutes=30)).isoformat()
    handle(message(((b"late",), {}, {}), expires=in_half_an_hour), None)
    assert calls == [(b"in time", "")]
