"""One lock for each graph. It serialises publishing, removing and retiring its versions, and replacing their files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class GraphLocks:
    """Locks by graph name. Each exists while a task holds it or waits for it. A waiting task can be cancelled."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, graph: str) -> AsyncIterator[None]:
        """Hold the lock of a graph. Hold it only for short work, because finished loads wait for it."""
        lock, users = self._locks.get(graph, (asyncio.Lock(), 0))
        self._locks[graph] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[graph]
            if users == 1:
                del self._locks[graph]
            else:
                self._locks[graph] = lock, users - 1
