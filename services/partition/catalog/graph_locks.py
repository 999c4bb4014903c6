"""One lock a graph: publishing, removing, retiring and putting repaired files in place exclude each other by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class GraphLocks:
    """Locks by name of graph, each kept while somebody holds or awaits it. Waiting for one can be cancelled."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, graph: str) -> AsyncIterator[None]:
        """Hold the lock of a graph. Hold it for short work only: a load that is ready waits for it."""
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
