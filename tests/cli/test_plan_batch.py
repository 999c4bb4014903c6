"""`planmesh plan --pairs` prints answers in order, and one failed call is the error of each of its pairs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from planmesh.cli.plan_batch import CHUNK_PAIRS_MAX, _answer_chunk, _chunks
from planmesh.client import AsyncClient
from planmesh.errors import NoPath, PlanmeshError, ServiceUnavailable

PAIRS = [("a", "b"), ("b", "c"), ("c", "d")]


@dataclass
class Answer:
    """An answer of PlanMany: its pair has no path."""

    index: int
    plan: None = None
    error: PlanmeshError = field(default_factory=lambda: NoPath("x", "y"))


class FakeClient:
    """Answers the given pairs in the given order, then fails if it has an error."""

    def __init__(self, order: Sequence[int], failure: PlanmeshError | None = None) -> None:
        self._order, self._failure = order, failure

    async def plan_many(self, *_: Any, **__: Any) -> AsyncIterator[Answer]:
        for index in self._order:
            yield Answer(index)
        if self._failure is not None:
            raise self._failure


async def answered(client: FakeClient) -> list[str]:
    values = await _answer_chunk(cast(AsyncClient, client), PAIRS, "g", 1.0, {"detail": "steps"})
    assert [(value["start"], value["goal"]) for value in values] == PAIRS
    return [value["error"]["reason"] for value in values]


async def test_answers_are_put_in_order() -> None:
    assert await answered(FakeClient([2, 0, 1])) == ["NO_PATH"] * 3


async def test_a_failed_call_is_the_error_of_the_pairs_without_an_answer() -> None:
    reasons = await answered(FakeClient([1], ServiceUnavailable("down")))
    assert reasons == ["SERVICE_UNAVAILABLE", "NO_PATH", "SERVICE_UNAVAILABLE"]


@pytest.mark.parametrize("count", [0, 1, CHUNK_PAIRS_MAX, CHUNK_PAIRS_MAX + 1])
def test_chunks_are_bounded_and_lose_nothing(count: int) -> None:
    pairs = [(str(number), "goal") for number in range(count)]
    chunks = list(_chunks(iter(pairs)))
    assert [pair for chunk in chunks for pair in chunk] == pairs
    assert all(0 < len(chunk) <= CHUNK_PAIRS_MAX for chunk in chunks)
