"""One stream of updates: it forwards batches to the partition service, and puts answers into their order.

The gateway answers a batch that its checks refuse. The partition service never receives that batch, but earlier ones
may still be there, so the refusal waits for their answers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final, TypeVar

from planmesh.errors import LimitExceeded, MessageUndecodable, PlanmeshError
from planmesh.rpc import status as rpc_status
from planmesh.rpc.deadline import Deadline
from planmesh.telemetry.trace_context import current_trace_id
from planmesh.v1 import graph_pb2
from services.gateway import validation
from services.gateway.admission import Admitted
from services.gateway.downstream import Downstream

UNANSWERED_MAX: Final = 1_024
"""Requests of a stream without an answer. Further ones are not read, so gRPC's flow control halts the caller."""

Item = TypeVar("Item")


class UpdateStream:
    """The requests of one call, and their answers."""

    def __init__(
        self,
        requests: AsyncIterator[graph_pb2.UpdateGraphStreamRequest],
        admitted: Admitted,
        *,
        first_message_s: float,
        message_s: float,
    ) -> None:
        self._requests = requests
        self._admitted = admitted
        self._first_message_s = first_message_s
        self._message_s = message_s
        self._unanswered: deque[bytes | None] = deque()
        """Of each request without an answer, in order: the gateway's own answer, or None if it was forwarded."""
        self._refused = asyncio.Event()
        self._room = asyncio.Semaphore(UNANSWERED_MAX)
        self._failure: PlanmeshError | None = None

    async def answers(self, partition: Downstream, deadline: Deadline) -> AsyncGenerator[bytes, None]:
        """Yield serialised answers in the order of the requests.

        Raises the error that ended the requests, after the answers to the requests before it, and as Downstream does.
        """
        async with contextlib.aclosing(
            partition.both_streams("ChangeGraphStream", self._passed(), deadline)
        ) as responses:
            arriving = asyncio.ensure_future(_next(responses))
            try:
                while True:
                    refused = asyncio.ensure_future(self._refused.wait())
                    try:
                        await asyncio.wait({arriving, refused}, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        refused.cancel()
                    self._refused.clear()
                    while self._unanswered and (refusal := self._unanswered[0]) is not None:
                        yield self._answer_next(refusal)
                    if arriving.done():
                        response = arriving.result()
                        if response is None:
                            break
                        yield self._answer_next(response)
                        arriving = asyncio.ensure_future(_next(responses))
                        self._refused.set()  # the next request may have a refusal that waited for this answer
            finally:
                arriving.cancel()
                await asyncio.gather(arriving, return_exceptions=True)
        if any(answer is None for answer in self._unanswered):
            raise partition.away()  # it ended the stream in order, but has not answered every request
        while self._unanswered:
            yield self._answer_next(self._unanswered[0] or b"")
        if self._failure is not None:
            raise self._failure

    def _answer_next(self, answer: bytes) -> bytes:
        """Return the answer to the oldest request without one, and make room for a further request."""
        self._unanswered.popleft()
        self._room.release()
        return answer

    async def _passed(self) -> AsyncIterator[bytes]:
        """Yield the requests that pass the checks, serialised; keep a refusal for each other one."""
        is_first = True
        try:
            while await self._room.acquire() and (request := await self._next_in_time(is_first)) is not None:
                try:
                    if not is_first:
                        self._admitted.charge_message()
                    validation.check_update(request.update)
                except PlanmeshError as error:
                    status = rpc_status.to_status(error, current_trace_id())
                    refusal = graph_pb2.UpdateGraphStreamResponse(status=status).SerializeToString()
                    self._unanswered.append(refusal)
                    self._refused.set()
                else:
                    self._unanswered.append(None)
                    yield request.SerializeToString()
                is_first = False
        except (LimitExceeded, MessageUndecodable) as error:
            self._failure = error  # the stream ends here, but the answers to earlier requests are still to come

    async def _next_in_time(self, is_first: bool) -> graph_pb2.UpdateGraphStreamRequest | None:
        """Return the next request, or None at the end.

        Raises LimitExceeded when none comes in time, unless the caller waits for answers itself.
        """
        wait_s, bound = (
            (self._first_message_s, "gateway_load_first_message_s")
            if is_first
            else (self._message_s, "gateway_load_message_s")
        )
        reading = asyncio.ensure_future(_next(self._requests))
        try:
            while not (await asyncio.wait({reading}, timeout=wait_s))[0]:
                if not self._unanswered:
                    raise LimitExceeded(
                        f"expected the next message of the stream of updates within {wait_s:g} s, got none; open "
                        "another stream for further updates",
                        bound=bound,
                    )
            return reading.result()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def _next(items: AsyncIterator[Item]) -> Item | None:
    return await anext(items, None)
