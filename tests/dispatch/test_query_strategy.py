"""Query tasks run where they are received: what goes wrong in one must not end the worker for all others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import InvalidTaskError
from kombu.message import Message
from kombu.serialization import dumps

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
def received() -> tuple[Any, list[tuple[bytes, str]]]:
    app = Celery("test", set_as_current=False)
    calls: list[tuple[bytes, str]] = []

    @app.task(name="query")  # type: ignore[untyped-decorator]
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
