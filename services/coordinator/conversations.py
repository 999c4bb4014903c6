"""Answers the streams of gateways: questions of many callers come in, answers go out as soon as they are known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import grpc

from planmesh.errors import LimitExceeded, Overloaded, PlanmeshError
from planmesh.internal.v1 import coordinator_pb2
from planmesh.rpc.calls import Call, CallObserver
from planmesh.rpc.deadline import Deadline
from planmesh.telemetry.trace_context import TRACEPARENT, TRACESTATE
from planmesh.telemetry.tracing import Telemetry
from services.coordinator.answer_log import AnswerLog
from services.coordinator.plan_batches import Answer, Asked
from services.coordinator.plan_queue import PlanQueue, Waiting
from services.coordinator.questions import Question

WINDOW: Final = 1_024
"""Questions of one stream that may wait for their answers."""

ANSWERS_BYTES_MAX: Final = 2**20
"""Bytes of plans in one message, if it has more than one."""

UNREAD_BYTES_MAX: Final = 256 * 2**20
"""Bytes of plans that a gateway has not read. One that has stopped reading loses its stream."""

DEADLINE_S_MAX: Final = 600.0
MARGIN_S_MAX: Final = 0.05
MARGIN_SHARE: Final = 0.05
"""Time reserved for the answer, even an error, to reach the caller before it hangs up: a twentieth of the remaining
time, at most 50 ms."""

COMPUTE_PLAN: Final = "planmesh.internal.v1.CoordinatorService/ComputePlan"
ECHO: Final = "planmesh.internal.v1.CoordinatorService/Echo"
"""A question is observed as a call of its own would be."""


class Conversations:
    """The streams of this process."""

    def __init__(self, queue: PlanQueue, telemetry: Telemetry) -> None:
        self._queue = queue
        self._calls = CallObserver(telemetry)
        self._log = AnswerLog(telemetry)
        self._streams: set[_Stream] = set()
        self._ready = False
        self._leaving = False

    def set_ready(self, ready: bool, *, leaving: bool) -> None:
        """Tell gateways whether plans can be answered. When this process is leaving, streams end once they are idle."""
        self._ready, self._leaving = ready, leaving
        for stream in self._streams:
            stream.wake.set()

    async def converse(
        self, requests: AsyncIterator[coordinator_pb2.ConverseRequest]
    ) -> AsyncIterator[coordinator_pb2.ConverseResponse]:
        """Serve one stream until the gateway ends it, or this process leaves."""
        stream = _Stream(self._queue, self._calls, self._log)
        reading = asyncio.create_task(stream.read(requests), name="converse")
        reading.add_done_callback(lambda _: stream.wake.set())
        self._streams.add(stream)
        window: int | None = None
        try:
            while True:
                response = stream.take_answers()
                wanted = WINDOW if self._ready else 0
                if wanted != window:
                    response.window = window = wanted
                if response.answers or response.HasField("window"):
                    yield response
                    continue
                # A gateway that ends its side in order still gets its answers.
                if has_failed(reading) or ((reading.done() or self._leaving) and not stream.waiting):
                    break
                await stream.wake.wait()
                stream.wake.clear()
            if reading.done():
                reading.result()
        finally:
            self._streams.discard(stream)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            stream.drop_all()


def has_failed(task: asyncio.Task[None]) -> bool:
    """Whether a task has ended with an error."""
    return task.done() and (task.cancelled() or task.exception() is not None)


class _Stream:
    """One stream: the questions that wait, and the answers that were not sent yet."""

    def __init__(self, queue: PlanQueue, calls: CallObserver, log: AnswerLog) -> None:
        self._queue = queue
        self._calls = calls
        self._log = log
        self.waiting: dict[int, tuple[Waiting, Call]] = {}
        self._answers: list[coordinator_pb2.Answer] = []
        self._unread_bytes = 0
        self.wake = asyncio.Event()

    async def read(self, requests: AsyncIterator[coordinator_pb2.ConverseRequest]) -> None:
        """Begin the questions that arrive, until the gateway ends the stream."""
        async for request in requests:
            for key in request.cancelled:
                self._drop(key)
            for question in request.questions:
                self._begin(question)
            if self._unread_bytes > UNREAD_BYTES_MAX:
                raise LimitExceeded(
                    f"expected answers to be read; {self._unread_bytes} bytes of them wait", bound="UNREAD_BYTES_MAX"
                )

    def take_answers(self) -> coordinator_pb2.ConverseResponse:
        """Return the answers for one message."""
        bytes_taken = count = 0
        for answer in self._answers:
            bytes_taken += len(answer.plan)
            if count and bytes_taken > ANSWERS_BYTES_MAX:
                break
            self._unread_bytes -= len(answer.plan)
            count += 1
        response = coordinator_pb2.ConverseResponse(answers=self._answers[:count])
        del self._answers[:count]
        return response

    def drop_all(self) -> None:
        """Forget all questions: the gateway is gone."""
        for key in list(self.waiting):
            self._drop(key)

    def _begin(self, question: coordinator_pb2.Question) -> None:
        carrier = {}
        if question.traceparent:
            carrier = {TRACEPARENT: question.traceparent, TRACESTATE: question.tracestate}
        if question.WhichOneof("request") == "echo":
            self._calls.end(self._calls.begin(ECHO, carrier), grpc.StatusCode.OK)
            self._put(coordinator_pb2.Answer(key=question.key, plan=b""))
            return
        call = self._calls.begin(COMPUTE_PLAN, carrier)
        plan = question.plan
        asked = Asked(
            Question.of(plan),
            call.trace_id,
            call.context,
        )
        deadline = Deadline.after(min(question.timeout_s, DEADLINE_S_MAX))
        key = question.key
        waiting = Waiting(
            asked,
            deadline.with_share_margin(MARGIN_SHARE, MARGIN_S_MAX),
            lambda answer: self._end(key, answer),
        )
        self.waiting[key] = waiting, call
        if len(self.waiting) > WINDOW:
            waiting.end(Overloaded(f"expected at most {WINDOW} questions to wait", bound="WINDOW", retry_after_s=0.1))
            return
        self._queue.put(waiting)

    def _end(self, key: int, answer: Answer) -> None:
        waiting, call = self.waiting.pop(key)
        self._log.note(waiting.asked.question, answer)
        message = coordinator_pb2.Answer(key=key)
        if isinstance(answer, PlanmeshError):
            message.status.CopyFrom(self._calls.fail(call, answer))
        else:
            self._calls.end(call, grpc.StatusCode.OK)
            message.plan = answer
        self._put(message)

    def _put(self, answer: coordinator_pb2.Answer) -> None:
        self._answers.append(answer)
        self._unread_bytes += len(answer.plan)
        self.wake.set()

    def _drop(self, key: int) -> None:
        found = self.waiting.pop(key, None)
        if found is None:
            return
        waiting, call = found
        self._queue.drop(waiting)
        self._log.count(grpc.StatusCode.CANCELLED)
        self._calls.end(call, grpc.StatusCode.CANCELLED)
