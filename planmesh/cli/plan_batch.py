"""`planmesh plan --pairs`: prints answers in order and with bounded memory, although they arrive unordered."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from planmesh.cli.connection import connect_async
from planmesh.cli.json_objects import plan_object
from planmesh.cli.output import error_object, print_json
from planmesh.errors import PlanmeshError
from planmesh.measure.pair_lines import Pair, read_pairs

if TYPE_CHECKING:
    from planmesh.client import AsyncClient

CHUNK_PAIRS_MAX: Final = 500
"""Pairs of one PlanMany call. Answers arrive unordered and are held until the chunk is complete, which this bounds."""

CHUNKS_AHEAD_MAX: Final = 2
"""Chunks in progress at the same time, so that the mesh is not idle while one is printed."""


async def print_plans(
    lines: Iterable[str],
    source: str,
    address: str,
    graph: str,
    timeout_s: float,
    options: Mapping[str, Any],
) -> bool:
    """Print a JSON line for each pair of `lines`, in order. Return whether each got a plan or "no path".

    `options` are those of AsyncClient.plan_many.
    `timeout_s` applies to each chunk. If a chunk fails as a whole, each of its pairs gets the error.
    """
    all_answered = True
    under_way: deque[asyncio.Task[list[dict[str, Any]]]] = deque()
    async with connect_async(address) as client:

        async def print_oldest() -> None:
            nonlocal all_answered
            for value in await under_way.popleft():
                all_answered &= value.get("error", {}).get("reason", "NO_PATH") == "NO_PATH"
                print_json(value)

        try:
            for chunk in _chunks(read_pairs(lines, source)):
                answering = _answer_chunk(client, chunk, graph, timeout_s, options)
                under_way.append(asyncio.create_task(answering))
                if len(under_way) > CHUNKS_AHEAD_MAX:
                    await print_oldest()
            while under_way:
                await print_oldest()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
    return all_answered


def _chunks(pairs: Iterator[Pair]) -> Iterator[list[Pair]]:
    while chunk := list(islice(pairs, CHUNK_PAIRS_MAX)):
        yield chunk


async def _answer_chunk(
    client: AsyncClient, chunk: list[Pair], graph: str, timeout_s: float, options: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the objects of a chunk, in its order."""
    values: list[dict[str, Any] | None] = [None] * len(chunk)
    failure: PlanmeshError | None = None
    try:
        answers = client.plan_many(chunk, graph=graph, timeout_s=timeout_s, **options)
        async for answer in answers:
            pair = chunk[answer.index]
            values[answer.index] = plan_object(answer.plan) if answer.plan else failed_pair(pair, answer.error)
    except PlanmeshError as error:
        failure = error
    if failure is not None:
        return [value or failed_pair(pair, failure) for pair, value in zip(chunk, values, strict=True)]
    answered = [value for value in values if value is not None]
    assert len(answered) == len(chunk), "PlanMany answers every pair or fails"
    return answered


def failed_pair(pair: Pair, error: PlanmeshError | None) -> dict[str, Any]:
    """Return the object of a pair without a plan."""
    assert error is not None, "a pair has a plan or an error"
    return {"start": pair[0], "goal": pair[1], "error": error_object(error)}
