"""Queries to shards for plans and neighbours, and the handling of their failures."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, TypeVar

from planmesh.dispatch.queues import server_of
from planmesh.errors import DeadlineExceeded, InternalError, NodeDown, NodeUnknown, ServiceUnavailable, Unavailable
from planmesh.internal.v1 import task_pb2
from planmesh.rpc.deadline import Deadline
from planmesh.search.delta import DOWN
from services.coordinator.change_feed import NEWEST, Wanted
from services.coordinator.dispatch_errors import WorkerItemError
from services.coordinator.dispatcher import Answer, Dispatcher
from services.coordinator.served_graphs import ServedGraphs
from services.coordinator.versioned_graph import VersionedGraph

RETRIES_MAX: Final = 3
"""Restarts of a plan on a newer version. Loads take longer than plans, so even one restart is rare."""

NO_PARTITION: Final = -1
"""In place of the partition and the local number of a node that is new since the base."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """Location of a node: its global number, its partition, and its local number in the partition.

    A node that is new since the base has NO_PARTITION.
    """

    node: int
    partition: int
    local: int


class ShardQueries:
    """Queries the workers of the graphs that are served."""

    def __init__(self, graphs: ServedGraphs, dispatchers: Sequence[Dispatcher], executor: Executor) -> None:
        """Take a dispatcher for each Redis server."""
        self._graphs = graphs
        self._dispatchers = dispatchers
        self._executor = executor

    async def on_one_version(
        self,
        graph_name: str,
        answer: Callable[[VersionedGraph], Awaitable[T]],
        deadline: Deadline,
        note_retry: Callable[[], None] = lambda: None,
        wanted: Wanted = NEWEST,
    ) -> T:
        """Call `answer` with a version of a graph that is `wanted`; call it again with the next if its base is removed.

        `note_retry` is called before each restart. Raises what `answer` raises, and ServiceUnavailable after
        RETRIES_MAX restarts.
        """
        for _ in range(RETRIES_MAX + 1):
            graph = await self._graphs.get_wanted(graph_name, deadline, wanted)
            try:
                return await answer(graph)
            except WorkerItemError as error:
                await self._consider(error, graph, deadline)
                note_retry()
        raise ServiceUnavailable(f"the graph changed {RETRIES_MAX} times while it was searched; try again")

    async def locate(self, graph: VersionedGraph, node_id: str) -> Place:
        """Return the location of a node.

        Raises NodeUnknown, with similar ids, when the graph does not have it; NodeDown when it is down.
        """
        directory, changes = graph.directory, graph.changes
        node = directory.find(node_id) if changes is None else changes.find(node_id)
        if node < 0:
            # The search for similar ids reads many ids, so it runs in a thread.
            near = await asyncio.get_running_loop().run_in_executor(self._executor, directory.ids.near, node_id)
            raise NodeUnknown(node_id, near)
        if changes is not None:
            if changes.delta.state(node) == DOWN:
                raise NodeDown(f"node {node_id!r} is down, so no plan leads from or to it", node=node_id)
            if node >= graph.node_count:
                return Place(node, NO_PARTITION, NO_PARTITION)
        partition = directory.partition_of(node)
        return Place(node, partition, node - int(graph.partition_first[partition]))

    async def ask(
        self, graph: VersionedGraph, operations: dict[int, list[task_pb2.Operation]], deadline: Deadline
    ) -> dict[int, Answer]:
        """Send each shard its operations, concurrently, and return the answers by shard.

        Raises the first error of Dispatcher.ask; the other shards' work is then cancelled.
        """
        if len(operations) == 1:
            ((shard, one),) = operations.items()
            return {shard: await self._ask(graph, shard, one, deadline)}
        tasks = self.begin(graph, operations, deadline)
        try:
            return dict(zip(tasks, await asyncio.gather(*tasks.values()), strict=True))
        finally:
            # After a failure, the results of the other shards are not needed.
            for task in tasks.values():
                task.cancel()

    def begin(
        self, graph: VersionedGraph, operations: dict[int, list[task_pb2.Operation]], deadline: Deadline
    ) -> dict[int, asyncio.Task[Answer]]:
        """Send each shard its operations, and return a task for each answer. The caller cancels what it leaves."""
        return {
            shard: asyncio.create_task(self._ask(graph, shard, some, deadline)) for shard, some in operations.items()
        }

    async def _ask(
        self, graph: VersionedGraph, shard: int, operations: list[task_pb2.Operation], deadline: Deadline
    ) -> Answer:
        return await self._dispatchers[server_of(shard, len(self._dispatchers))].ask(
            shard,
            operations,
            graph=graph.name,
            version=graph.base_version,
            snapshot_url=graph.snapshot_url,
            snapshot_identity=graph.identity,
            sizes=graph,
            deadline=deadline,
        )

    def report_damage(self, graph: VersionedGraph, file: str) -> None:
        """Have a damaged file rebuilt, in the background."""
        self._graphs.report_damage(graph, file)

    async def _consider(self, error: WorkerItemError, graph: VersionedGraph, deadline: Deadline) -> None:
        """Return when the plan can restart on a newer version; otherwise raise the caller's error."""
        if error.kind == task_pb2.ITEM_ERROR_KIND_VERSION_GONE:
            await self._graphs.wait_for_other(graph, deadline)
            return
        if error.kind == task_pb2.ITEM_ERROR_KIND_DAMAGED:
            self._graphs.report_damage(graph, error.file)
            raise Unavailable(
                f"file {error.file} of graph {graph.name!r} is damaged and being rebuilt from the store; try again",
                file=error.file,
            )
        if error.kind == task_pb2.ITEM_ERROR_KIND_EXPIRED:
            raise DeadlineExceeded("the deadline passed while the plan waited for a worker; allow more time")
        raise InternalError(f"a worker failed: {error.message}")
