"""Sends work to shards and waits for the replies: adaptive batching, hedging, bounded queues.

One task costs about a millisecond to send and fetch, however much it carries. So while a shard has nothing to do,
work goes to it at once; while its tasks are under way, work waits and travels together in the next one. Work without
a reply after the hedge time is sent again, and what arrives second is dropped. All of it runs on one event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import structlog
from google.protobuf.message import DecodeError
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, get_current_span

from planmesh.dispatch.broker_clock import BrokerClock
from planmesh.dispatch.queues import QUERY_TASK, query_queue
from planmesh.dispatch.seal import open_sealed, seal
from planmesh.dispatch.task_publisher import TaskPublisher
from planmesh.errors import BrokerUnavailable, DeadlineExceeded, Overloaded, PlanmeshError, WorkerUnavailable
from planmesh.internal.v1 import task_pb2
from planmesh.rpc.deadline import Deadline
from planmesh.settings import CoordinatorSettings
from planmesh.telemetry import names
from planmesh.telemetry.tracing import TRACEPARENT, Telemetry, remote_context, traceparent_of
from services.coordinator.counters import Counters
from services.coordinator.reply_checks import Sizes, why_no_answer

PENDING_MAX: Final = 20_000
"""Items that may wait for replies at once; about a kilobyte each."""

LATENCIES_KEPT: Final = 256
"""Of the last tasks, from which the hedge time follows."""

HEDGE_FACTOR: Final = 4.0
"""Hedge time over the 95th percentile of the last latencies: a repeat is rare, and costs a duplicate at most."""

HEDGE_S_MAX: Final = 2.0

HEDGE_UPDATE_TASKS: Final = 32
"""The hedge time is computed anew after so many tasks."""


EXPIRES_S_MIN: Final = 0.001

REFUSED_AT_ONCE_MAX: Final = 3
"""Attempts after which work whose answer was refused waits for its hedge time: a worker that is wrong once may be right
the next time, one that always is must not be kept busy with it."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Answer:
    """A shard's reply to one item, and what it took."""

    results: list[task_pb2.WorkResult]
    tasks: int
    batch_sizes: list[int]
    hedges: int


@dataclass(slots=True, eq=False)
class _Pending:
    item: task_pb2.QueryItem
    shard: int
    sizes: Sizes
    deadline: Deadline
    future: asyncio.Future[task_pb2.ItemReply]
    asked_at_s: float = field(default_factory=time.monotonic)
    batch_sizes: list[int] = field(default_factory=list)
    refused: str = ""
    """Why the last reply was no answer."""


@dataclass(slots=True)
class _Batch:
    number: int
    shard: int
    keys: list[int]
    sent_at_s: float
    attempt: int
    timer: asyncio.TimerHandle | None = None


@dataclass(slots=True)
class _ShardState:
    waiting: deque[int] = field(default_factory=deque)
    in_flight: set[int] = field(default_factory=set)
    workers: int = 0
    silent_since_s: float | None = None


class Dispatcher:
    """Knows what is on its way to which shard."""

    def __init__(
        self,
        publisher: TaskPublisher,
        reply_key: str,
        settings: CoordinatorSettings,
        telemetry: Telemetry,
        counters: Counters,
        clock: BrokerClock,
    ) -> None:
        self._clock = clock
        self._publisher = publisher
        self._reply_key = reply_key
        self._settings = settings
        self._telemetry = telemetry
        self._counters = counters
        self._keys = itertools.count(1)
        self._pending: dict[int, _Pending] = {}
        self._batches: dict[int, _Batch] = {}
        now_s = time.monotonic()
        self._shards = [_ShardState(silent_since_s=now_s) for _ in range(settings.shards)]
        self._broker_down_since_s: float | None = None
        self._latencies_s: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._latencies_noted = 0
        self._hedge_s = HEDGE_S_MAX
        self._sends: set[asyncio.Task[None]] = set()

    async def ask(
        self,
        shard: int,
        works: Iterable[task_pb2.Work],
        *,
        graph: str,
        version: int,
        snapshot_url: str,
        sizes: Sizes,
        deadline: Deadline,
    ) -> Answer:
        """Have a shard do works for one plan on a graph of `sizes`, and return the results in their order.

        Raises WorkerItemError when the worker could not; BrokerUnavailable or WorkerUnavailable when nobody is there;
        DeadlineExceeded; Overloaded.
        """
        self._refuse_if_away(shard)
        if len(self._pending) >= PENDING_MAX:
            raise Overloaded(
                f"{PENDING_MAX} requests wait for workers already; ask again later",
                bound="PENDING_MAX",
                retry_after_s=self._hedge_s,
            )
        deadline.raise_if_passed("the plan")
        key = next(self._keys)
        context = get_current_span().get_span_context()
        item = task_pb2.QueryItem(
            key=key,
            graph=graph,
            version=version,
            snapshot_url=snapshot_url,
            deadline_unix_s=self._clock.unix_s() + deadline.remaining_s(),
            traceparent=traceparent_of(context) if context.is_valid else "",
            works=works,
        )
        pending = _Pending(item, shard, sizes, deadline, asyncio.get_running_loop().create_future())
        self._pending[key] = pending
        self._shards[shard].waiting.append(key)
        self._flush(shard)
        try:
            async with asyncio.timeout(deadline.remaining_s()):
                reply = await pending.future
        except TimeoutError:
            raise self._why_too_late(pending) from None
        finally:
            self._pending.pop(key, None)
        if reply.HasField("error"):
            raise WorkerItemError(reply.error)
        batches = pending.batch_sizes
        return Answer(list(reply.results), len(batches), batches, max(0, len(batches) - 1))

    def receive(self, payload: bytes) -> None:
        """Take a serialised QueryReply off the reply channel.

        What is no reply at all is dropped; what is none to what was asked is refused, and asked again.
        """
        try:
            reply = open_sealed(task_pb2.QueryReply, payload)
        except DecodeError as error:
            log.error("reply dropped: expected a QueryReply", error=str(error), bytes=len(payload))
            return
        for item in reply.items:
            pending = self._pending.get(item.key)
            if pending is None:
                self._counters.duplicate_replies += 1
                continue
            pending.refused = why_no_answer(pending.item, item, pending.sizes, pending.deadline)
            if pending.refused:
                log.warning("reply refused", shard=pending.shard, worker=reply.worker, problem=pending.refused)
                continue
            del self._pending[item.key]
            if not pending.future.done():
                pending.future.set_result(item)
        batch = self._batches.get(reply.batch)
        if batch is not None:
            self._take_as_answered(batch)

    def _take_as_answered(self, batch: _Batch) -> None:
        """End a batch for which a reply came; what that left unanswered is asked again."""
        unanswered = any(key in self._pending for key in batch.keys)
        if unanswered and batch.attempt > REFUSED_AT_ONCE_MAX:
            return
        if not unanswered and batch.attempt == 1:
            self._note_latency(time.monotonic() - batch.sent_at_s)
        self._end_batch(batch)
        if unanswered:
            self._put_back(batch)
        self._flush(batch.shard)

    def tell_workers(self, live: dict[int, int]) -> None:
        """Say how many live workers each shard has; called whenever Redis has answered."""
        now_s = time.monotonic()
        self._broker_down_since_s = None
        for number, shard in enumerate(self._shards):
            shard.workers = live.get(number, 0)
            if shard.workers:
                shard.silent_since_s = None
            elif shard.silent_since_s is None:
                shard.silent_since_s = now_s
                log.warning("no live worker", shard=number)
            self._flush(number)
            self._fail_waiting_if_away(number)

    def tell_broker_down(self) -> None:
        """Say that Redis did not answer."""
        if self._broker_down_since_s is None:
            self._broker_down_since_s = time.monotonic()
            log.warning("Redis does not answer")
        for number in range(len(self._shards)):
            self._fail_waiting_if_away(number)

    @property
    def shard_count(self) -> int:
        """Number of shards."""
        return len(self._shards)

    @property
    def broker_up(self) -> bool:
        """Redis answered last time."""
        return self._broker_down_since_s is None

    def workers(self, shard: int) -> int:
        """Live workers of a shard."""
        return self._shards[shard].workers

    def pending_items(self, shard: int) -> int:
        """Items that wait for a reply of a shard."""
        return sum(pending.shard == shard for pending in self._pending.values())

    def oldest_wait_s(self, shard: int) -> float:
        """How long the item that waits longest for a shard has waited; 0 when none waits."""
        asked_at_s = [pending.asked_at_s for pending in self._pending.values() if pending.shard == shard]
        return time.monotonic() - min(asked_at_s) if asked_at_s else 0.0

    async def close(self) -> None:
        """Give up on everything that is under way."""
        for batch in list(self._batches.values()):
            self._end_batch(batch)
        for task in self._sends:
            task.cancel()
        await asyncio.gather(*self._sends, return_exceptions=True)

    # Batching.

    def _flush(self, shard_number: int) -> None:
        """Send what waits for a shard, as far as its tasks under way allow."""
        shard = self._shards[shard_number]
        in_flight_max = self._settings.coordinator_tasks_in_flight_max * max(1, shard.workers)
        while shard.waiting and shard.workers and self.broker_up and len(shard.in_flight) < in_flight_max:
            keys: list[int] = []
            while shard.waiting and len(keys) < self._settings.coordinator_batch_items_max:
                key = shard.waiting.popleft()
                if key in self._pending:
                    keys.append(key)
            if keys:
                self._start_batch(shard_number, keys)

    def _start_batch(self, shard_number: int, keys: list[int]) -> None:
        attempt = 1 + max(len(self._pending[key].batch_sizes) for key in keys)
        for key in keys:
            self._pending[key].batch_sizes.append(len(keys))
        number = next(self._keys)
        batch = _Batch(number, shard_number, keys, time.monotonic(), attempt)
        self._batches[number] = batch
        self._shards[shard_number].in_flight.add(number)
        self._counters.tasks += 1
        self._counters.task_items += len(keys)
        self._telemetry.instruments.tasks.add(1)
        self._telemetry.instruments.batch_size.record(len(keys))
        delay_s = min(HEDGE_S_MAX, self._hedge_s * 2 ** (attempt - 1))
        batch.timer = asyncio.get_running_loop().call_later(delay_s, self._hedge, batch)
        send = asyncio.get_running_loop().create_task(self._send(batch))
        self._sends.add(send)
        send.add_done_callback(self._sends.discard)

    async def _send(self, batch: _Batch) -> None:
        waiting = [self._pending[key] for key in batch.keys if key in self._pending]
        if not waiting:
            self._end_batch(batch)
            return
        task = task_pb2.QueryTask(
            batch=batch.number, reply_channel=self._reply_key, items=[pending.item for pending in waiting]
        )
        expires_s = max(EXPIRES_S_MIN, *(pending.deadline.remaining_s() for pending in waiting))
        try:
            if self._telemetry.recording:
                await self._publish_traced(batch.shard, task, waiting, expires_s)
            else:
                await self._publisher.publish_query(batch.shard, seal(task), expires_s)
        except BrokerUnavailable as error:
            log.warning("task not sent", shard=batch.shard, error=error.message)
            self._end_batch(batch)
            self._put_back(batch)
            self.tell_broker_down()

    async def _publish_traced(
        self, shard: int, task: task_pb2.QueryTask, waiting: list[_Pending], expires_s: float
    ) -> None:
        """Publish under a producer span in the first request's trace, which links the spans of all of them."""
        contexts = [remote_context({TRACEPARENT: pending.item.traceparent}) for pending in waiting]
        links = [Link(get_current_span(context).get_span_context()) for context in contexts if context is not None]
        attributes: dict[str, str | int] = {
            "messaging.system": "celery",
            "messaging.destination.name": query_queue(shard),
            "messaging.batch.message_count": len(waiting),
            names.BATCH_SIZE: len(waiting),
            names.SHARD: shard,
        }
        with self._telemetry.tracer.start_as_current_span(
            f"{QUERY_TASK} send", contexts[0], SpanKind.PRODUCER, attributes, links=links, record_exception=False
        ) as span:
            if waiting[0].batch_sizes[1:]:
                span.set_attribute(names.HEDGED, True)
            try:
                await self._publisher.publish_query(
                    shard, seal(task), expires_s, {TRACEPARENT: traceparent_of(span.get_span_context())}
                )
            except BrokerUnavailable as error:
                span.set_status(Status(StatusCode.ERROR, error.message))
                raise

    def _end_batch(self, batch: _Batch) -> None:
        if batch.timer is not None:
            batch.timer.cancel()
        self._batches.pop(batch.number, None)
        self._shards[batch.shard].in_flight.discard(batch.number)

    def _put_back(self, batch: _Batch) -> None:
        waiting = self._shards[batch.shard].waiting
        waiting.extendleft(key for key in reversed(batch.keys) if key in self._pending)

    # Hedging.

    def _hedge(self, batch: _Batch) -> None:
        """Send again what this batch carried and nobody has answered."""
        self._end_batch(batch)
        unanswered = sum(key in self._pending for key in batch.keys)
        if unanswered:
            self._counters.hedges += unanswered
            self._telemetry.instruments.hedges.add(unanswered)
            self._put_back(batch)
            log.info("work sent again", shard=batch.shard, items=unanswered, attempt=batch.attempt)
        self._flush(batch.shard)

    def _note_latency(self, latency_s: float) -> None:
        self._latencies_s.append(latency_s)
        self._latencies_noted += 1
        if self._latencies_noted % HEDGE_UPDATE_TASKS == 0:
            slow_s = float(np.percentile(np.fromiter(self._latencies_s, np.float64), 95))
            floor_s = self._settings.coordinator_hedge_floor_ms / 1e3
            self._hedge_s = min(HEDGE_S_MAX, max(floor_s, HEDGE_FACTOR * slow_s))

    # Absence.

    def _away(self, shard_number: int) -> PlanmeshError | None:
        """Return why a shard has been out of reach for longer than the grace time, if it has."""
        now_s = time.monotonic()
        grace_s = self._settings.coordinator_worker_grace_s
        if self._broker_down_since_s is not None and now_s - self._broker_down_since_s > grace_s:
            return BrokerUnavailable("Redis does not answer; ask again when it is back")
        silent_since_s = self._shards[shard_number].silent_since_s
        if silent_since_s is not None and now_s - silent_since_s > grace_s:
            return _no_worker(shard_number)
        return None

    def _refuse_if_away(self, shard: int) -> None:
        error = self._away(shard)
        if error is not None:
            raise error

    def _fail_waiting_if_away(self, shard: int) -> None:
        for pending in [pending for pending in self._pending.values() if pending.shard == shard]:
            error = self._away(shard)
            if error is not None and not pending.future.done():
                pending.future.set_exception(error)

    def _why_too_late(self, pending: _Pending) -> PlanmeshError:
        """Return what to say when the deadline passed: the absence of a part, if that was the reason."""
        shard = pending.shard
        if not self.broker_up:
            return BrokerUnavailable("Redis did not answer before the deadline; ask again when it is back")
        if not self._shards[shard].workers:
            return _no_worker(shard)
        if pending.refused:
            return DeadlineExceeded(
                f"the workers of shard {shard} gave no answer that fits before the deadline (the last one: "
                f"{pending.refused}); ask again"
            )
        return DeadlineExceeded(f"the workers of shard {shard} did not answer before the deadline; allow more time")


class WorkerItemError(Exception):
    """A worker could not do an item; the planner decides what that means."""

    def __init__(self, error: task_pb2.ItemError) -> None:
        super().__init__(error.message)
        self.kind = error.kind
        self.message = error.message
        self.file = error.file


def _no_worker(shard: int) -> WorkerUnavailable:
    return WorkerUnavailable(f"no worker serves shard {shard}; ask again when one is back", shard=str(shard))
