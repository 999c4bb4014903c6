"""Old versions go, after a time in which a plan that began on one can still end."""

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
    """Keeps the newest versions of every graph, and removes others after a grace."""

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
        """Have the versions that are one too many now removed when the grace is over."""
        self._tasks.start(f"retire-{graph}", self._retire_later(graph))

    async def close(self) -> None:
        """Stop waiting; what is left is removed at the next start."""
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
                # Tried again at the next start.
                log.error("old version not removed", graph=graph, version=number, error=str(error))
                continue
            known.versions = [version for version in known.versions if version.number != number]
            known.outdated = [outdated for outdated in known.outdated if outdated != number]
            log.info("old version removed", graph=graph, version=number)

    async def _remove(self, graph: str, number: int) -> None:
        await self._store.remove_version(graph, number)
        await asyncio.to_thread(remove_folder, self._folders.snapshot(graph, number))
