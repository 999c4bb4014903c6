from __future__ import annotations

import asyncio

from planmesh.errors import NoPath
from planmesh.measure.closed_loop import run_closed_loop


async def test_every_item_is_asked_once_and_errors_are_kept_apart() -> None:
    async def call(item: int) -> int:
        await asyncio.sleep(0)
        if item % 3 == 0:
            raise NoPath(str(item), "x")
        return item * 10

    outcomes = await run_closed_loop(call, range(10), concurrency=4)
    assert sorted(outcomes.answers) == [(item, item * 10) for item in range(10) if item % 3]
    assert sorted(item for item, _ in outcomes.errors) == [0, 3, 6, 9]
    assert outcomes.count == len(outcomes.latencies_ms) == 10
    assert outcomes.seconds > 0


async def test_never_more_calls_at_once_than_asked_for_and_as_many_when_there_are() -> None:
    under_way, most = 0, 0
    all_there = asyncio.Event()

    async def call(_: int) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if under_way == 5:
            all_there.set()
        await all_there.wait()
        under_way -= 1

    await run_closed_loop(call, range(50), concurrency=5)
    assert most == 5


async def test_slices_add_up() -> None:
    async def call(item: int) -> int:
        return item

    first = await run_closed_loop(call, range(3), 2)
    seconds = first.seconds
    second = await run_closed_loop(call, range(4), 2)
    first.extend(second)
    assert first.count == 7
    assert first.seconds == seconds + second.seconds
