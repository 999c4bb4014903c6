"""Applies batches of changes: durably, several waiting ones in one transaction, and announces them to coordinators."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from planmesh.errors import Overloaded, PlanmeshError, ServiceUnavailable
from planmesh.internal.v1 import partition_pb2
from planmesh.supervision import OneShotTasks
from planmesh.telemetry import names
from planmesh.telemetry.logs import get_logger
from services.partition.build.resources import BuildResources
from services.partition.catalog.served import KnownGraph
from services.partition.changes.resolution import Applied, Room, work_of
from services.partition.changes.rules import check_request

WAITING_MAX: Final = 1_000
"""Batches of a graph that wait to be applied."""

TOGETHER_MAX: Final = 64
"""Batches in one transaction, which syncs the disk once for all of them."""

REPLAY_RECORDS: Final = 16
REPLAY_BYTES: Final = 2**20
"""Records of the log that are read at once for a new watch, and bytes of a message unless one record has more. A record
has at most as many bytes as a request."""

RETRY_AFTER_S: Final = 1.0

STOPPING: Final = "the partition service is being stopped; try again in a moment"

log = get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Waiting:
    request: partition_pb2.ChangeGraphRequest
    answer: asyncio.Future[Applied]


class Updates:
    """Applies the changes of all graphs, those of each graph one transaction after another."""

    def __init__(self, resources: BuildResources, changes_max: int) -> None:
        """Take the number of changes since the base from which on updates are refused."""
        self._resources = resources
        self._changes_max = changes_max
        self._waiting: dict[str, deque[_Waiting]] = {}
        self._tasks = OneShotTasks()
        self._is_closed = False

    async def apply(self, graph: str, request: partition_pb2.ChangeGraphRequest) -> Applied:
        """Apply a batch, and return when it is durable and announced. A caller that leaves does not stop it.

        Raises the errors of `check_request` and `work_of`; GraphUnknown; Overloaded when too many batches wait, or too
        many changes wait to be merged into the indexes; SnapshotError when the store refuses.
        """
        if self._is_closed:
            raise ServiceUnavailable(STOPPING)
        check_request(request)
        self._resources.graphs.served(graph)
        waiting = self._waiting.setdefault(graph, deque())
        if len(waiting) >= WAITING_MAX:
            raise Overloaded(
                f"expected at most {WAITING_MAX:,} batches of graph {graph!r} to wait; try again in a moment",
                bound="WAITING_MAX",
                retry_after_s=RETRY_AFTER_S,
            )
        one = _Waiting(request, asyncio.get_running_loop().create_future())
        waiting.append(one)
        if len(waiting) == 1:
            self._tasks.start(f"updates-{graph}", self._apply_all(graph, waiting))
        return await asyncio.shield(one.answer)

    async def replay(self, graph: str, after: int) -> AsyncIterator[partition_pb2.ChangedGraph]:
        """Yield the changes after a version, as they are in the log. Raises SnapshotDamaged for a damaged record."""
        while records := await self._resources.store.log(graph, after, REPLAY_RECORDS):
            batches: list[partition_pb2.ChangeBatch] = []
            size_bytes = 0
            for record in records:
                if batches and size_bytes + len(record.payload) > REPLAY_BYTES:
                    yield partition_pb2.ChangedGraph(graph=graph, batches=batches)
                    batches, size_bytes = [], 0
                batches.append(partition_pb2.ChangeBatch.FromString(record.payload))
                size_bytes += len(record.payload)
            yield partition_pb2.ChangedGraph(graph=graph, batches=batches)
            after = records[-1].version

    async def close(self) -> None:
        """Apply nothing more. Batches that wait fail with ServiceUnavailable."""
        self._is_closed = True
        await self._tasks.close()
        for waiting in self._waiting.values():
            _fail(waiting, ServiceUnavailable(STOPPING))

    async def _apply_all(self, graph: str, waiting: deque[_Waiting]) -> None:
        """Apply what waits until nothing does."""
        while waiting:
            some = [waiting[position] for position in range(min(TOGETHER_MAX, len(waiting)))]
            # A load that is being published must not give its version a number that a batch takes.
            async with self._resources.numbering.hold(graph):
                results = await self._apply_together(graph, some)
            for one, result in zip(some, results, strict=True):
                assert waiting.popleft() is one
                if one.answer.done():
                    continue
                if isinstance(result, PlanmeshError):
                    one.answer.set_exception(result)
                    one.answer.exception()  # marks it as retrieved: the caller may have left
                else:
                    one.answer.set_result(result)
        self._waiting.pop(graph, None)

    async def _apply_together(self, graph: str, some: list[_Waiting]) -> list[Applied | PlanmeshError]:
        resources = self._resources
        try:
            base = resources.graphs.served(graph)
            known = resources.graphs.get(graph)
            room = Room(graph, self._changes_max - known.unmerged)
            # Mapping the base's files may read the disk, which the store's thread should not wait for.
            await asyncio.to_thread(base.open)
            results = await resources.store.change(graph, [work_of(one.request, base, room) for one in some])
            self._announce(
                known,
                [one.batch for one in results if isinstance(one, Applied) and one.batch is not None],
            )
        except PlanmeshError as error:
            return [error] * len(some)
        except Exception as error:
            log.exception("changes not applied", graph=graph)
            return [ServiceUnavailable(f"the changes were not applied: {type(error).__name__}: {error}")] * len(some)
        return results

    def _announce(self, known: KnownGraph, batches: list[partition_pb2.ChangeBatch]) -> None:
        if not batches:
            return
        known.changed_version = batches[-1].version
        known.unmerged += sum(len(batch.changes) for batch in batches)
        self._resources.hub.changed(partition_pb2.ChangedGraph(graph=known.name, batches=batches))
        self._resources.telemetry.instruments.graph_version.set(known.changed_version, {names.GRAPH: known.name})


def _fail(waiting: deque[_Waiting], error: PlanmeshError) -> None:
    for one in waiting:
        if not one.answer.done():
            one.answer.set_exception(error)
            one.answer.exception()
    waiting.clear()
