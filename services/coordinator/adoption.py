"""Adoption of one graph by a coordinator: the version it serves, the version it should serve, attempts to open that."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final

from planmesh.errors import (
    DeadlineExceeded,
    ServiceUnavailable,
    SnapshotDamaged,
    SnapshotError,
    Unavailable,
    VersionGone,
)
from planmesh.internal.v1 import partition_pb2
from planmesh.rpc.deadline import Deadline
from planmesh.snapshot.manifest import MANIFEST_NAME
from planmesh.snapshot.reader import SnapshotReader
from planmesh.supervision import backoff_s, log_failure
from planmesh.telemetry.logs import get_logger
from services.coordinator.change_feed import ChangeFeed, Wanted
from services.coordinator.freshness import Freshness
from services.coordinator.versioned_graph import MappedPartitions, VersionedGraph

OPEN_AGAIN_S_FIRST: Final = 0.5
OPEN_AGAIN_S_MAX: Final = 30.0
"""First and longest wait between attempts to open a version. Attempts must be rare, because each one reads the
directory and the overlay."""

PREVIOUS_KEPT_S: Final = 30.0
"""How long the versions of a replaced base can still be asked for. Its files are kept longer, for plans under way."""

MARKS_MAX: Final = 1_000
"""Pings whose changes are being applied. Beyond it, the oldest are forgotten, so that answers count as older."""

APPLIED_S_MAX: Final = 3.0
"""How long a plan waits for changes to be applied before it is refused, as long as for a ping."""

Opener = Callable[[partition_pb2.ServedGraph], VersionedGraph]
"""Opens a version; blocks. Raises the errors of SnapshotReader."""

log = get_logger(__name__)


class AdoptedGraph:
    """A graph that the partition service serves. Its failures do not affect other graphs.

    Attempts to open a version are repeated until one succeeds, another version is wanted, or the graph is removed. The
    previous version is served meanwhile.
    """

    def __init__(
        self,
        name: str,
        open_version: Opener,
        executor: Executor,
        report_adoption: Callable[[partition_pb2.GraphAdoption], None],
        report_damage: Callable[[str, int, str], None],
    ) -> None:
        self._name = name
        self._open_version = open_version
        self._executor = executor
        self._report_adoption = report_adoption
        self._report_damage = report_damage
        self._task: asyncio.Task[None] | None = None
        self._opening = False
        self._wanted_again = False
        self._changed = asyncio.Event()
        self._feed = ChangeFeed(name, executor, self._serve)
        self._previous: VersionedGraph | None = None
        self._replaced_at_s = 0.0
        self._marks: deque[tuple[float, int]] = deque(maxlen=MARKS_MAX)
        """Times of pings that came back, and the newest version that was announced before each came."""
        self.complete_at_s = float("-inf")
        """A time of which the served version has all acknowledged changes, on the monotonic clock."""
        self._completed = asyncio.Event()
        """Set and replaced when that time advances, which is no change that others wait for."""
        self.wanted: partition_pb2.ServedGraph | None = None
        self.current: VersionedGraph | None = None
        """The version on which plans are computed; None before one was opened."""
        self.failure: Unavailable | None = None
        """Why the last attempt to open the wanted version failed; None if it did not."""
        self.attempted = False
        """Whether an attempt has ended, with or without success."""

    def want(self, served: partition_pb2.ServedGraph) -> None:
        """Start to open a version, and serve it when it is open.

        The partition service announces a version again after a repair; then its files are opened again.
        """
        if self._opening and self.wanted == served:
            self._wanted_again = True
            return
        self.cancel()
        self.wanted, self.failure = served, None
        self._wanted_again = False
        self._task = asyncio.create_task(self._open_until_done(served), name=f"adopt-{self._name}")
        self._task.add_done_callback(log_failure)
        self._note_change()

    def take(self, changed: partition_pb2.ChangedGraph) -> None:
        """Take announced changes, and serve the versions that they lead to."""
        self._feed.take(changed)

    def begin_watch(self) -> None:
        """Prepare for a new watch, which announces the version and the changes since its base again."""
        self._feed.restart()
        self._marks.clear()

    def note_pong(self, sent_s: float) -> None:
        """Record that all changes that were acknowledged at a time have been announced; they may still be applied."""
        self._marks.append((sent_s, self._feed.newest_version))
        self._note_complete()

    async def wait_until_fresh(self, freshness: Freshness, deadline: Deadline) -> None:
        """Return when the served version is within the bound, or none is served.

        Raises ServiceUnavailable after APPLIED_S_MAX, or at the deadline.
        """
        if self.current is None or freshness.allows(self.complete_at_s):
            return
        try:
            async with asyncio.timeout(min(APPLIED_S_MAX, deadline.remaining_s())):
                while not freshness.allows(self.complete_at_s):
                    await self._completed.wait()
        except TimeoutError:
            raise ServiceUnavailable(
                f"this coordinator is applying changes of graph {self._name!r}, and serves version "
                f"{self.current.version} of {self._feed.newest_version}; try again in a moment, or ask for a version "
                "that is known (at_version)"
            ) from None

    async def version(self, wanted: Wanted, deadline: Deadline) -> VersionedGraph | None:
        """Return a version that a caller takes, once it is known; None if no version is served yet.

        Raises DeadlineExceeded when it is not known in time, and VersionGone when the version is not kept any more.
        """
        while self.current is not None and self.current.version < wanted.least:
            if not await self.change(deadline.remaining_s()):
                raise DeadlineExceeded(
                    f"graph {self._name!r} has version {self.current.version}, and did not reach version "
                    f"{wanted.least} in time; expected the version of an update, or allow more time"
                )
        current, exact = self.current, wanted.at_version
        if current is None or exact is None or exact == current.version:
            return current
        recent = time.monotonic() - self._replaced_at_s < PREVIOUS_KEPT_S
        for graph in (current, self._previous if recent else None):
            if graph is not None and graph.base_version <= exact <= graph.version:
                return graph.earlier(exact)
        raise VersionGone(
            f"version {exact} of graph {self._name!r} is not kept any more; versions from {current.base_version} to "
            f"{current.version} are",
            version=str(current.version),
        )

    def close(self) -> list[asyncio.Task[None]]:
        """Cancel all work, and return its tasks."""
        return [task for task in (self.cancel(), self._feed.cancel()) if task is not None]

    def cancel(self) -> asyncio.Task[None] | None:
        """Cancel the attempts, and return their task. An attempt in its thread continues, but its result is ignored."""
        task, self._task, self._opening = self._task, None, False
        if task is not None:
            task.cancel()
        self._note_change()
        return task

    @property
    def is_opening(self) -> bool:
        """Whether the wanted version (a new one, or the same after a repair) is being opened and has not failed yet."""
        return self._task is not None and not self._task.done() and self.failure is None

    def serves_base_of(self, graph: VersionedGraph) -> bool:
        """Whether the served version has the same base as another one of this graph."""
        return self.current is not None and self.current.base is graph.base

    async def change(self, timeout_s: float) -> bool:
        """Wait for the next change of an attribute. Return False when there is none within `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def _open_until_done(self, served: partition_pb2.ServedGraph) -> None:
        failures = 0
        while True:
            opened = await self._attempt(served)
            failures = 0 if opened else failures + 1
            if self._wanted_again:
                self._wanted_again = False
            elif opened:
                return
            else:
                await asyncio.sleep(backoff_s(failures, OPEN_AGAIN_S_FIRST, OPEN_AGAIN_S_MAX))

    def _serve(self, graph: VersionedGraph) -> None:
        """Serve a version from now on."""
        if self.current is not None and self.current.base is not graph.base:
            self._previous, self._replaced_at_s = self.current, time.monotonic()
        self.current = graph
        self._note_complete()
        self._note_change()

    def _note_complete(self) -> None:
        """Pass the marks whose changes are in the served version."""
        before_s = self.complete_at_s
        while self._marks and self.current is not None and self._marks[0][1] <= self.current.version:
            self.complete_at_s = max(self.complete_at_s, self._marks.popleft()[0])
        if self.complete_at_s > before_s:
            self._completed.set()
            self._completed = asyncio.Event()

    async def _attempt(self, served: partition_pb2.ServedGraph) -> bool:
        """Open a version in a thread, and report the outcome to the partition service. Return whether it succeeded."""
        adoption = partition_pb2.GraphAdoption(graph=served.graph, version=served.version)
        self._opening = True
        try:
            graph = await asyncio.get_running_loop().run_in_executor(self._executor, self._open_version, served)
            await self._feed.begin(graph)
        except Exception as error:
            # No error of one graph may end the process, and the next attempt may succeed.
            self.failure = self._explain(served, error)
            adoption.failure = f"{type(error).__name__}: {error}"
        else:
            self.failure = None
            log.info("version served", graph=graph.name, version=graph.version, nodes=graph.directory.node_count)
        self._opening = False
        self.attempted = True
        self._note_change()
        self._report_adoption(adoption)
        return not adoption.failure

    def _explain(self, served: partition_pb2.ServedGraph, error: Exception) -> Unavailable:
        """Log a failed attempt, have the damaged file rebuilt, and return the error for callers."""
        facts = {"graph": served.graph, "version": served.version}
        if isinstance(error, (SnapshotDamaged, VersionGone)):
            # The partition service still serves this snapshot, so if it is gone, start with rebuilding the manifest.
            file = error.file if isinstance(error, SnapshotDamaged) else MANIFEST_NAME
            log.error("damaged snapshot", file=file, error=error.message, **facts)
            self._report_damage(served.graph, served.version, file)
            return Unavailable(
                f"file {file} of graph {served.graph!r} is damaged and being rebuilt from the store; try again",
                file=file,
            )
        if isinstance(error, SnapshotError):
            # The partition service serves this version, so its manifest must differ from the one in the store.
            self._report_damage(served.graph, served.version, MANIFEST_NAME)
        log.error("version not adopted", exc_info=error, **facts)
        return Unavailable(
            f"graph {served.graph!r} could not be opened: {type(error).__name__}: {error}; the coordinator will retry, "
            "see its log"
        )

    def _note_change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def open_snapshot(served: partition_pb2.ServedGraph, shard_count: int, *, expands: bool = True) -> VersionedGraph:
    """Open a version's snapshot, its directory and its overlay; blocks. Raises what SnapshotReader does.

    The files of partitions are mapped when they are needed: if the coordinator `expands` segments, or if the graph
    changes.
    """
    reader = SnapshotReader.open(served.snapshot_url)
    return VersionedGraph(
        served.graph,
        served.version,
        served.snapshot_url,
        reader.directory(),
        reader.overlay(),
        shard_count,
        reader.identity,
        MappedPartitions(reader),
        expands=expands,
    )
