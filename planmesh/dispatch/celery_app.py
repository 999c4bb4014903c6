"""The Celery application that workers run.

Payloads are protobuf bytes inside msgpack; nothing is ever unpickled. There is no result backend: replies go straight
to the Redis list of the process that sent the task (`reply_channel`), because `AsyncResult.get` in an event loop hangs
sooner or later (celery issue 3761) and result pub/sub is not thread-safe (celery issue 6335).
"""

from __future__ import annotations

from typing import Final

from celery import Celery

SOCKET_TIMEOUT_S: Final = 10.0
"""After this time without an answer Redis counts as down, and the client opens a new connection."""

CONNECT_TIMEOUT_S: Final = 2.0


def make_app(redis_url: str) -> Celery:
    """Return an application on the broker at `redis_url`, without tasks; `workers` registers those."""
    app = Celery("planmesh", broker=redis_url, set_as_current=False)
    app.conf.update(
        accept_content=["msgpack"],
        task_serializer="msgpack",
        result_backend=None,
        task_ignore_result=True,
        # The coordinator hedges: it repeats a task that was lost with its worker long before Redis would.
        task_acks_late=False,
        task_default_delivery_mode="transient",
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "socket_timeout": SOCKET_TIMEOUT_S,
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "socket_keepalive": True,
            "health_check_interval": 5,
        },
    )
    return app
