"""One graph as a coordinator takes it up: the version served, the one wanted, and the attempts to open that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final

from planmesh.errors import SnapshotDamaged, SnapshotError, Unavailable, VersionGone
from planmesh.internal.v1 import partition_pb2
from planmesh.snapshot.manifest import MANIFEST_NAME
from planmesh.snapshot.reader import SnapshotReader
from planmesh.supervision import backoff_s, log_failure
from planmesh.telemetry.logs import get_logger
from services.coordinator.versioned_graph import VersionedGraph

OPEN_AGAIN_S_FIRST: Final = 0.5
OPEN_AGAIN_S_MAX: Final = 30.0
"""Back-off of a version that cannot be opened. An attempt reads directory and overlay, so it must not be frequent."""

Opener = Callable[[partition_pb2.ServedGraph], VersionedGraph]
"""Opens a version; blocks. Raises what SnapshotReader does."""

log = get_logger(__name__)


class AdoptedGraph:
    """A graph that the partition service serves. Its attempts concern no other graph.

    A version that cannot be opened is tried again until it can be, or another is wanted, or the graph is dropped;
    meanwhile the one before it is served.
    """

    def __init__(
        self,
        name: str,
        open_version: Opener,
        executor: Executor,
        tell: Callable[[partition_pb2.GraphAdoption], None],
        report_damage: Callable[[str, int, str], None],
    ) -> None:
        self._name = name
        self._open_version = open_version
        self._executor = executor
        self._tell = tell
        self._report_damage = report_damage
        self._task: asyncio.Task[None] | None = None
        self._opening = False
        self._told_again = False
        self._changed = asyncio.Event()
        self.wanted: partition_pb2.ServedGraph | None = None
        self.current: VersionedGraph | None = None
        """What plans are answered on."""
        self.failure: Unavailable | None = None
        """Why the wanted version could not be opened by the last attempt."""
        self.attempted = False
        """An attempt has ended, well or not."""

    def want(self, served: partition_pb2.ServedGraph) -> None:
        """Open a version and serve it. One that is told a second time was repaired: its files are opened again."""
        if self._opening and self.wanted == served:
            self._told_again = True
            return
        self.cancel()
        self.wanted, self.failure = served, None
        self._told_again = False
        self._task = asyncio.create_task(self._open_until_done(served), name=f"adopt-{self._name}")
        self._task.add_done_callback(log_failure)
        self._note_change()

    def cancel(self) -> asyncio.Task[None] | None:
        """Give the attempts up. One in its thread goes on there, and what it opens is not used."""
        task, self._task, self._opening = self._task, None, False
        if task is not None:
            task.cancel()
        self._note_change()
        return task

    @property
    def is_opening(self) -> bool:
        """What is wanted, another version or the same one after a repair, is being opened; no attempt has failed."""
        return self._task is not None and not self._task.done() and self.failure is None

    async def change(self, timeout_s: float) -> bool:
        """Return True at the next change of any attribute, False when there is none within `timeout_s`."""
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
            if self._told_again:
                self._told_again = False
            elif opened:
                return
            else:
                await asyncio.sleep(backoff_s(failures, OPEN_AGAIN_S_FIRST, OPEN_AGAIN_S_MAX))

    async def _attempt(self, served: partition_pb2.ServedGraph) -> bool:
        """Open a version off the event loop, and tell the partition service how that went."""
        adoption = partition_pb2.GraphAdoption(graph=served.graph, version=served.version)
        self._opening = True
        try:
            graph = await asyncio.get_running_loop().run_in_executor(self._executor, self._open_version, served)
        except Exception as error:
            # Whatever it is, it is this graph's trouble, and may be over at the next attempt.
            self.failure = self._explain(served, error)
            adoption.failure = f"{type(error).__name__}: {error}"
        else:
            self.current, self.failure = graph, None
            log.info("version served", graph=graph.name, version=graph.version, nodes=graph.directory.node_count)
        self._opening = False
        self.attempted = True
        self._note_change()
        self._tell(adoption)
        return not adoption.failure

    def _explain(self, served: partition_pb2.ServedGraph, error: Exception) -> Unavailable:
        """Log a failed attempt, have the file at fault rebuilt, and return what callers are told."""
        facts = {"graph": served.graph, "version": served.version}
        if isinstance(error, (SnapshotDamaged, VersionGone)):
            # A snapshot that is gone though it is served lacks its manifest first of all.
            file = error.file if isinstance(error, SnapshotDamaged) else MANIFEST_NAME
            log.error("damaged snapshot", file=file, error=error.message, **facts)
            self._report_damage(served.graph, served.version, file)
            return Unavailable(
                f"file {file} of graph {served.graph!r} is damaged and being rebuilt from the store; ask again",
                file=file,
            )
        if isinstance(error, SnapshotError):
            # The partition service serves it, so it is a manifest that says what the store's does not.
            self._report_damage(served.graph, served.version, MANIFEST_NAME)
        log.error("version not taken up", exc_info=error, **facts)
        return Unavailable(
            f"graph {served.graph!r} could not be opened: {type(error).__name__}: {error}; it is tried again, see the "
            "coordinator's log"
        )

    def _note_change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def open_snapshot(served: partition_pb2.ServedGraph, shard_count: int) -> VersionedGraph:
    """Open a version's snapshot, its directory and its overlay; blocks. Raises what SnapshotReader does."""
    reader = SnapshotReader.open(served.snapshot_url)
    return VersionedGraph(
        served.graph,
        served.version,
        served.snapshot_url,
        reader.directory(),
        reader.overlay(),
        shard_count,
        reader.identity,
    )
