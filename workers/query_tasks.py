"""The Celery task of a query worker: it computes a batch of items, and pushes the reply to the coordinator's list."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import numpy as np
import redis
from celery import Celery, Task
from celery.exceptions import InvalidTaskError
from google.protobuf.message import DecodeError, EncodeError
from kombu.message import Message
from opentelemetry.trace import Link, Span, SpanKind, get_current_span, set_span_in_context
from redis.exceptions import RedisError

from planmesh.dispatch.broker_clock import BrokerClock
from planmesh.dispatch.checksum import open_sealed, seal
from planmesh.dispatch.queues import QUERY_TASK, REPLY_TTL_S, query_queue
from planmesh.errors import InternalError
from planmesh.internal.v1 import task_pb2
from planmesh.telemetry import names
from planmesh.telemetry.logs import get_logger
from planmesh.telemetry.trace_context import TRACEPARENT
from planmesh.telemetry.tracing import Telemetry, remote_context
from workers.query_items import QueryItems

PUSH_SCRIPT: Final = """
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
"""
"""Pushes a reply and renews its list's time to live, in one round trip."""

REPLY_BYTES_MAX: Final = 256 * 2**20
"""Bytes of a reply: half of Redis's bound on a value (512 MiB), beyond which Redis ends the connection."""

log = get_logger(__name__)


def at_once(task: Task[..., None], _app: Celery, _consumer: object) -> Callable[..., None]:
    """Celery strategy for query tasks: run a message in the thread that receives it, without a request and a pool.

    Celery's default strategy takes about a third of a query task's time: it creates a request, formats it for logs, and
    traces states that are not stored. It also acknowledges each message to Redis, so that Redis can redeliver it an
    hour after a crash; the coordinator repeats lost work within moments. A worker runs one task at a time anyway. The
    task's `clock` decides whether a message has expired.
    """
    clock: BrokerClock = task.clock  # set at registration

    def handle(message: Message, _body: object, *_: object) -> None:
        try:
            expires = message.headers.get("expires")
            if expires and datetime.fromisoformat(expires).timestamp() <= clock.unix_s():
                return
            (payload,), _keyword_arguments, _embedded = message.payload
        except (TypeError, ValueError) as error:
            raise InvalidTaskError(f"expected a task with one argument: {error}") from error
        try:
            task.run(payload, message.headers.get(TRACEPARENT) or "")
        except Exception:
            # As in Celery's own strategy, a failing task does not end the worker.
            log.exception("query task failed")

    return handle


class QueryTasks:
    """Runs the query tasks of one shard."""

    def __init__(
        self,
        items: QueryItems,
        connection: redis.Redis,
        telemetry: Telemetry,
        worker: str,
        shard: int,
        clock: BrokerClock,
    ) -> None:
        self._clock = clock
        self._items = items
        self._push_reply = connection.register_script(PUSH_SCRIPT)
        self._telemetry = telemetry
        self._worker = worker
        self._shard = shard

    def register(self, app: Celery) -> None:
        """Register `run` as the handler of query tasks in the Celery application."""

        @app.task(  # type: ignore[untyped-decorator]
            name=QUERY_TASK, ignore_result=True, Strategy="workers.query_tasks:at_once", clock=self._clock
        )
        def query(payload: bytes, traceparent: str) -> None:
            self.run(payload, traceparent)

    def run(self, payload: bytes, traceparent: str) -> None:
        """Compute one serialised QueryTask and push its reply. A payload that is not a QueryTask is logged."""
        try:
            task = open_sealed(task_pb2.QueryTask, payload)
        except DecodeError as error:
            log.error("task dropped: it is not a QueryTask", error=str(error), bytes=len(payload))
            return
        reply = task_pb2.QueryReply(batch=task.batch, worker=self._worker)
        if self._telemetry.recording:
            reply.items.extend(self._answer_traced(task, traceparent))
        else:
            reply.items.extend([self._items.answer(item) for item in task.items])
        if self._telemetry.measuring:
            for answered in reply.items:
                self._telemetry.instruments.item_duration.record(answered.duration_ms / 1e3, {names.SHARD: self._shard})
        self._push(task.reply_channel, seal_within(reply, REPLY_BYTES_MAX))

    def _answer_traced(self, task: task_pb2.QueryTask, traceparent: str) -> list[task_pb2.ItemReply]:
        """Compute the items with one span for the task, which links the spans of all items, and one span per item.

        The task's span belongs to the trace of the first item. The span of each other item belongs to that item's own
        trace, and links the task's span.
        """
        tracer = self._telemetry.tracer
        contexts = [remote_context({TRACEPARENT: item.traceparent}) for item in task.items]
        links = [Link(get_current_span(context).get_span_context()) for context in contexts if context is not None]
        attributes: dict[str, str | int] = {
            names.MESSAGING_SYSTEM: "celery",
            names.MESSAGING_DESTINATION: query_queue(self._shard),
            names.MESSAGING_MESSAGE_COUNT: len(task.items),
            names.BATCH_SIZE: len(task.items),
            names.SHARD: self._shard,
            names.WORKER: self._worker,
        }
        parent = remote_context({TRACEPARENT: traceparent})
        replies: list[task_pb2.ItemReply] = []
        with tracer.start_as_current_span(
            names.SPAN_QUERY_PROCESS, parent, SpanKind.CONSUMER, attributes, links=links
        ) as batch:
            for position, (item, context) in enumerate(zip(task.items, contexts, strict=True)):
                own = set_span_in_context(batch) if position == 0 else context
                with tracer.start_as_current_span(
                    names.SPAN_ITEM, own, links=[Link(batch.get_span_context())] if position else []
                ) as span:
                    replies.append(self._items.answer(item))
                    _describe(span, item, replies[-1])
        return replies

    def _push(self, channel: str, reply: bytes) -> None:
        try:
            self._push_reply(keys=[channel], args=[reply, REPLY_TTL_S])
        except (RedisError, OSError) as error:
            # The coordinator repeats the work after its hedge time.
            log.warning("reply not delivered", channel=channel, error=str(error))


def seal_within(reply: task_pb2.QueryReply, bytes_max: int) -> bytes:
    """Return a sealed reply of at most `bytes_max` bytes.

    While it is larger, or memory for it is lacking, the result of its largest item is replaced by an error. The other
    items are answered; otherwise all items would be lost with a reply that cannot be encoded or stored.
    """
    while True:
        try:
            sealed = seal(reply)
        except (MemoryError, EncodeError):
            sealed = None
        if sealed is not None and len(sealed) <= bytes_max:
            return sealed
        largest = max(reply.items, key=_result_bytes)
        if not largest.results:
            raise InternalError(f"a reply of {len(reply.items)} items without results exceeds {bytes_max} bytes")
        del largest.results[:]
        largest.error.kind = task_pb2.ITEM_ERROR_KIND_OUT_OF_MEMORY
        largest.error.message = f"its result is too large: a reply takes at most {bytes_max:,} bytes"
        log.error("result too large for a reply", items=len(reply.items), bytes_max=bytes_max)


def _result_bytes(item: task_pb2.ItemReply) -> int:
    """Return the bytes of an item's arrays, which are nearly all of its size, without encoding them."""
    total = 0
    for result in item.results:
        found, expanded = result.search, result.expand
        total += len(found.overlay_nodes) + len(found.distances)
        many = result.search_many
        total += len(many.counts) + len(many.overlay_nodes) + len(many.distances) + len(result.meet_many.costs)
        total += len(expanded.first_edge) + len(expanded.ends) + len(expanded.costs)
        batch = result.search_batch
        total += len(batch.counts) + len(batch.overlay_nodes) + len(batch.distances) + len(batch.settled_nodes)
        for segments in (found.segments, result.unpack, batch.segments, result.unpack_batch):
            total += len(segments.nodes) + len(segments.costs) + len(segments.lengths)
    return total


def _describe(span: Span, item: task_pb2.QueryItem, reply: task_pb2.ItemReply) -> None:
    span.set_attribute(names.GRAPH, item.graph)
    span.set_attribute(names.VERSION, item.version)
    kinds = [operation.WhichOneof("operation") or "unknown" for operation in item.operations]
    span.set_attribute(names.OPERATION_KINDS, kinds)
    partitions = [
        partition
        for operation, kind in zip(item.operations, kinds, strict=True)
        if kind != "unknown"
        for partition in _partitions(getattr(operation, kind))
    ]
    span.set_attribute(names.PARTITION, partitions)
    settled = sum(
        result.search.settled_nodes
        + result.meet.settled_nodes
        + int(np.frombuffer(result.search_batch.settled_nodes, np.int32).sum())
        + result.search_many.settled_nodes
        + result.meet_many.settled_nodes
        for result in reply.results
    )
    span.set_attribute(names.SETTLED_NODES, settled)
    if reply.HasField("error"):
        span.set_attribute(names.ERROR_TYPE, task_pb2.ItemErrorKind.Name(reply.error.kind))


def _partitions(operation: Any) -> list[int]:
    """Return the partitions of an operation of any kind; of a batch, each one once."""
    if hasattr(operation, "partition"):
        return [operation.partition]
    raw = operation.partitions + getattr(operation, "meet_partitions", b"")
    partitions: list[int] = np.unique(np.frombuffer(raw, np.int32)).tolist()
    return partitions
