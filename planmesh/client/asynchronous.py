"""The async client."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Unpack

import grpc
from opentelemetry.trace import Tracer

from planmesh.client import core
from planmesh.client.async_connection import AsyncConnection, each
from planmesh.client.changes import Change, UpdateAnswer, UpdateBatch, UpdateResult
from planmesh.client.core import Direction, Pair
from planmesh.client.decoding import (
    exported_rows,
    graph_of,
    load_message,
    load_report_of,
    neighbors_of,
    node_of,
    partition_of,
    pattern_rows_of,
    plan_of,
    status_of,
)
from planmesh.client.graph_results import Graph, LoadReport, Node, NodeSample, Partition, Strategy
from planmesh.client.mesh_results import MeshStatus
from planmesh.client.reach_results import (
    BlastRadius,
    Reachable,
    ReachDirection,
    blast_radius_of,
    blast_radius_request,
    reachable_of,
    reachable_request,
)
from planmesh.client.results import Detail, Matrix, Neighbors, PairAnswer, PathKeywords, PatternRows, Plan
from planmesh.client.rows import EdgeTuple, GraphRows, NodeTuple
from planmesh.client.update_requests import UpdateStream, update_request, update_result
from planmesh.defaults import ADDRESS_DEFAULT, GRAPH_DEFAULT
from planmesh.v1 import graph_pb2, mesh_pb2


class AsyncClient(AsyncConnection):
    """A connection to the gateway, for asyncio.

    ::

        async with AsyncClient("127.0.0.1:50051") as client:
            plan = await client.plan("a", "b")

    `graph` and `timeout_s` (seconds) are the defaults of every call. Every method raises the errors of
    `planmesh.errors`. gRPC retries calls that end with UNAVAILABLE, but no load, unload, status or stream of updates.
    `token` is sent as a bearer token. `credentials` make the connection TLS. Calls are client spans of `tracer`, or of
    the application's own OpenTelemetry provider if it has set one.
    """

    def __init__(
        self,
        address: str = ADDRESS_DEFAULT,
        *,
        graph: str = GRAPH_DEFAULT,
        timeout_s: float = core.TIMEOUT_S_DEFAULT,
        token: str | None = None,
        tracer: Tracer | None = None,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        super().__init__(address, timeout_s, token, tracer, credentials)
        self.graph_name = graph

    async def plan(
        self,
        start: str,
        goal: str,
        *,
        graph: str | None = None,
        detail: Detail | str = Detail.STEPS,
        explain: bool = False,
        bypass_cache: bool = False,
        min_version: int = 0,
        at_version: int | None = None,
        timeout_s: float | None = None,
        **path: Unpack[PathKeywords],
    ) -> Plan:
        """The cheapest path, or as much of it as `detail` says: "cost", "nodes" or "steps".

        `min_version` waits, within the time limit, for this version of the graph or a later one: that of an update to
        read one's own writes. `at_version` answers on exactly this version. `path` is what the path avoids and passes,
        what it may cost, and how many alternatives it shall have: see PathKeywords.

        Raises GraphUnknown, NodeUnknown, NoPath, NodeDown, VersionGone, InvalidRequest, DeadlineExceeded, Unavailable,
        Overloaded.
        """
        options = core.PlanOptions(detail, explain, bypass_cache, min_version, at_version, **path)
        request = core.plan_request(graph or self.graph_name, start, goal, options)
        return plan_of((await self._unary(core.PLAN, request, timeout_s)).plan)

    async def plan_many(
        self,
        pairs: Sequence[Pair],
        *,
        graph: str | None = None,
        detail: Detail | str = Detail.STEPS,
        explain: bool = False,
        bypass_cache: bool = False,
        min_version: int = 0,
        at_version: int | None = None,
        timeout_s: float | None = None,
        **path: Unpack[PathKeywords],
    ) -> AsyncGenerator[PairAnswer, None]:
        """Answers to (start, goal) pairs, each as soon as it is ready, in no particular order.

        A pair without a plan has an error in its answer; what is raised concerns the whole batch. The options
        are as in `plan`. `timeout_s` (BATCH_TIMEOUT_S_DEFAULT) is for each 10,000 pairs.
        """
        limit_s = core.time_limit_s(timeout_s, core.BATCH_TIMEOUT_S_DEFAULT)
        options = core.PlanOptions(detail, explain, bypass_cache, min_version, at_version, **path)
        for first, request in core.plan_many_requests(graph or self.graph_name, pairs, options):
            async for message in self._stream(core.PLAN_MANY, request, limit_s):
                for answer in core.pair_answers(first, message):
                    yield answer

    async def plan_matrix(
        self,
        sources: Sequence[str],
        targets: Sequence[str],
        *,
        graph: str | None = None,
        min_version: int = 0,
        at_version: int | None = None,
        timeout_s: float | None = None,
    ) -> Matrix:
        """The costs of the cheapest paths from every source to every target: 1 to 1,000 of each.

        Where there is no path, the cost is infinite. The whole matrix is computed on one version. `timeout_s` is by
        default BATCH_TIMEOUT_S_DEFAULT. Raises GraphUnknown, NodeUnknown, InvalidRequest, LimitExceeded,
        DeadlineExceeded, Unavailable, Overloaded.
        """
        rows = core.MatrixRows(graph or self.graph_name, sources, targets, min_version, at_version)
        limit_s = core.time_limit_s(timeout_s, core.BATCH_TIMEOUT_S_DEFAULT)
        async for message in self._stream(core.PLAN_MATRIX, rows.request, limit_s):
            rows.add(message)
        return rows.matrix()

    async def neighbors(
        self,
        node: str,
        *,
        depth: int = 1,
        direction: Direction = "out",
        max_neighbors: int = 0,
        graph: str | None = None,
        min_version: int = 0,
        at_version: int | None = None,
        timeout_s: float | None = None,
    ) -> Neighbors:
        """Every node within `depth` (1 to 5) edges of a node."""
        request = core.neighbors_request(
            *(graph or self.graph_name, node, depth, direction, max_neighbors),
            min_version=min_version,
            at_version=at_version,
        )
        return neighbors_of(await self._unary(core.NEIGHBORS, request, timeout_s))

    async def reachable(
        self,
        node: str,
        *,
        direction: ReachDirection = "out",
        max_cost: float | None = None,
        max_hits: int = 0,
        counts_only: bool = False,
        graph: str | None = None,
        min_version: int = 0,
        at_version: int | None = None,
        avoid_nodes: Sequence[str] = (),
        avoid_edges: Sequence[Pair] = (),
        avoid_partitions: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> Reachable:
        """All nodes that paths from a node lead to ("out"), or from which paths lead to it ("in"), on one version.

        More than `max_hits` (10,000 if 0, at most 1,000,000) within `max_cost` raise LimitExceeded. `counts_only`
        leaves the hits out. Paths use nothing that is avoided, as in `plan`.

        Raises GraphUnknown, NodeUnknown, NodeDown, VersionGone, InvalidRequest, LimitExceeded, DeadlineExceeded,
        Unavailable, Overloaded.
        """
        request = reachable_request(
            *(graph or self.graph_name, node, direction, max_cost, max_hits, counts_only, min_version, at_version),
            (avoid_nodes, avoid_edges, avoid_partitions),
        )
        limit_s = core.time_limit_s(timeout_s, core.BATCH_TIMEOUT_S_DEFAULT)
        return reachable_of([message async for message in self._stream(core.REACHABLE, request, limit_s)])

    async def blast_radius(
        self,
        nodes: Sequence[str] = (),
        edges: Sequence[Pair] = (),
        *,
        sources: Sequence[str] = (),
        min_growth: float | None = None,
        max_cost: float | None = None,
        max_hits: int = 0,
        graph: str | None = None,
        min_version: int = 0,
        at_version: int | None = None,
        timeout_s: float | None = None,
    ) -> BlastRadius:
        """What `sources` lose when nodes and edges fail: nodes that they reach no more, on one version.

        With `min_growth`, also the nodes whose least cost grows by more than this factor. Without sources, those are
        judged from which an edge leads to what fails, at most 100. `max_cost` leaves out paths that cost more before.

        Raises as `reachable` does.
        """
        request = blast_radius_request(
            *(graph or self.graph_name, nodes, edges, sources, min_growth, max_cost, max_hits),
            *(min_version, at_version),
        )
        limit_s = core.time_limit_s(timeout_s, core.BATCH_TIMEOUT_S_DEFAULT)
        return blast_radius_of([message async for message in self._stream(core.BLAST_RADIUS, request, limit_s)])

    async def match_pattern(
        self,
        query: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        max_rows: int = 0,
        graph: str | None = None,
        timeout_s: float | None = None,
    ) -> PatternRows:
        """What the graph's own store answers to a pattern in its language, read-only: Cypher for Neo4j.

        Values go into `parameters`, which the query names ($name), never into its text. Raises PatternRefused with the
        store's own reason, PatternsUnsupported, LimitExceeded for more than `max_rows` (0 is 1,000, at most 10,000).
        """
        request = core.match_request(graph or self.graph_name, query, parameters, max_rows)
        return pattern_rows_of(await self._unary(core.MATCH, request, timeout_s))

    async def load(
        self,
        rows: Iterable[GraphRows] | AsyncIterable[GraphRows] | None = None,
        *,
        edges: Iterable[EdgeTuple] | None = None,
        nodes: Iterable[NodeTuple] | None = None,
        graph: str | None = None,
        strategy: Strategy | str | None = None,
        partitions: int = 0,
        undirected: bool = False,
        implicit_nodes: bool = False,
        region_stores: Mapping[str, str] | None = None,
        domain_stores: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> LoadReport:
        """Replace a whole graph, and return when plans are answered on it.

        Either `edges` and `nodes` give the graph as tuples, or `rows` as batches of NodeRows and EdgeRows. Without
        `nodes`, or with `implicit_nodes`, the ends of the edges are nodes. A plain iterable is read in a thread; an
        error that it raises ends the load and is raised here. `undirected` edges lead both ways. `partitions` 0 lets
        the strategy choose their number, `strategy` None lets the mesh choose one. `region_stores` and
        `domain_stores` name the store in which the nodes of a label live, by URL without a password; `partitions()`
        returns them. `timeout_s` None is no limit.

        Raises InvalidGraph for a row that breaks a rule, Conflict while another load of the same graph runs.
        """
        batches: Iterable[GraphRows] | AsyncIterable[GraphRows] = core.load_rows(rows, nodes, edges)
        header = core.load_header(
            graph or self.graph_name,
            strategy=strategy,
            partitions=partitions,
            undirected=undirected,
            implicit_nodes=implicit_nodes or (rows is None and nodes is None),
            region_stores=region_stores,
            domain_stores=domain_stores,
        )
        limit_s = core.time_limit_s(timeout_s, None)

        async def messages() -> AsyncIterator[graph_pb2.LoadGraphRequest]:
            yield header
            async for batch in each(batches):
                yield load_message(batch)

        response = await self._send(core.LOAD, messages(), limit_s)
        return load_report_of(response.report)

    async def update_graph(
        self,
        changes: Iterable[Change],
        *,
        graph: str | None = None,
        if_version: int | None = None,
        key: str = "",
        ignore_missing: bool = False,
        timeout_s: float | None = None,
    ) -> UpdateResult:
        """Apply 1 to 10,000 changes, in their order: all of them, as one new version, or none.

        When it returns, the changes are durable; a plan with `min_version=result.version` sees them. `if_version`
        applies them only to that version. `key` (at most 128 bytes) is an idempotency key: a batch that is sent again
        with its key is applied once. Without one, a random key makes gRPC's own retries safe. `ignore_missing` lets
        deletions name what does not exist.

        Raises InvalidChange and ChangeTargetUnknown, whose metadata name the change and the field, VersionConflict,
        KeyReused, GraphUnknown, InvalidRequest, Overloaded, DeadlineExceeded, Unavailable.
        """
        request = update_request(
            graph or self.graph_name, changes, if_version=if_version, key=key, ignore_missing=ignore_missing
        )
        return update_result(await self._unary(core.UPDATE, request, timeout_s))

    async def update_graph_stream(
        self,
        batches: Iterable[UpdateBatch | Sequence[Change]] | AsyncIterable[UpdateBatch | Sequence[Change]],
        *,
        graph: str | None = None,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[UpdateAnswer, None]:
        """Apply batches in their order, and yield an answer to each, in the same order; many may be in flight.

        A batch that is refused has an error in its answer and no effect; the stream goes on. What is raised ends the
        stream: batches without an answer may or may not have been applied. gRPC does not retry them, so give a batch a
        key to send it again. The gateway ends a stream that is idle for two minutes. A plain iterable is read in a
        thread. `timeout_s` None is no limit.
        """
        stream = UpdateStream(graph or self.graph_name)
        messages = (stream.message(batch) async for batch in each(batches))
        async for message in self._exchange(core.UPDATE_STREAM, messages, core.time_limit_s(timeout_s, None)):
            yield stream.answer(message)
        stream.check_end()

    async def unload(self, *, graph: str | None = None, timeout_s: float | None = None) -> None:
        """Stop serving a graph and delete its data."""
        await self._unary(core.UNLOAD, graph_pb2.UnloadGraphRequest(graph=graph or self.graph_name), timeout_s)

    async def graph(self, *, graph: str | None = None, timeout_s: float | None = None) -> Graph:
        """Counts, version and state of a graph. Raises GraphUnknown."""
        request = graph_pb2.GetGraphRequest(graph=graph or self.graph_name)
        return graph_of((await self._unary(core.GET_GRAPH, request, timeout_s)).graph)

    async def graphs(self, *, timeout_s: float | None = None) -> list[Graph]:
        """Every graph, by name."""
        listed = await self._unary(core.LIST_GRAPHS, graph_pb2.ListGraphsRequest(), timeout_s)
        return [graph_of(graph) for graph in listed.graphs]

    async def node(self, node: str, *, graph: str | None = None, timeout_s: float | None = None) -> Node:
        """One node. Raises NodeUnknown."""
        request = graph_pb2.GetNodeRequest(graph=graph or self.graph_name, node=node)
        return node_of((await self._unary(core.GET_NODE, request, timeout_s)).node)

    async def partitions(self, *, graph: str | None = None, timeout_s: float | None = None) -> list[Partition]:
        """Every partition; `timeout_s` is for a page of 1,000."""
        found: list[Partition] = []
        token = ""
        while True:
            request = graph_pb2.ListPartitionsRequest(
                graph=graph or self.graph_name, page_size=core.PAGE_SIZE, page_token=token
            )
            page = await self._unary(core.LIST_PARTITIONS, request, timeout_s)
            found.extend(map(partition_of, page.partitions))
            token = page.next_page_token
            if not token:
                return found

    async def sample_nodes(
        self, count: int, *, seed: int = 0, graph: str | None = None, timeout_s: float | None = None
    ) -> NodeSample:
        """At most 20,000 ids drawn uniformly at random, with repetition."""
        request = core.sample_request(graph or self.graph_name, count, seed)
        response = await self._unary(core.SAMPLE_NODES, request, timeout_s)
        return NodeSample(response.version, tuple(response.ids))

    async def export(
        self, *, graph: str | None = None, version: int = 0, timeout_s: float | None = None
    ) -> AsyncGenerator[GraphRows, None]:
        """The stored rows of one version, nodes first; version 0 is the served one. `timeout_s` None is no limit."""
        request = graph_pb2.ExportGraphRequest(graph=graph or self.graph_name, version=version)
        async for message in self._stream(core.EXPORT, request, core.time_limit_s(timeout_s, None)):
            yield exported_rows(message)

    async def ping(self, *, timeout_s: float | None = None) -> None:
        """An empty call through gateway and coordinator."""
        await self._unary(core.PING, mesh_pb2.PingRequest(), timeout_s)

    async def status(self, *, timeout_s: float | None = None) -> MeshStatus:
        """The state of the processes, shards and graphs, and the coordinator's counters."""
        return status_of(await self._unary(core.STATUS, mesh_pb2.GetStatusRequest(), timeout_s))
