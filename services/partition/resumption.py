"""Builds that this process begins by itself: interrupted ones, and those of versions that an earlier planmesh built."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from planmesh.errors import Conflict, Overloaded, PlanmeshError, ServiceUnavailable, Unavailable
from planmesh.snapshot.manifest import FORMAT
from planmesh.telemetry.logs import get_logger
from services.partition.journal import UnfinishedBuild
from services.partition.load import Load, LoadParts, load_from_store
from services.partition.served import UnservedVersion

REBUILDS_AT_ONCE: Final = 1
"""Graphs of an earlier format that are rebuilt at a time: after an upgrade all of them are."""

REBUILD_AGAIN_S: Final = 5.0
"""Between attempts while something is in the way: a part that is away, or a caller's own load of the graph."""

log = get_logger("resumption")


class Resumption:
    """Builds in the background. Graphs of resumed builds are taken from `begin` on, as by any load."""

    def __init__(self, parts: LoadParts) -> None:
        self._parts = parts
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._rebuilds = asyncio.Semaphore(REBUILDS_AT_ONCE)

    def begin(self, builds: Sequence[UnfinishedBuild], unserved: Sequence[UnservedVersion] = ()) -> None:
        """Go on with builds, one a graph, at once; rebuild versions in turn, unless a resumed build replaces them."""
        loads: dict[str, Load | None] = {version.stored.graph: None for version in unserved}
        for build in builds:
            load = loads[build.graph] = Load(self._parts, build.journal.options, build)
            load.begin()
        versions = {version.stored.graph: version for version in unserved}
        for graph, load_or_none in loads.items():
            task = self._build(graph, load_or_none, versions.get(graph))
            self._tasks[graph] = asyncio.create_task(task, name=f"build-{graph}")

    async def abandon(self, graph: str) -> bool:
        """Give a resumed build up and remove what there is of it; False when there is none of that graph."""
        task = self._tasks.get(graph)
        if task is None:
            return False
        task.cancel()
        await asyncio.wait([task])
        return True

    async def close(self) -> None:
        """Stop; what the builds have is kept when the process is being stopped: see Shutdown."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _build(self, graph: str, load: Load | None, unserved: UnservedVersion | None) -> None:
        try:
            if load is not None:
                await self._resume(load, graph)
            if unserved is not None and not self._parts.shutdown.begun:
                await self._rebuild(unserved)
        finally:
            del self._tasks[graph]

    async def _rebuild(self, version: UnservedVersion) -> None:
        """Make a new version of the rows of one, unless it has been replaced or removed meanwhile."""
        told = log.bind(graph=version.stored.graph, version=version.stored.version)
        while version.options is not None and self._parts.graphs.is_unserved(version):
            try:
                async with self._rebuilds:
                    told.warning("rebuilt from the store", found_format=version.format, format=FORMAT)
                    await load_from_store(self._parts, version.stored, version.options)
            except (Unavailable, Overloaded, Conflict) as error:
                if self._parts.shutdown.begun:
                    told.info("rebuild left for the next process", reason=error.message)
                    return
                told.info("rebuild tried again", reason=error.message)
                await asyncio.sleep(REBUILD_AGAIN_S)
            except (PlanmeshError, OSError) as error:
                told.error("not rebuilt; load the graph again", error=str(error))
                self._parts.graphs.give_up(version, f"{version.reason}, which failed: {error}; load the graph again")

    async def _resume(self, load: Load, graph: str) -> None:
        try:
            await load.resume()
        except ServiceUnavailable as error:
            log.info("resumed build left for the next process", graph=graph, reason=error.message)
        except (PlanmeshError, OSError) as error:
            # There is no caller to tell: GetGraph shows no load any more, and the version served is the one before.
            log.error("build not resumed; load the graph again", graph=graph, error=str(error))
