"""What plans and neighbour queries ask of shards, and what their failures mean."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, TypeVar

from planmesh.errors import DeadlineExceeded, InternalError, NodeUnknown, ServiceUnavailable, Unavailable
from planmesh.internal.v1 import task_pb2
from planmesh.rpc.deadline import Deadline
from services.coordinator.dispatcher import Answer, Dispatcher, WorkerItemError
from services.coordinator.served_graphs import ServedGraphs
from services.coordinator.versioned_graph import VersionedGraph

RETRIES_MAX: Final = 3
"""Times a question is begun again on a newer version: loads take longer than plans, so one is already rare."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """A node: global number, partition, number within it."""

    node: int
    partition: int
    local: int


class ShardQueries:
    """Reaches the workers of the graphs that are served."""

    def __init__(self, graphs: ServedGraphs, dispatcher: Dispatcher, executor: Executor) -> None:
        self._graphs = graphs
        self._dispatcher = dispatcher
        self._executor = executor

    async def on_one_version(
        self,
        graph_name: str,
        answer: Callable[[VersionedGraph], Awaitable[T]],
        deadline: Deadline,
        note_retry: Callable[[], None] = lambda: None,
    ) -> T:
        """Have a question answered on one version of a graph, and begun again when that one goes away meanwhile.

        Raises what `answer` raises, and ServiceUnavailable when the graph changes faster than it is answered.
        """
        for _ in range(RETRIES_MAX + 1):
            graph = self._graphs.get(graph_name)
            try:
                return await answer(graph)
            except WorkerItemError as error:
                await self._consider(error, graph, deadline)
                note_retry()
        raise ServiceUnavailable(f"the graph changed {RETRIES_MAX} times while it was searched; ask again")

    async def locate(self, graph: VersionedGraph, node_id: str) -> Place:
        """Return where a node is; raises NodeUnknown with near matches."""
        directory = graph.directory
        node = directory.find(node_id)
        if node < 0:
            # Looking for near ones reads many ids, so it is done off the event loop.
            near = await asyncio.get_running_loop().run_in_executor(self._executor, directory.ids.near, node_id)
            raise NodeUnknown(node_id, near)
        partition = directory.partition_of(node)
        return Place(node, partition, node - int(graph.partition_first[partition]))

    async def ask(
        self, graph: VersionedGraph, operations: dict[int, list[task_pb2.Operation]], deadline: Deadline
    ) -> dict[int, Answer]:
        """Have each shard do its operations, all at the same time."""
        shards = list(operations)
        asked = [
            self._dispatcher.ask(
                shard,
                operations[shard],
                graph=graph.name,
                version=graph.version,
                snapshot_url=graph.snapshot_url,
                snapshot_identity=graph.identity,
                sizes=graph,
                deadline=deadline,
            )
            for shard in shards
        ]
        if len(asked) == 1:
            return {shards[0]: await asked[0]}
        tasks = [asyncio.ensure_future(one) for one in asked]
        try:
            return dict(zip(shards, await asyncio.gather(*tasks), strict=True))
        finally:
            # When one has failed nobody waits for the others any more.
            for task in tasks:
                task.cancel()

    async def _consider(self, error: WorkerItemError, graph: VersionedGraph, deadline: Deadline) -> None:
        """Return when the question may be begun again on a newer version; raise otherwise."""
        if error.kind == task_pb2.ITEM_ERROR_KIND_VERSION_GONE:
            await self._graphs.wait_for_other(graph, deadline)
            return
        if error.kind == task_pb2.ITEM_ERROR_KIND_DAMAGED:
            self._graphs.report_damage(graph, error.file)
            raise Unavailable(
                f"file {error.file} of graph {graph.name!r} is damaged and being rebuilt from the store; ask again",
                file=error.file,
            )
        if error.kind == task_pb2.ITEM_ERROR_KIND_EXPIRED:
            raise DeadlineExceeded("the deadline passed while the plan waited for a worker; allow more time")
        raise InternalError(f"a worker failed: {error.message}")
