"""The shutdown of the partition service, and its effect on a build."""

from __future__ import annotations

import asyncio

import pytest

from planmesh.errors import ServiceUnavailable
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
