"""Removing a graph: once begun it is finished, whatever its caller does; a crash leaves it whole, or removed."""

from __future__ import annotations

import asyncio

from planmesh.errors import GraphUnknown, ServiceUnavailable
from planmesh.supervision import log_failure
from planmesh.telemetry.logs import get_logger
from services.partition.folders import remove_folder
from services.partition.load import LoadParts
from services.partition.loads import Loads
from services.partition.rebuilds import Rebuilds
from services.partition.repair import Repairs

log = get_logger("removal")


class Removals:
    """Removes graphs, each in a task of its own, under the graph's lock."""

    def __init__(self, parts: LoadParts, loads: Loads, rebuilds: Rebuilds, repairs: Repairs) -> None:
        self._parts = parts
        self._loads = loads
        self._rebuilds = rebuilds
        self._repairs = repairs
        self._tasks: set[asyncio.Task[None]] = set()

    async def remove(self, graph: str) -> None:
        """Stop serving a graph and delete its data, a sealed build of it that nobody waits for included.

        Raises GraphUnknown; Conflict when a load of it is under way; SnapshotError when the store refuses, and the
        graph is served as before then; ServiceUnavailable when the process is being stopped before it has begun. A
        cancellation of the caller does not end the removal.
        """
        task = asyncio.create_task(self._remove(graph), name=f"remove-{graph}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(log_failure)
            raise

    async def close(self) -> None:
        """Return when all have ended."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _remove(self, graph: str) -> None:
        parts = self._parts
        if not parts.graphs.knows(graph):
            raise GraphUnknown(graph)
        unserved = parts.graphs.get(graph).unserved
        await self._rebuilds.abandon(graph)
        try:
            await self._forget(graph)
        except BaseException:
            if unserved is not None and not parts.shutdown.begun:
                self._rebuilds.begin([unserved])
            raise

    async def _forget(self, graph: str) -> None:
        parts = self._parts
        abandoned = await self._loads.abandon(graph)
        async with parts.locks.hold(graph):
            if parts.shutdown.begun:
                # A build that was abandoned by now may have been kept for the next process, which would serve it.
                raise ServiceUnavailable(
                    f"the partition service is being stopped; remove graph {graph!r} again when it runs"
                )
            if abandoned and not parts.graphs.knows(graph):
                return
            known = parts.graphs.remove(graph)
            try:
                # The catalog forgets all versions at once: before, the graph is whole; from then on it is removed, and
                # what is left of its files after a crash goes at the next start.
                await parts.store.remove_graph(graph)
            except BaseException:
                parts.graphs.put_back(known)
                raise
            await parts.hub.remove(graph)
            await self._repairs.abandon(graph)
            try:
                await asyncio.to_thread(remove_folder, parts.folders.snapshots / graph)
            except OSError as error:
                log.error("snapshots left for the next start to remove", graph=graph, error=str(error))
        log.info("graph removed", graph=graph)
