"""Builds that were interrupted by the end of this process, gone on with by the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from planmesh.errors import PlanmeshError, ServiceUnavailable
from planmesh.telemetry.logs import get_logger
from services.partition.journal import UnfinishedBuild
from services.partition.load import Load, LoadParts

log = get_logger("resumption")


class Resumption:
    """Resumes builds in the background. Their graphs are taken from `begin` on, as by any load."""

    def __init__(self, parts: LoadParts) -> None:
        self._parts = parts
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, builds: Sequence[UnfinishedBuild]) -> None:
        """Go on with builds, one a graph, at once."""
        for build in builds:
            load = Load(self._parts, build.journal.options, build)
            load.begin()
            self._tasks[build.graph] = asyncio.create_task(
                self._resume(load, build.graph), name=f"resume-{build.graph}"
            )

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

    async def _resume(self, load: Load, graph: str) -> None:
        try:
            await load.resume()
        except ServiceUnavailable as error:
            log.info("resumed build left for the next process", graph=graph, reason=error.message)
        except (PlanmeshError, OSError) as error:
            # There is no caller to tell: GetGraph shows no load any more, and the version served is the one before.
            log.error("build not resumed; load the graph again", graph=graph, error=str(error))
        finally:
            del self._tasks[graph]
