"""The rpcs of PartitionService: what comes in is checked and handed to the part that does it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, TypeVar

import grpc.aio
import orjson

from planmesh.errors import SnapshotDamaged
from planmesh.internal.v1 import partition_pb2 as pb
from planmesh.internal.v1 import partition_pb2_grpc
from planmesh.rpc.deadline import Deadline
from planmesh.supervision import log_failure
from planmesh.telemetry.trace_context import current_trace_id
from services.partition.build.repair import Repairs
from services.partition.build.resources import BuildResources
from services.partition.catalog import describe
from services.partition.catalog.export import export_graph
from services.partition.catalog.graph_stores import GraphStores
from services.partition.catalog.served import KnownVersion
from services.partition.catalog.watch import Watcher
from services.partition.ingest.options import check_graph_name
from services.partition.loads import Loads
from services.partition.removal import Removals

T = TypeVar("T")
PATTERN_DEADLINE_S_DEFAULT: Final = 10.0
PATTERN_DEADLINE_S_MAX: Final = 60.0
PATTERN_TIME_SHARE: Final = 0.9
"""Part of the deadline that the database gets, so that its own refusal comes before the caller hangs up."""

Context = grpc.aio.ServicerContext[Any, Any]


class PartitionServicer(partition_pb2_grpc.PartitionServiceServicer):
    """Serves the catalog and takes loads."""

    def __init__(
        self,
        resources: BuildResources,
        loads: Loads,
        repairs: Repairs,
        removals: Removals,
        shard_count: int,
        stores: GraphStores,
    ) -> None:
        self._resources = resources
        self._loads = loads
        self._repairs = repairs
        self._removals = removals
        self._shard_count = shard_count
        self._stores = stores

    async def IngestGraph(
        self, request_iterator: AsyncIterator[pb.IngestGraphRequest], context: Context
    ) -> pb.IngestGraphResponse:
        """Do a load. Cancelling the call abandons it until its rows are sealed, and not from then on."""
        return pb.IngestGraphResponse(report=await self._loads.load(request_iterator))

    async def RemoveGraph(self, request: pb.RemoveGraphRequest, context: Context) -> pb.RemoveGraphResponse:
        """Stop serving a graph and delete its data, a build of it that nobody waits for included."""
        await self._removals.remove(check_graph_name(request.graph))
        return pb.RemoveGraphResponse()

    async def DescribeGraph(self, request: pb.DescribeGraphRequest, context: Context) -> pb.DescribeGraphResponse:
        """Describe one graph, and a load of it."""
        return pb.DescribeGraphResponse(graph=self._resources.graphs.get(check_graph_name(request.graph)).message())

    async def DescribeGraphs(self, request: pb.DescribeGraphsRequest, context: Context) -> pb.DescribeGraphsResponse:
        """Describe all graphs."""
        return pb.DescribeGraphsResponse(graphs=[graph.message() for graph in self._resources.graphs.all()])

    async def DescribeNode(self, request: pb.DescribeNodeRequest, context: Context) -> pb.DescribeNodeResponse:
        """Describe one node."""
        known = self._served(request.graph)
        node = await self._read(known, lambda: describe.describe_node(known, request.node))
        return pb.DescribeNodeResponse(node=node)

    async def DescribePartitions(
        self, request: pb.DescribePartitionsRequest, context: Context
    ) -> pb.DescribePartitionsResponse:
        """Report partitions, page by page."""
        known = self._served(request.graph)
        return await self._read(
            known,
            lambda: describe.describe_partitions(known, request.page_size, request.page_token, self._shard_count),
        )

    async def DrawNodes(self, request: pb.DrawNodesRequest, context: Context) -> pb.DrawNodesResponse:
        """Draw ids at random."""
        known = self._served(request.graph)
        ids = await self._read(known, lambda: describe.draw_nodes(known, request.count, request.seed))
        return pb.DrawNodesResponse(version=known.number, ids=ids)

    async def ReadGraph(self, request: pb.ReadGraphRequest, context: Context) -> AsyncIterator[pb.ReadGraphResponse]:
        """Stream one version out of the store."""
        known = self._resources.graphs.version(check_graph_name(request.graph), request.version)
        async for response in export_graph(self._resources.store, known):
            yield response

    async def AskStore(self, request: pb.AskStoreRequest, context: Context) -> pb.AskStoreResponse:
        """Ask a pattern of the store that a graph lives in. A graph that has a store need not be loaded."""
        graph = check_graph_name(request.graph)
        if not self._stores.has(graph):
            self._resources.graphs.get(graph)  # one that nobody knows is told as such
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
        """Tell a coordinator what to serve, and hear what it has taken up."""
        watcher = self._resources.hub.join()
        listening = asyncio.create_task(self._listen(watcher, request_iterator), name="watch-requests")
        try:
            async for event in watcher.events():
                yield event
        finally:
            listening.cancel()
            await asyncio.wait([listening])
            log_failure(listening)
            await self._resources.hub.leave(watcher)

    async def ReportDamage(self, request: pb.ReportDamageRequest, context: Context) -> pb.ReportDamageResponse:
        """Have a damaged file rebuilt."""
        graph = check_graph_name(request.graph)
        return pb.ReportDamageResponse(rebuilding=await self._repairs.report(graph, request.version, request.file))

    async def _listen(self, watcher: Watcher, requests: AsyncIterator[pb.WatchGraphsRequest]) -> None:
        """Hear a coordinator until it hangs up, which ends its watch."""
        try:
            async for request in requests:
                await self._resources.hub.heard(watcher, request)
        finally:
            watcher.close()

    def _served(self, graph: str) -> KnownVersion:
        return self._resources.graphs.served(check_graph_name(graph))

    async def _read(self, known: KnownVersion, read: Callable[[], T]) -> T:
        """Read from a snapshot off the event loop; a damaged file is rebuilt, and the caller told to come again."""
        try:
            return await asyncio.to_thread(read)
        except SnapshotDamaged as error:
            await self._repairs.report(known.stored.graph, known.number, error.file)
            raise
