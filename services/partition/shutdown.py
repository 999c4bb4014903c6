"""The shutdown of this process, and its effect on builds."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from planmesh.errors import ServiceUnavailable
from services.partition.blocking import finish

CANCEL_AGAIN_S: Final = 1.0
"""Wait for the end of a cancelled build, after which it is cancelled again."""

T = TypeVar("T")


class Shutdown:
    """Whether this process is being stopped. Builds are then interrupted, and the next process resumes them."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()

    @property
    def begun(self) -> bool:
        """Whether the process is being stopped."""
        return self._begun.is_set()

    def begin(self) -> None:
        """Record that the process is being stopped, and interrupt the builds."""
        self._begun.set()

    async def interrupting(self, build: Coroutine[Any, Any, T]) -> T:
        """Await a build that can be resumed. At a shutdown, cancel it and raise ServiceUnavailable."""
        building = asyncio.ensure_future(build)
        stopping = asyncio.ensure_future(self._begun.wait())
        try:
            await asyncio.wait({building, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if building.done():
                return building.result()
            raise ServiceUnavailable(
                "the partition service is being stopped; it will resume the load when it runs again"
            )
        finally:
            stopping.cancel()
            while not building.done():
                # Again, because a library may swallow a cancellation, as redis-py does while it connects.
                building.cancel()
                await finish(building, CANCEL_AGAIN_S)
