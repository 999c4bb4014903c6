"""The Celery application: what it accepts, and that it keeps no results and acknowledges early."""

from __future__ import annotations

import pickle

import pytest
from kombu.exceptions import ContentDisallowed
from kombu.message import Message

from planmesh.dispatch.celery_app import CONNECT_TIMEOUT_S, SOCKET_TIMEOUT_S, make_app


def test_pickled_messages_are_refused() -> None:
    app = make_app("redis://h:1/0")
    message = Message(  # type: ignore[no-untyped-call]
        body=pickle.dumps("payload"),
        content_type="application/x-python-serialize",
        content_encoding="binary",
        accept=set(app.conf.accept_content),
    )
    with pytest.raises(ContentDisallowed):
        message.decode()  # type: ignore[no-untyped-call]


def test_tasks_are_transient_without_results_and_sent_as_msgpack() -> None:
    conf = make_app("redis://h:1/0").conf
    assert conf.broker_url == "redis://h:1/0"
    assert (conf.task_serializer, list(conf.accept_content)) == ("msgpack", ["msgpack"])
    assert (conf.result_backend, conf.task_ignore_result) == (None, True)
    assert (conf.task_acks_late, conf.worker_prefetch_multiplier) == (False, 1)
    assert conf.task_default_delivery_mode == "transient"


def test_a_redis_that_hangs_is_noticed_and_reconnected_for_ever() -> None:
    conf = make_app("redis://h:1/0").conf
    assert conf.broker_transport_options["socket_timeout"] == SOCKET_TIMEOUT_S
    assert conf.broker_transport_options["socket_connect_timeout"] == CONNECT_TIMEOUT_S
    assert conf.broker_connection_max_retries is None
    assert conf.broker_connection_retry_on_startup
