from __future__ import annotations

from collections.abc import Sequence

import pytest

from planmesh.errors import NoPath, PlanmeshError
from planmesh.internal.v1 import coordinator_pb2
from services.coordinator import answer_messages as messages
from services.coordinator.answer_messages import ANSWERS_PER_MESSAGE_MAX, answer_messages

OVERHEAD_BYTES_MAX = 16
"""Index, tag and length of a small answer."""


def joined(answers: Sequence[bytes | PlanmeshError], first: int = 0) -> list[coordinator_pb2.ComputePlansResponse]:
    return list(answer_messages(dict(enumerate(answers, first)), "t", batched=True))


def test_without_batches_each_answer_is_a_message() -> None:
    found = list(answer_messages({7: b"one", 8: NoPath("a", "b")}, "t", batched=False))
    assert [(one.index, one.plan, len(one.answers)) for one in found] == [(7, b"one", 0), (8, b"", 0)]
    assert found[1].WhichOneof("result") == "status"


@pytest.mark.parametrize("count", [0, 1, ANSWERS_PER_MESSAGE_MAX, ANSWERS_PER_MESSAGE_MAX + 1, 200])
def test_answers_travel_together_in_bounded_numbers(count: int) -> None:
    found = joined([b"plan"] * count, first=100)
    assert [answer.index for message in found for answer in message.answers] == list(range(100, 100 + count))
    assert all(0 < len(message.answers) <= ANSWERS_PER_MESSAGE_MAX for message in found)
    assert len(found) == -(-count // ANSWERS_PER_MESSAGE_MAX)
    assert all(message.WhichOneof("result") is None for message in found)


def test_answers_travel_together_in_bounded_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "ANSWERS_MESSAGE_BYTES_MAX", 1_000)
    answers = [b"x" * size for size in (400, 400, 400, 5_000, 10, 10, 990)]
    found = joined(answers)
    assert [[len(answer.plan) for answer in message.answers] for message in found] == [
        [400, 400],
        [400],
        [5_000],
        [10, 10],
        [990],
    ]
    bound = 1_000 + ANSWERS_PER_MESSAGE_MAX * OVERHEAD_BYTES_MAX
    assert all(message.ByteSize() <= bound or len(message.answers) == 1 for message in found)


def test_a_pair_without_a_plan_has_its_own_status() -> None:
    (message,) = joined([b"plan", NoPath("a", "b")])
    assert [answer.WhichOneof("result") for answer in message.answers] == ["plan", "status"]
    assert "no path" in message.answers[1].status.message
