"""Removal of graphs. It continues if its caller leaves. After a crash the graph is either intact or removed."""

from __future__ import annotations

import asyncio

from planmesh.errors import GraphUnknown, ServiceUnavailable
from planmesh.supervision import log_failure
from planmesh.telemetry.logs import get_logger
from services.partition.build.merge import Merges
from services.partition.build.rebuilds import Rebuilds
from services.partition.build.repair import Repairs
from services.partition.build.resources import BuildResources
from services.partition.catalog.folders import remove_folder
from services.partition.loads import Loads

log = get_logger(__name__)


class Removals:
    """Removes graphs, each in a separate task that holds the graph's lock."""

    def __init__(
        self, resources: BuildResources, loads: Loads, rebuilds: Rebuilds, repairs: Repairs, merges: Merges
    ) -> None:
        self._resources = resources
        self._loads = loads
        self._rebuilds = rebuilds
        self._repairs = repairs
        self._merges = merges
        self._tasks: set[asyncio.Task[None]] = set()

    async def remove(self, graph: str) -> None:
        """Stop serving a graph and delete its data, including a sealed build without waiting callers.

        Raises GraphUnknown; Conflict when a load of it is in progress; SnapshotError when the store refuses, after
        which the graph is served as before; ServiceUnavailable when the process is stopped before the removal began.
        A cancellation of the caller does not end the removal.
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
        """Wait until all removals have ended."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _remove(self, graph: str) -> None:
        resources = self._resources
        if not resources.graphs.knows(graph):
            raise GraphUnknown(graph)
        unserved = resources.graphs.get(graph).unserved
        await self._rebuilds.abandon(graph)
        try:
            await self._forget(graph)
        except BaseException:
            if unserved is not None and not resources.shutdown.begun:
                self._rebuilds.begin([unserved])
            raise

    async def _forget(self, graph: str) -> None:
        resources = self._resources
        await self._merges.abandon(graph)
        abandoned = await self._loads.abandon(graph)
        async with resources.locks.hold(graph):
            if resources.shutdown.begun:
                # The abandoned build may have been kept for the next process, which would serve it.
                raise ServiceUnavailable(
                    f"the partition service is being stopped; remove graph {graph!r} again when it runs"
                )
            if abandoned and not resources.graphs.knows(graph):
                return
            known = resources.graphs.remove(graph)
            try:
                # The store removes all versions in one transaction: before it the graph is intact, after it the graph
                # is removed. If a crash leaves files behind, the next start removes them.
                await resources.store.remove_graph(graph)
            except BaseException:
                resources.graphs.put_back(known)
                raise
            await resources.hub.remove(graph)
            await self._repairs.abandon(graph)
            try:
                await asyncio.to_thread(remove_folder, resources.folders.snapshots / graph)
            except OSError as error:
                log.error("snapshots not removed; the next start removes them", graph=graph, error=str(error))
        log.info("graph removed", graph=graph)
