"""One stream to one coordinator process, which carries the plans and pings of all callers of this gateway.

Questions that callers ask while a message is being written travel together in the next one, so a busy gateway sends
few messages, and an idle one never waits.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import grpc.aio

from planmesh.internal.v1 import coordinator_pb2
from planmesh.rpc import status as rpc_status
from planmesh.rpc.channel import TracedChannel
from planmesh.rpc.deadline import Deadline
from planmesh.telemetry.logs import get_logger

CONVERSE: Final = "/planmesh.internal.v1.CoordinatorService/Converse"

EOF: Final[Any] = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs lack it

QUESTIONS_TOGETHER_MAX: Final = 256
"""Questions of one message. With the largest requests (QUESTION_BYTES_MAX) they are half of what a coordinator
accepts."""

log = get_logger(__name__)


class UnsentError(Exception):
    """The stream ended in order before the question was answered, or before it was sent; another one may answer it."""


class BrokenError(Exception):
    """The stream broke after the question was sent."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A question without an answer."""

    question: coordinator_pb2.Question
    deadline: Deadline
    answer: asyncio.Future[coordinator_pb2.Answer]
    sent: bool = False


@dataclass(eq=False)
class Conversation:
    """A stream to the coordinator at the other end of `channel`."""

    channel: TracedChannel
    window: int = 0
    """Questions that the coordinator lets wait at once; 0 while others should be asked instead, if there are any."""
    is_open: bool = False
    """Whether the coordinator answers in this stream."""
    worked: bool = False
    """Whether the coordinator has granted a window at all."""
    _waiting: dict[int, _Waiting] = field(default_factory=dict)
    _unsent: deque[_Waiting] = field(default_factory=deque)
    _cancelled: list[int] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _keys: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def free(self) -> int:
        """How many questions may be asked now."""
        return self.window - len(self._waiting)

    @property
    def waiting(self) -> int:
        """How many questions wait for their answers."""
        return len(self._waiting)

    async def ask(self, question: coordinator_pb2.Question, deadline: Deadline) -> bytes:
        """Send a question, whose key is set here, and return the serialised plan, or b"" for an echo.

        Raises AioRpcError with the status of the answer, TimeoutError at the deadline, UnsentError and BrokenError. The
        caller has looked that a question is free.
        """
        question.key = next(self._keys)
        waiting = _Waiting(question, deadline, asyncio.get_running_loop().create_future())
        self._waiting[question.key] = waiting
        self._unsent.append(waiting)
        self._wake.set()
        try:
            async with asyncio.timeout(deadline.remaining_s()):
                answer = await waiting.answer
        finally:
            if self._waiting.pop(question.key, None) is not None and waiting.sent:
                self._cancelled.append(question.key)
                self._wake.set()
        if answer.HasField("status"):
            raise rpc_status.to_rpc_error(answer.status)
        return answer.plan

    async def run(self) -> None:
        """Open the stream and carry questions and answers until it ends. Raises AioRpcError when it breaks."""
        call: Any = self.channel.stream_stream(CONVERSE)()
        writing = asyncio.create_task(self._write(call), name="converse")
        error: Exception = BrokenError()
        try:
            while (raw := await call.read()) is not EOF:
                self._take(coordinator_pb2.ConverseResponse.FromString(raw))
            if await call.code() is grpc.StatusCode.OK:
                error = UnsentError()
        finally:
            self.window, self.is_open = 0, False
            call.cancel()
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            self._unsent.clear()
            self._cancelled.clear()
            for waiting in self._waiting.values():
                if not waiting.answer.done():
                    waiting.answer.set_exception(error if waiting.sent else UnsentError())
            self._waiting.clear()

    def _take(self, response: coordinator_pb2.ConverseResponse) -> None:
        if response.HasField("window"):
            self.window = response.window
            self.worked |= response.window > 0
        self.is_open = True
        for answer in response.answers:
            waiting = self._waiting.pop(answer.key, None)
            if waiting is not None and not waiting.answer.done():
                waiting.answer.set_result(answer)

    async def _write(self, call: Any) -> None:
        """Write what has gathered since the last message, again and again."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(0)  # calls that arrived together ask in the same turn of the event loop
            self._wake.clear()
            request = coordinator_pb2.ConverseRequest(cancelled=self._cancelled)
            self._cancelled.clear()
            questions: list[coordinator_pb2.Question] = []
            while self._unsent and len(questions) < QUESTIONS_TOGETHER_MAX:
                waiting = self._unsent.popleft()
                if waiting.answer.done():
                    continue  # its caller has left
                waiting.question.timeout_s = waiting.deadline.remaining_s()
                waiting.sent = True
                questions.append(waiting.question)
            if self._unsent:
                self._wake.set()
            request.questions.extend(questions)
            if questions or request.cancelled:
                try:
                    await call.write(request.SerializeToString())
                except (grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError):
                    return  # the stream has ended; reading from it tells how
