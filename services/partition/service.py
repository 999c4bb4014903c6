"""The servicer of PartitionService: it checks requests and passes them to loads, removals, repairs and the catalog."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, TypeVar

import grpc.aio
import orjson

from planmesh.errors import PlanmeshError, SnapshotDamaged
from planmesh.internal.v1 import partition_pb2 as pb
from planmesh.internal.v1 import partition_pb2_grpc
from planmesh.rpc.deadline import Deadline
from planmesh.rpc.status import to_status
from planmesh.supervision import log_failure
from planmesh.telemetry.logs import get_logger
from planmesh.telemetry.trace_context import current_trace_id
from planmesh.v1 import graph_pb2
from services.partition.build.freezing import DOWN, frozen_now
from services.partition.build.repair import Repairs
from services.partition.build.resources import BuildResources
from services.partition.catalog import describe
from services.partition.catalog.export import export_graph
from services.partition.catalog.graph_stores import GraphStores
from services.partition.catalog.served import KnownVersion
from services.partition.catalog.watch import Watcher
from services.partition.changes.current_state import CurrentState, describe_changed_node
from services.partition.changes.export import export_changed
from services.partition.changes.updates import Updates
from services.partition.ingest.options import check_graph_name
from services.partition.loads import Loads
from services.partition.removal import Removals

T = TypeVar("T")
PATTERN_DEADLINE_S_DEFAULT: Final = 10.0
PATTERN_DEADLINE_S_MAX: Final = 60.0
PATTERN_TIME_SHARE: Final = 0.9
"""Share of the deadline that the database gets, so that its own timeout error arrives before the caller hangs up."""

UNANSWERED_MAX: Final = 64
"""Batches of one stream that are being applied. Further ones are not read."""

log = get_logger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]


def mark_retrieved(task: asyncio.Task[pb.ChangeGraphResponse]) -> None:
    """Keep asyncio from logging an error that nobody waits for."""
    if not task.cancelled():
        task.exception()


class PartitionServicer(partition_pb2_grpc.PartitionServiceServicer):
    """Serves the gateway (catalog, loads, pattern queries) and the coordinators (watch, reports of damage)."""

    def __init__(
        self,
        resources: BuildResources,
        loads: Loads,
        repairs: Repairs,
        removals: Removals,
        shard_count: int,
        stores: GraphStores,
        updates: Updates,
    ) -> None:
        self._resources = resources
        self._updates = updates
        self._loads = loads
        self._repairs = repairs
        self._removals = removals
        self._shard_count = shard_count
        self._stores = stores

    async def IngestGraph(
        self, request_iterator: AsyncIterator[pb.IngestGraphRequest], context: Context
    ) -> pb.IngestGraphResponse:
        """Do a load. Cancelling the call cancels the load until its rows are sealed, but not afterwards."""
        return pb.IngestGraphResponse(report=await self._loads.load(request_iterator))

    async def ChangeGraph(self, request: pb.ChangeGraphRequest, context: Context) -> pb.ChangeGraphResponse:
        """Apply a batch of changes. A caller that leaves does not stop it."""
        return await self._change(request)

    async def ChangeGraphStream(
        self, request_iterator: AsyncIterator[pb.ChangeGraphStreamRequest], context: Context
    ) -> AsyncIterator[pb.ChangeGraphStreamResponse]:
        """Apply batches in the order of the requests, and answer them in that order."""
        answers: asyncio.Queue[asyncio.Task[pb.ChangeGraphResponse] | None] = asyncio.Queue()
        room = asyncio.Semaphore(UNANSWERED_MAX)

        async def read() -> None:
            try:
                async for message in request_iterator:
                    await room.acquire()
                    # A task begins at once, in the order of creation, so the batches are queued in that order.
                    task = asyncio.create_task(self._change(message.update))
                    task.add_done_callback(mark_retrieved)  # the caller may leave before it gets the answer
                    answers.put_nowait(task)
            finally:
                answers.put_nowait(None)

        reading = asyncio.create_task(read(), name="update-stream")
        try:
            while (task := await answers.get()) is not None:
                try:
                    yield pb.ChangeGraphStreamResponse(response=await task)
                except PlanmeshError as error:
                    yield pb.ChangeGraphStreamResponse(status=to_status(error, current_trace_id()))
                room.release()
            await reading
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    async def _since(self, graph: str, version: int) -> AsyncIterator[pb.ChangedGraph]:
        """Yield what a coordinator needs beside the snapshot of a version."""
        states = self._states(graph, version)
        if states is not None:
            yield states
        async for changed in self._updates.replay(graph, version):
            yield changed

    def _states(self, graph: str, version: int) -> pb.ChangedGraph | None:
        """Return the nodes that were down at the version of a snapshot, None if none was."""
        known = self._resources.graphs.served(graph) if self._resources.graphs.knows_served(graph) else None
        if known is None or known.number != version or not known.description.down_nodes:
            return None
        down = [
            graph_pb2.Change(upsert_node=graph_pb2.UpsertNode(id=node, state=DOWN))
            for node in known.description.down_nodes
        ]
        return pb.ChangedGraph(graph=graph, states=pb.ChangeBatch(version=version, changes=down))

    async def _change(self, request: pb.ChangeGraphRequest) -> pb.ChangeGraphResponse:
        graph = check_graph_name(request.graph)
        try:
            applied = await self._updates.apply(graph, request)
        except SnapshotDamaged as error:
            served = self._resources.graphs.served(graph)
            if served.manifest.find_file(error.file) is not None:
                await self._repairs.report(graph, served.number, error.file)
            raise
        return pb.ChangeGraphResponse(
            graph=graph,
            version=applied.version,
            applied=applied.changes,
            repeated_attempt=applied.batch is None,
        )

    async def RemoveGraph(self, request: pb.RemoveGraphRequest, context: Context) -> pb.RemoveGraphResponse:
        """Stop serving a graph and delete its data, including a sealed build without waiting callers."""
        await self._removals.remove(check_graph_name(request.graph))
        return pb.RemoveGraphResponse()

    async def DescribeGraph(self, request: pb.DescribeGraphRequest, context: Context) -> pb.DescribeGraphResponse:
        """Describe one graph, and a load of it that is in progress."""
        return pb.DescribeGraphResponse(graph=self._resources.graphs.get(check_graph_name(request.graph)).message())

    async def DescribeGraphs(self, request: pb.DescribeGraphsRequest, context: Context) -> pb.DescribeGraphsResponse:
        """Describe all graphs, by name."""
        return pb.DescribeGraphsResponse(graphs=[graph.message() for graph in self._resources.graphs.all()])

    async def DescribeNode(self, request: pb.DescribeNodeRequest, context: Context) -> pb.DescribeNodeResponse:
        """Describe one node. Raises NodeUnknown with similar ids."""
        known = self._served(request.graph)
        graph = self._resources.graphs.get(known.stored.graph)
        if not graph.changed_version:
            node = await self._read(known, lambda: describe.describe_node(known, request.node))
            return pb.DescribeNodeResponse(node=node)
        (found,) = await self._resources.store.change(
            graph.name, [lambda changed: describe_changed_node(CurrentState(known, changed), request.node)]
        )
        if isinstance(found, PlanmeshError):
            raise found
        return pb.DescribeNodeResponse(node=found)

    async def DescribePartitions(
        self, request: pb.DescribePartitionsRequest, context: Context
    ) -> pb.DescribePartitionsResponse:
        """Return one page of a graph's partitions, with the token of the next page."""
        known = self._served(request.graph)
        return await self._read(
            known,
            lambda: describe.describe_partitions(known, request.page_size, request.page_token, self._shard_count),
        )

    async def DrawNodes(self, request: pb.DrawNodesRequest, context: Context) -> pb.DrawNodesResponse:
        """Draw node ids at random, the same ones for the same seed and version."""
        known = self._served(request.graph)
        ids = await self._read(known, lambda: describe.draw_nodes(known, request.count, request.seed))
        return pb.DrawNodesResponse(version=known.number, ids=ids)

    async def ReadGraph(self, request: pb.ReadGraphRequest, context: Context) -> AsyncIterator[pb.ReadGraphResponse]:
        """Stream the rows of one version from the store."""
        name, resources = check_graph_name(request.graph), self._resources
        graph = resources.graphs.get(name)
        if graph.served is not None and graph.changed_version and request.version in {0, graph.newest}:
            frozen = await frozen_now(resources.store, name)
            responses = export_changed(resources.store, graph.served, frozen)
        else:
            responses = export_graph(resources.store, resources.graphs.version(name, request.version))
        async for response in responses:
            yield response

    async def AskStore(self, request: pb.AskStoreRequest, context: Context) -> pb.AskStoreResponse:
        """Run a pattern query on the store that a graph lives in. Such a graph need not be loaded."""
        graph = check_graph_name(request.graph)
        if not self._stores.has(graph):
            self._resources.graphs.get(graph)  # raises GraphUnknown, which explains more than a missing store
        deadline = Deadline.from_context(context, default_s=PATTERN_DEADLINE_S_DEFAULT, max_s=PATTERN_DEADLINE_S_MAX)
        timeout_s = deadline.remaining_s() * PATTERN_TIME_SHARE
        store, answer = await self._stores.match(
            graph, request.query, request.parameters_json, request.max_rows, timeout_s
        )
        return pb.AskStoreResponse(
            graph=graph,
            store=store,
            columns=answer.columns,
            rows_json=[orjson.dumps(row).decode() for row in answer.rows],
            trace_id=current_trace_id(),
        )

    async def WatchGraphs(
        self, request_iterator: AsyncIterator[pb.WatchGraphsRequest], context: Context
    ) -> AsyncIterator[pb.WatchGraphsResponse]:
        """Announce to a coordinator which versions to serve, and receive its reports of adoption."""
        hub = self._resources.hub
        watcher = hub.join()
        listening: asyncio.Task[None] | None = None
        try:
            # Before any ping is answered: the coordinator has all changes when its ping comes back. Changes that are
            # acknowledged meanwhile wait in the watcher, and may come twice.
            for event in watcher.take_waiting():
                yield event
            for graph, served in list(hub.served.items()):
                try:
                    async for changed in self._since(graph, served.version):
                        yield pb.WatchGraphsResponse(changed=changed)
                except SnapshotDamaged as error:
                    # Without these changes the graph is not what was acknowledged, so nothing is answered from it.
                    log.error("graph not announced", graph=graph, error=error.message)
                    yield pb.WatchGraphsResponse(removed=pb.RemovedGraph(graph=graph))
            hub.complete(watcher)
            listening = asyncio.create_task(self._listen(watcher, request_iterator), name="watch-requests")
            async for event in watcher.events():
                yield event
        finally:
            if listening is not None:
                listening.cancel()
                await asyncio.wait([listening])
                log_failure(listening)
            await hub.leave(watcher)

    async def ReportDamage(self, request: pb.ReportDamageRequest, context: Context) -> pb.ReportDamageResponse:
        """Check a file that is reported as damaged, and start to rebuild it if it is."""
        graph = check_graph_name(request.graph)
        return pb.ReportDamageResponse(rebuilding=await self._repairs.report(graph, request.version, request.file))

    async def _listen(self, watcher: Watcher, requests: AsyncIterator[pb.WatchGraphsRequest]) -> None:
        """Receive a coordinator's reports until it hangs up; then end its watch."""
        try:
            async for request in requests:
                await self._resources.hub.receive(watcher, request)
        finally:
            watcher.close()

    def _served(self, graph: str) -> KnownVersion:
        return self._resources.graphs.served(check_graph_name(graph))

    async def _read(self, known: KnownVersion, read: Callable[[], T]) -> T:
        """Read from a snapshot in a thread. If a file is damaged, start its repair and raise SnapshotDamaged."""
        try:
            return await asyncio.to_thread(read)
        except SnapshotDamaged as error:
            await self._repairs.report(known.stored.graph, known.number, error.file)
            raise
