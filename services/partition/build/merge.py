"""Merges the changes of graphs into their indexes, in the background: builds the next base, while updates go on.

A merge reads the rows of the served base and what updates have changed up to a version, and builds that version like a
load. It becomes the served base; later changes stay what they are. A merge that is interrupted leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from planmesh.errors import Conflict, Overloaded, Unavailable
from planmesh.supervision import SupervisedTask, backoff_s
from planmesh.telemetry.logs import get_logger
from services.partition.build.load import load_from_store
from services.partition.build.resources import BuildResources
from services.partition.catalog.served import KnownGraph

POLL_S: Final = 0.5
"""Time between two looks at how much is to be merged."""

FULL_SHARE: Final = 0.5
"""Share of the changes at which updates are refused from which on a merge begins at once."""

AGAIN_S_FIRST: Final = 1.0
AGAIN_S_MAX: Final = 60.0
"""First and longest wait after a merge that failed."""

log = get_logger(__name__)


class Merges:
    """Merges one graph at a time: the one with the most changes of those that are due."""

    def __init__(self, resources: BuildResources, changes_max: int, after_s: float) -> None:
        """Take the changes at which updates are refused, and how long changes may wait for a merge."""
        self._resources = resources
        self._changes_max = changes_max
        self._after_s = after_s
        self._waits_since_s: dict[str, float] = {}
        self._not_before_s: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._merging: tuple[str, asyncio.Task[None]] | None = None
        self._watching = SupervisedTask("merges", self._watch_forever)

    async def start(self) -> None:
        """Start to look for changes."""
        self._watching.start()

    async def abandon(self, graph: str) -> None:
        """Cancel the merge of a graph that is being replaced or removed, and wait until its files are removed."""
        if self._merging is not None and self._merging[0] == graph:
            task = self._merging[1]
            task.cancel()
            await asyncio.wait([task])

    async def close(self) -> None:
        """Cancel what is under way. The next process begins again."""
        await self._watching.close()
        if self._merging is not None:
            await self.abandon(self._merging[0])

    async def _watch_forever(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            due = [known for known in self._resources.graphs.all() if self._is_due(known)]
            if due:
                await self._merge(max(due, key=lambda known: known.unmerged))
            self._watching.note_progress()

    def _is_due(self, known: KnownGraph) -> bool:
        now_s = time.monotonic()
        if not known.unmerged:
            self._waits_since_s.pop(known.name, None)
            return False
        since_s = self._waits_since_s.setdefault(known.name, now_s)
        is_full = known.unmerged >= FULL_SHARE * self._changes_max
        if known.loading is not None or now_s < self._not_before_s.get(known.name, 0.0):
            return False
        return is_full or now_s - since_s >= self._after_s

    async def _merge(self, known: KnownGraph) -> None:
        graph = known.name
        task = asyncio.create_task(self._build(graph), name=f"merge-{graph}")
        self._merging = graph, task
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
            raise
        finally:
            self._merging = None
        self._waits_since_s.pop(graph, None)
        if task.cancelled() or task.exception() is None:
            self._failures.pop(graph, None)
            return
        failures = self._failures[graph] = self._failures.get(graph, 0) + 1
        self._not_before_s[graph] = time.monotonic() + backoff_s(failures, AGAIN_S_FIRST, AGAIN_S_MAX)
        error = task.exception()
        if isinstance(error, (Unavailable, Overloaded, Conflict)):
            log.info("merge will be retried", graph=graph, reason=error.message)
        else:
            log.error("changes not merged", graph=graph, error=str(error), exc_info=error)

    async def _build(self, graph: str) -> None:
        resources = self._resources
        served = resources.graphs.served(graph)
        began_s = time.perf_counter()
        report = await load_from_store(resources, served.stored, served.description.options)
        seconds = round(time.perf_counter() - began_s, 3)
        log.info("changes merged", graph=graph, base_version=report.version, seconds=seconds)
