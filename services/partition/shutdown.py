"""The end of this process, as its builds see it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from planmesh.errors import ServiceUnavailable
from services.partition.blocking import finish

T = TypeVar("T")


class Shutdown:
    """Whether this process is being stopped: then a build is not waited for, but left for the next one to resume."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()

    @property
    def begun(self) -> bool:
        """The process is being stopped."""
        return self._begun.is_set()

    def begin(self) -> None:
        """Say that the process is being stopped."""
        self._begun.set()

    async def interrupting(self, build: Coroutine[Any, Any, T]) -> T:
        """Await a build that can be resumed. At the shutdown it is cancelled, and ServiceUnavailable raised."""
        building = asyncio.ensure_future(build)
        told = asyncio.ensure_future(self._begun.wait())
        try:
            await asyncio.wait({building, told}, return_when=asyncio.FIRST_COMPLETED)
            if building.done():
                return building.result()
            raise ServiceUnavailable(
                "the partition service is being stopped; the load is resumed by itself when it runs again"
            )
        finally:
            told.cancel()
            if not building.done():
                building.cancel()
                await finish(building)
