"""Sends work to shards and waits for the replies, on one event loop.

A pure state machine, `planmesh.dispatch.batching`, decides when work is sent, in which batch and how often. This module
reports times and events to it and carries out its commands: it publishes tasks, looks for overdue copies in their
queues, withdraws unneeded ones, and completes futures.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import DecodeError
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, get_current_span

from planmesh.dispatch import batching_commands
from planmesh.dispatch.batching import Batching
from planmesh.dispatch.batching_commands import Command, Policy
from planmesh.dispatch.broker_clock import BrokerClock
from planmesh.dispatch.checksum import open_sealed, seal
from planmesh.dispatch.queues import query_queue
from planmesh.dispatch.task_publisher import Published, TaskPublisher
from planmesh.errors import BrokerUnavailable, Overloaded
from planmesh.internal.v1 import task_pb2
from planmesh.rpc.deadline import Deadline
from planmesh.settings import CoordinatorSettings
from planmesh.telemetry import names
from planmesh.telemetry.logs import get_logger
from planmesh.telemetry.trace_context import TRACEPARENT, traceparent_of
from planmesh.telemetry.tracing import Telemetry, remote_context
from services.coordinator.counters import Counters
from services.coordinator.dispatch_errors import WorkerItemError, absence_error, late_error
from services.coordinator.reply_checks import Sizes, reply_problem

PENDING_MAX: Final = 20_000
"""Items that may wait for replies at once; about 1 KB each."""

EXPIRES_S_MIN: Final = 0.001
"""Least time until a task expires. Celery would reject an expiry in the past."""

log = get_logger(__name__)


@dataclass(slots=True)
class Answer:
    """A shard's results for one item, and the cost of getting them."""

    results: list[task_pb2.OperationResult]
    """One for each operation, in order."""
    tasks: int
    """Copies that were sent."""
    batch_sizes: list[int]
    """Items in each of these copies."""
    hedges: int
    """Copies beyond the first."""


@dataclass(slots=True, eq=False)
class _Pending:
    item: task_pb2.QueryItem
    shard: int
    sizes: Sizes
    deadline: Deadline
    future: asyncio.Future[task_pb2.ItemReply]
    batch_sizes: list[int] = field(default_factory=list)
    reply: task_pb2.ItemReply | None = None
    refused: str = ""
    """Why the last reply was refused; empty if none was."""


@dataclass(slots=True)
class _Copy:
    shard: int
    sending: asyncio.Task[None]
    envelope: bytes = b""
    """The message as stored in the queue; empty before it is published."""


class Dispatcher:
    """Sends items to shards and receives their replies; one for each coordinator."""

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
        self._copies: dict[int, _Copy] = {}
        policy = Policy(
            shards=settings.shards,
            batch_items_max=settings.coordinator_batch_items_max,
            tasks_in_flight_max=settings.coordinator_tasks_in_flight_max,
            hedge_floor_s=settings.coordinator_hedge_floor_ms / 1e3,
            worker_grace_s=settings.coordinator_worker_grace_s,
        )
        self._machine = Batching(policy, time.monotonic())
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def ask(
        self,
        shard: int,
        operations: Iterable[task_pb2.Operation],
        *,
        graph: str,
        version: int,
        snapshot_url: str,
        snapshot_identity: str,
        sizes: Sizes,
        deadline: Deadline,
    ) -> Answer:
        """Have a shard do `operations` for one plan, and return their results in order.

        `sizes` describes the graph, for the checks of replies. Raises WorkerItemError when the worker could not do
        them; BrokerUnavailable or WorkerUnavailable when Redis or the shard's workers are down; DeadlineExceeded;
        Overloaded when PENDING_MAX items wait; InternalError when each worker that took the work ended;
        NoValidReplyError when no reply was valid.
        """
        absence = self._machine.absence(time.monotonic(), shard)
        if absence is not None:
            raise absence_error(absence, shard)
        if len(self._pending) >= PENDING_MAX:
            raise Overloaded(
                f"{PENDING_MAX} requests already wait for workers; try again later",
                bound="PENDING_MAX",
                retry_after_s=self._machine.hedge_s(shard),
            )
        deadline.raise_if_passed("the plan")
        key = next(self._keys)
        context = get_current_span().get_span_context()
        item = task_pb2.QueryItem(
            key=key,
            graph=graph,
            version=version,
            snapshot_url=snapshot_url,
            snapshot_identity=snapshot_identity,
            traceparent=traceparent_of(context) if context.is_valid else "",
            operations=operations,
        )
        pending = _Pending(item, shard, sizes, deadline, asyncio.get_running_loop().create_future())
        self._pending[key] = pending
        self._run(self._machine.ask(time.monotonic(), key, shard))
        try:
            while not pending.future.done():
                # A deadline that several callers share may have moved in the meantime.
                await asyncio.wait({pending.future}, timeout=deadline.remaining_s())
                if deadline.passed and not pending.future.done():
                    raise late_error(self._machine, key, pending.shard, pending.refused)
            reply = pending.future.result()
        finally:
            self._pending.pop(key, None)
            self._run(self._machine.drop(time.monotonic(), key))
        if reply.HasField("error"):
            raise WorkerItemError(reply.error)
        batches = pending.batch_sizes
        return Answer(list(reply.results), len(batches), batches, max(0, len(batches) - 1))

    def receive(self, payload: bytes) -> None:
        """Handle a serialised QueryReply from the reply channel.

        Bytes that are not a QueryReply are logged and dropped. An item's reply that fails the checks of
        `reply_checks` is refused, and the item is repeated.
        """
        try:
            reply = open_sealed(task_pb2.QueryReply, payload)
        except DecodeError as error:
            log.error("reply dropped: it is not a QueryReply", error=str(error), bytes=len(payload))
            self._run(self._machine.unreadable(time.monotonic()))
            return
        if not reply.batch:  # an empty payload is a valid message without any field
            log.error("reply dropped: it names no task", bytes=len(payload))
            self._run(self._machine.unreadable(time.monotonic()))
            return
        answered: list[int] = []
        for item in reply.items:
            pending = self._pending.get(item.key)
            if pending is None or pending.reply is not None:
                self._counters.duplicate_replies += 1
                answered.append(item.key)
                continue
            pending.refused = reply_problem(pending.item, item, pending.sizes, pending.deadline)
            if pending.refused:
                log.warning("reply refused", shard=pending.shard, worker=reply.worker, problem=pending.refused)
                continue
            pending.reply = item
            answered.append(item.key)
        self._run(self._machine.reply(time.monotonic(), reply.batch, answered))

    def note_workers(self, live: Mapping[int, int], missed: Mapping[int, int] | None = None) -> None:
        """Update each shard's count of live workers and of workers lost since the last call. Redis has answered."""
        for shard in range(self.shard_count):
            if self.workers(shard) and not live.get(shard):
                log.warning("no live worker", shard=shard)
        self._run(self._machine.workers(time.monotonic(), live, missed))

    def note_broker_down(self) -> None:
        """Record that Redis did not answer."""
        if self.broker_up:
            log.warning("Redis does not answer")
        self._run(self._machine.broker_down(time.monotonic()))

    @property
    def shard_count(self) -> int:
        """Number of shards of the mesh, as configured."""
        return self._settings.shards

    @property
    def broker_up(self) -> bool:
        """Whether Redis answered last time."""
        return self._machine.broker_up

    def workers(self, shard: int) -> int:
        """Number of live workers of a shard."""
        return self._machine.live_workers(shard)

    def pending_items(self, shard: int) -> int:
        """Number of items that wait for a shard's reply."""
        return self._machine.pending_items(shard)

    def oldest_wait_s(self, shard: int) -> float:
        """How long the oldest item has waited for a shard's reply; 0 when none waits."""
        return self._machine.oldest_wait_s(time.monotonic(), shard)

    async def close(self) -> None:
        """Cancel all work in progress. Tasks in the queues expire at their deadlines."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # The machine's commands.

    def _run(self, commands: list[Command]) -> None:
        """Carry out the commands of an event, and set the timer for the machine's next wake-up."""
        if self._closed:
            return
        for command in commands:
            self._carry_out(command)
        at_s = self._machine.wake_at_s()
        if at_s is None or (self._timer is not None and self._timer_at_s <= at_s):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at_s = at_s
        delay_s = max(0.0, at_s - time.monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._run(self._machine.wake(time.monotonic()))

    def _carry_out(self, command: Command) -> None:
        match command:
            case batching_commands.Send():
                for key in command.keys:
                    self._pending[key].batch_sizes.append(len(command.keys))
                self._copies[command.copy] = _Copy(command.shard, self._start(self._send(command.copy)))
            case batching_commands.Complete():
                for key in command.keys:
                    pending = self._pending[key]
                    assert pending.reply is not None, "the machine completes only items that a reply answered"
                    if not pending.future.done():
                        pending.future.set_result(pending.reply)
            case batching_commands.Forget():
                del self._copies[command.copy]
            case batching_commands.Look():
                self._start(self._look(command.copy))
            case batching_commands.Withdraw():
                self._start(self._withdraw(command.copy))
            case batching_commands.Repeated():
                self._counters.hedges += len(command.keys)
                self._telemetry.instruments.hedges.add(len(command.keys))
                log.info("work repeated", shard=command.shard, items=len(command.keys), attempt=command.attempt)
            case batching_commands.Fail():
                for key in command.keys:
                    pending = self._pending[key]
                    if not pending.future.done():
                        pending.future.set_exception(absence_error(command.absence, pending.shard, pending.refused))

    def _start(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a command of the dispatcher failed", exc_info=task.exception())

    async def _send(self, number: int) -> None:
        """Publish a copy with those of its items that are still unanswered."""
        copy = self._copies.get(number)
        waiting = [self._pending[key] for key in self._machine.wanted(number)]
        if copy is None or not waiting:
            return  # it was withdrawn before it was sent
        for pending in waiting:
            pending.item.deadline_unix_s = self._clock.unix_s() + pending.deadline.remaining_s()
        task = task_pb2.QueryTask(
            batch=number, reply_channel=self._reply_key, items=[pending.item for pending in waiting]
        )
        expires_s = max(EXPIRES_S_MIN, *(pending.deadline.remaining_s() for pending in waiting))
        self._counters.tasks += 1
        self._counters.task_items += len(waiting)
        self._telemetry.instruments.tasks.add(1)
        self._telemetry.instruments.batch_size.record(len(waiting))
        try:
            if self._telemetry.recording:
                sent = await self._publish_traced(copy.shard, task, waiting, expires_s)
            else:
                sent = await self._publisher.publish_query(copy.shard, seal(task), expires_s)
            copy.envelope = sent.envelope
            self._run(self._machine.queued(time.monotonic(), number, sent.waiting))
        except BrokerUnavailable as error:
            log.warning("task not sent", shard=copy.shard, error=error.message)
            if self.broker_up:
                log.warning("Redis does not answer")
            for pending in waiting:
                pending.batch_sizes.pop()
            self._run(self._machine.unsent(time.monotonic(), number))

    async def _look(self, number: int) -> None:
        """Find out whether a copy is still in its queue. If Redis does not answer, assume that it is."""
        copy = self._copies.get(number)
        if copy is None:
            return
        waits = True
        try:
            await asyncio.wait({copy.sending})
            waits = await self._publisher.waits(copy.shard, copy.envelope)
        except BrokerUnavailable:
            self.note_broker_down()
        finally:
            self._run(self._machine.looked(time.monotonic(), number, waits=waits))

    async def _withdraw(self, number: int) -> None:
        """Remove an unneeded copy from its queue."""
        copy = self._copies.get(number)
        if copy is None:
            return
        unread = False
        try:
            await asyncio.wait({copy.sending})
            unread = not copy.envelope or await self._publisher.withdraw(copy.shard, copy.envelope)
        except BrokerUnavailable:
            self.note_broker_down()
        finally:
            self._run(self._machine.withdrawn(time.monotonic(), number, unread=unread))

    async def _publish_traced(
        self, shard: int, task: task_pb2.QueryTask, waiting: list[_Pending], expires_s: float
    ) -> Published:
        """Publish under a producer span in the trace of the first item. The span links the spans of all items."""
        contexts = [remote_context({TRACEPARENT: pending.item.traceparent}) for pending in waiting]
        links = [Link(get_current_span(context).get_span_context()) for context in contexts if context is not None]
        attributes: dict[str, str | int] = {
            names.MESSAGING_SYSTEM: "celery",
            names.MESSAGING_DESTINATION: query_queue(shard),
            names.MESSAGING_MESSAGE_COUNT: len(waiting),
            names.BATCH_SIZE: len(waiting),
            names.SHARD: shard,
        }
        with self._telemetry.tracer.start_as_current_span(
            names.SPAN_QUERY_SEND, contexts[0], SpanKind.PRODUCER, attributes, links=links, record_exception=False
        ) as span:
            if waiting[0].batch_sizes[1:]:
                span.set_attribute(names.HEDGED, True)
            try:
                return await self._publisher.publish_query(
                    shard, seal(task), expires_s, {TRACEPARENT: traceparent_of(span.get_span_context())}
                )
            except BrokerUnavailable as error:
                span.set_status(Status(StatusCode.ERROR, error.message))
                raise
