"""Keeps one graph at its newest version: takes announced batches of changes, and applies them in order."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final

from planmesh.internal.v1 import coordinator_pb2, partition_pb2
from planmesh.search.delta import CAPACITY_DEFAULT, DeltaFull
from planmesh.supervision import backoff_s
from planmesh.telemetry.logs import get_logger
from services.coordinator.graph_changes import GraphChanges, states_of
from services.coordinator.versioned_graph import VersionedGraph

TOGETHER_MAX: Final = 256
"""Batches that are applied before the version that they lead to is served."""

AGAIN_S_FIRST: Final = 0.1
AGAIN_S_MAX: Final = 5.0
"""First and longest wait before changes that could not be applied are applied again."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The versions that a caller takes: at least `min_version`, and exactly `at_version` if that is not None."""

    min_version: int = 0
    at_version: int | None = None

    @property
    def least(self) -> int:
        """The version that has to be known before the caller can be answered."""
        return self.min_version if self.at_version is None else self.at_version


NEWEST: Final = Wanted()

WantingRequest = (
    coordinator_pb2.ComputePlanRequest
    | coordinator_pb2.ComputePlansRequest
    | coordinator_pb2.ComputeMatrixRequest
    | coordinator_pb2.ComputeNeighborsRequest
    | coordinator_pb2.ComputeReachableRequest
    | coordinator_pb2.ComputeBlastRadiusRequest
)


def wanted_by(request: WantingRequest) -> Wanted:
    """Return the versions that a request takes."""
    exact = request.at_version if request.HasField("at_version") else None
    return Wanted(request.min_version, exact) if request.min_version or exact is not None else NEWEST


class ChangeFeed:
    """The batches of a graph since its base, and the task that applies them to the served version.

    `serve` is called on the event loop with each version that is complete.
    """

    def __init__(self, name: str, executor: Executor, serve: Callable[[VersionedGraph], None]) -> None:
        self._name = name
        self._executor = executor
        self._serve = serve
        self._batches: dict[int, partition_pb2.ChangeBatch] = {}
        """By version."""
        self._announced_states: dict[int, partition_pb2.ChangeBatch] = {}
        """States of nodes at the version of a base, by that version."""
        self._states: list[partition_pb2.ChangeBatch] = []
        """Those of the served base, if there are any."""
        self.newest_version = 0
        """The newest version whose changes were announced; 0 if none were."""
        self._is_continued = False
        """Whether the served base was announced by the present watch."""
        self._graph: VersionedGraph | None = None
        self._changes: GraphChanges | None = None
        self._arrived = asyncio.Event()
        self._applying = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def take(self, changed: partition_pb2.ChangedGraph) -> None:
        """Take announced changes; those that are known already are ignored."""
        if changed.HasField("states"):
            self._announced_states[changed.states.version] = changed.states
        for batch in changed.batches:
            self.newest_version = max(self.newest_version, batch.version)
            if batch.version > self._base_version:
                self._batches.setdefault(batch.version, batch)
        self._arrived.set()

    def restart(self) -> None:
        """Forget what was announced: a new watch announces again all that is needed.

        What is served stays served. It may be of a store that was replaced meanwhile, so it says nothing about the
        nodes of the base that is announced next.
        """
        self._batches.clear()
        self._announced_states.clear()
        self.newest_version = 0
        self._is_continued = False

    async def begin(self, graph: VersionedGraph) -> None:
        """Serve a base, with the changes since then, from now on; it was just opened.

        The version that was served before is served until that has been done. Raises what GraphChanges does.
        """
        async with self._applying:
            version = graph.base_version
            states = self._announced_states.get(version)
            if self._is_continued and self._changes is not None and self._precedes(graph):
                states = states_of(self._changes.down_at(version), version)
            kept = [states] if states is not None and states.changes else []
            batches = [*kept, *self._after(version)]
            changes = await self._run(lambda: GraphChanges.of(graph, batches)) if batches else None
            self._states, self._is_continued = kept, True
            self._graph, self._changes = graph, changes
            self._forget(graph.base_version)
            self._publish()
        if self._task is None:
            self._task = asyncio.create_task(self._apply_forever(), name=f"changes-{self._name}")
        self._arrived.set()

    def cancel(self) -> asyncio.Task[None] | None:
        """End the task, and return it."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        return task

    @property
    def _base_version(self) -> int:
        return 0 if self._graph is None else self._graph.base_version

    def _precedes(self, base: VersionedGraph) -> bool:
        """Whether a base was built from the served graph and its changes: then the feed has passed its version."""
        assert self._graph is not None
        version = self._graph.base_version if self._changes is None else self._changes.version
        return self._graph.base_version <= base.base_version <= version

    def _after(self, version: int) -> list[partition_pb2.ChangeBatch]:
        """Return the batches that follow a version without a gap: a load between two is a base of its own."""
        found: list[partition_pb2.ChangeBatch] = []
        while (batch := self._batches.get(version + len(found) + 1)) is not None:
            found.append(batch)
        return found

    def _forget(self, version: int) -> None:
        self._batches = {number: batch for number, batch in self._batches.items() if number > version}
        self._announced_states = {number: batch for number, batch in self._announced_states.items() if number > version}

    def _publish(self) -> None:
        assert self._graph is not None
        if self._changes is None:
            self._serve(self._graph)
        else:
            self._serve(self._graph.at(self._changes.version, self._changes.view()))

    async def _apply_forever(self) -> None:
        failures = 0
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            try:
                async with self._applying:
                    while await self._apply():
                        pass
                failures = 0
            except Exception:
                # The batch may be half applied, which no version says; all changes are made again from the base.
                failures += 1
                log.exception("changes not applied", graph=self._name)
                self._changes = None
                self._arrived.set()
                await asyncio.sleep(backoff_s(failures, AGAIN_S_FIRST, AGAIN_S_MAX))

    async def _apply(self) -> bool:
        """Apply the next batches; return whether there were any."""
        graph, changes = self._graph, self._changes
        assert graph is not None
        if changes is not None:
            batches = self._after(changes.version)[:TOGETHER_MAX]
            if not batches:
                return False
            try:
                await self._run(functools.partial(_apply_all, changes, batches))
            except DeltaFull:
                changes = None
        if changes is None:
            batches = self._after(graph.base_version)
            if not batches:
                return False
            capacity = CAPACITY_DEFAULT if self._changes is None else 2 * self._changes.capacity
            self._changes = await self._run(lambda: GraphChanges.of(graph, [*self._states, *batches], capacity))
        self._publish()
        return True

    async def _run(self, work: Callable[[], GraphChanges]) -> GraphChanges:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _apply_all(changes: GraphChanges, batches: Sequence[partition_pb2.ChangeBatch]) -> GraphChanges:
    for batch in batches:
        changes.apply(batch)
    return changes
