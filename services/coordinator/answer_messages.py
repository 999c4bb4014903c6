"""Puts the answers of a batch into the messages of its stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

from planmesh.errors import PlanmeshError
from planmesh.internal.v1 import coordinator_pb2
from planmesh.rpc.status import to_status

Filled = TypeVar("Filled", coordinator_pb2.ComputePlansResponse, coordinator_pb2.ComputedAnswer)

ANSWERS_PER_MESSAGE_MAX: Final = 64
"""Most answers of a message: those that are computed together."""

ANSWERS_MESSAGE_BYTES_MAX: Final = 2**20
"""Most bytes of the answers of a message, unless one answer alone has more. A larger message would not cost less for
each of its answers, and the caller would see the first of them later."""


def answer_messages(
    answers: Mapping[int, bytes | PlanmeshError], trace_id: str, *, batched: bool
) -> Iterator[coordinator_pb2.ComputePlansResponse]:
    """Yield messages with answers by position: serialised v1.Plans, or why there is none.

    If `batched`, a message has several answers; otherwise it has one.
    """
    message, size_bytes = coordinator_pb2.ComputePlansResponse(), 0
    for index, answer in answers.items():
        if not batched:
            yield _filled(coordinator_pb2.ComputePlansResponse(index=index), answer, trace_id)
            continue
        computed = _filled(coordinator_pb2.ComputedAnswer(index=index), answer, trace_id)
        more_bytes = computed.ByteSize()
        is_full = len(message.answers) >= ANSWERS_PER_MESSAGE_MAX
        if is_full or (message.answers and size_bytes + more_bytes > ANSWERS_MESSAGE_BYTES_MAX):
            yield message
            message, size_bytes = coordinator_pb2.ComputePlansResponse(), 0
        message.answers.append(computed)
        size_bytes += more_bytes
    if message.answers:
        yield message


def _filled(response: Filled, answer: bytes | PlanmeshError, trace_id: str) -> Filled:
    if isinstance(answer, bytes):
        response.plan = answer
    else:
        response.status.CopyFrom(to_status(answer, trace_id))
    return response
