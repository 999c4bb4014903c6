"""The shutdown of the partition service, and its effect on a build."""

from __future__ import annotations

import asyncio

import pytest

from planmesh.errors import ServiceUnavailable
from services.partition import shutdown as shutdown_module
from services.partition.shutdown import Shutdown


async def test_a_build_that_ends_first_gives_its_result_or_its_error() -> None:
    async def build() -> str:
        return "built"

    async def fail() -> str:
        raise KeyError("a defect")

    shutdown = Shutdown()
    assert await shutdown.interrupting(build()) == "built"
    with pytest.raises(KeyError):
        await shutdown.interrupting(fail())
    assert not shutdown.begun


async def test_a_shutdown_interrupts_a_build_and_waits_for_its_end() -> None:
    shutdown = Shutdown()
    steps: list[str] = []

    async def build() -> None:
        steps.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("cleaned up")

    building = asyncio.create_task(shutdown.interrupting(build()))
    while not steps:
        await asyncio.sleep(0)
    shutdown.begin()
    with pytest.raises(ServiceUnavailable, match="it will resume the load"):
        await building
    assert (shutdown.begun, steps) == (True, ["begun", "cleaned up"])


async def test_a_build_that_loses_a_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that connects to Redis at that moment does, because redis-py swallows the cancellation."""
    monkeypatch.setattr(shutdown_module, "CANCEL_AGAIN_S", 0.01)
    shutdown = Shutdown()
    lost = asyncio.Event()

    async def build() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost.set()
        await asyncio.Event().wait()

    building = asyncio.create_task(shutdown.interrupting(build()))
    await asyncio.sleep(0)
    shutdown.begin()
    with pytest.raises(ServiceUnavailable):
        await asyncio.wait_for(building, 60)
    assert lost.is_set()
