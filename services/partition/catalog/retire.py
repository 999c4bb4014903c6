"""Removes old versions, after a grace time in which plans that use them can end."""

from __future__ import annotations

import asyncio

from planmesh.errors import PlanmeshError
from planmesh.supervision import OneShotTasks
from planmesh.telemetry.logs import get_logger
from planmesh.versions.protocol import VersionStore
from services.partition.blocking import uninterrupted
from services.partition.catalog.folders import Folders, remove_folder
from services.partition.catalog.graph_locks import GraphLocks
from services.partition.catalog.served import KnownGraphs

log = get_logger(__name__)


class Retirement:
    """Keeps the newest `versions_kept` versions of each graph, and removes others after `grace_s`."""

    def __init__(
        self,
        folders: Folders,
        store: VersionStore,
        graphs: KnownGraphs,
        locks: GraphLocks,
        versions_kept: int,
        grace_s: float,
    ) -> None:
        self._folders = folders
        self._store = store
        self._graphs = graphs
        self._locks = locks
        self._versions_kept = versions_kept
        self._grace_s = grace_s
        self._tasks = OneShotTasks()

    def retire(self, graph: str) -> None:
        """Schedule the removal of the versions of a graph that are now superfluous."""
        self._tasks.start(f"retire-{graph}", self._retire_later(graph))

    async def close(self) -> None:
        """Cancel the scheduled removals. The next start removes those versions."""
        await self._tasks.close()

    async def _retire_later(self, graph: str) -> None:
        known = next((one for one in self._graphs.all() if one.name == graph), None)
        if known is None:
            return
        old = [*known.outdated, *(version.number for version in known.versions[: -self._versions_kept])]
        await asyncio.sleep(self._grace_s)
        for number in old:
            try:
                async with self._locks.hold(graph):
                    await uninterrupted(asyncio.ensure_future(self._remove(graph, number)))
            except (PlanmeshError, OSError) as error:
                # The next start tries again.
                log.error("old version not removed", graph=graph, version=number, error=str(error))
                continue
            known.versions = [version for version in known.versions if version.number != number]
            known.outdated = [outdated for outdated in known.outdated if outdated != number]
            log.info("old version removed", graph=graph, version=number)

    async def _remove(self, graph: str, number: int) -> None:
        await self._store.remove_version(graph, number)
        await asyncio.to_thread(remove_folder, self._folders.snapshot(graph, number))
