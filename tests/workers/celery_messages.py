"""Messages as Celery's transport hands them to a worker."""

from __future__ import annotations

from typing import Any

from kombu.message import Message
from kombu.serialization import dumps


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
