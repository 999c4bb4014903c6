"""Rebuilds of versions whose snapshots an earlier planmesh built, from the rows in the store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from planmesh.errors import Conflict, Overloaded, PlanmeshError, Unavailable
from planmesh.snapshot.manifest import FORMAT
from planmesh.supervision import log_failure
from planmesh.telemetry.logs import get_logger
from services.partition.build.load import load_from_store
from services.partition.build.resources import BuildResources
from services.partition.catalog.served import UnservedVersion

REBUILDS_AT_ONCE: Final = 1
"""Graphs of an earlier format that are rebuilt at a time: after an upgrade all of them are."""

REBUILD_AGAIN_S: Final = 5.0
"""Between attempts while something is in the way: a part that is away, or another load of the graph."""

log = get_logger(__name__)


class Rebuilds:
    """Rebuilds in the background, each in a task of its own."""

    def __init__(self, resources: BuildResources) -> None:
        self._resources = resources
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(REBUILDS_AT_ONCE)

    def begin(self, unserved: Sequence[UnservedVersion]) -> None:
        """Rebuild versions, one a graph, in turn. One that is replaced by now is left alone."""
        for version in unserved:
            graph = version.stored.graph
            task = self._tasks[graph] = asyncio.create_task(self._rebuild(version), name=f"rebuild-{graph}")
            task.add_done_callback(log_failure)

    async def abandon(self, graph: str) -> None:
        """End the rebuild of a graph, and remove what there is of it."""
        await self._end([task for name, task in self._tasks.items() if name == graph])

    async def close(self) -> None:
        """End all."""
        await self._end(list(self._tasks.values()))

    async def _end(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _rebuild(self, version: UnservedVersion) -> None:
        """Make a new version of the rows of one, unless it has been replaced or removed meanwhile."""
        bound = log.bind(graph=version.stored.graph, version=version.stored.version)
        while version.options is not None and self._resources.graphs.is_unserved(version):
            try:
                async with self._places:
                    if not self._resources.graphs.is_unserved(version):
                        return  # while this one waited for its turn, other rows were loaded, and are newer
                    bound.warning("rebuilt from the store", found_format=version.format, format=FORMAT)
                    await load_from_store(self._resources, version.stored, version.options)
            except (Unavailable, Overloaded, Conflict) as error:
                if self._resources.shutdown.begun:
                    bound.info("rebuild left for the next process", reason=error.message)
                    return
                bound.info("rebuild tried again", reason=error.message)
                await asyncio.sleep(REBUILD_AGAIN_S)
            except (PlanmeshError, OSError) as error:
                bound.error("not rebuilt; load the graph again", error=str(error))
                self._resources.graphs.give_up(
                    version, f"{version.reason}, which failed: {error}; load the graph again"
                )
                return
