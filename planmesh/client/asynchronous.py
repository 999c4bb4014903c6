"""The async client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message
from opentelemetry.trace import Tracer

from planmesh.client import core
from planmesh.client.core import Direction, Pair, Rpc
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
from planmesh.client.results import Detail, Matrix, Neighbors, PairAnswer, PatternRows, Plan
from planmesh.client.rows import EdgeTuple, GraphRows, NodeTuple
from planmesh.defaults import ADDRESS_DEFAULT, GRAPH_DEFAULT
from planmesh.rpc import status as rpc_status
from planmesh.rpc.channel import TracedChannel, make_channel
from planmesh.rpc.client_stream import send_stream
from planmesh.v1 import graph_pb2, mesh_pb2

AnyRequest = TypeVar("AnyRequest", bound=Message)
AnyResponse = TypeVar("AnyResponse", bound=Message)


class AsyncClient:
    """A connection to the gateway, for asyncio.

    ::

        async with AsyncClient("127.0.0.1:50051") as client:
            plan = await client.plan("a", "b")

    `graph` and `timeout_s` (seconds) are the defaults of every call. Every method raises the errors of
    `planmesh.errors`. gRPC retries calls that end with UNAVAILABLE, but no load, unload or status. `token` is sent as
    a bearer token. `credentials` make the connection TLS. Calls are client spans of `tracer`, or of the application's
    own OpenTelemetry provider if it has set one.
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
        self.address = address
        self.graph_name = graph
        self.timeout_s = timeout_s
        self._metadata = core.bearer(token)
        self._tracer = tracer
        self._credentials = credentials
        self._channel: TracedChannel | None = None
        self._calls: dict[str, Any] = {}

    async def __aenter__(self) -> AsyncClient:
        self._connected()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        channel, self._channel = self._channel, None
        self._calls.clear()
        if channel is not None:
            await channel.close()

    def _connected(self) -> TracedChannel:
        # Made on first use, not in the constructor: a channel belongs to the event loop that runs then.
        if self._channel is None:
            self._channel = make_channel(
                self.address,
                tracer=core.default_tracer(self._tracer),
                retried=core.RETRIED,
                unretried=core.UNRETRIED,
                credentials=self._credentials,
            )
        return self._channel

    def _call(self, kind: str, rpc: Rpc[Any, Any]) -> Any:
        channel = self._connected()
        call = self._calls.get(rpc.path)
        if call is None:
            call = getattr(channel, kind)(rpc.path, rpc.serialize, rpc.parse)
            self._calls[rpc.path] = call
        return call

    def _peer(self) -> str:
        return f"planmesh at {self.address}"

    async def _unary(
        self, rpc: Rpc[AnyRequest, AnyResponse], request: AnyRequest, timeout_s: float | None
    ) -> AnyResponse:
        call = self._call("unary_unary", rpc)
        limit_s = core.time_limit_s(timeout_s, self.timeout_s)
        try:
            response: AnyResponse = await call(request, timeout=limit_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise rpc_status.from_rpc_error(error, self._peer()) from error
        return response

    async def _stream(
        self, rpc: Rpc[AnyRequest, AnyResponse], request: AnyRequest, timeout_s: float | None
    ) -> AsyncGenerator[AnyResponse, None]:
        stream = self._call("unary_stream", rpc)(request, timeout=timeout_s, metadata=self._metadata)
        try:
            async for message in stream:
                yield message
        except grpc.aio.AioRpcError as error:
            raise rpc_status.from_rpc_error(error, self._peer()) from error
        finally:
            stream.cancel()

    async def plan(
        self,
        start: str,
        goal: str,
        *,
        graph: str | None = None,
        detail: Detail | str = Detail.STEPS,
        explain: bool = False,
        bypass_cache: bool = False,
        timeout_s: float | None = None,
    ) -> Plan:
        """The cheapest path, or as much of it as `detail` says: "cost", "nodes" or "steps".

        Raises GraphUnknown, NodeUnknown, NoPath, InvalidRequest, DeadlineExceeded, Unavailable, Overloaded.
        """
        request = core.plan_request(
            graph or self.graph_name, start, goal, detail=detail, explain=explain, bypass_cache=bypass_cache
        )
        return plan_of((await self._unary(core.PLAN, request, timeout_s)).plan)

    async def plan_many(
        self,
        pairs: Sequence[Pair],
        *,
        graph: str | None = None,
        detail: Detail | str = Detail.STEPS,
        explain: bool = False,
        bypass_cache: bool = False,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[PairAnswer, None]:
        """Answers to (start, goal) pairs, each as soon as it is ready, in no particular order.

        A pair without a plan has an error in its answer; what is raised concerns the whole batch. `detail` is as in
        `plan`. `timeout_s` (BATCH_TIMEOUT_S_DEFAULT) is for each 10,000 pairs.
        """
        limit_s = core.time_limit_s(timeout_s, core.BATCH_TIMEOUT_S_DEFAULT)
        requests = core.plan_many_requests(
            graph or self.graph_name, pairs, detail=detail, explain=explain, bypass_cache=bypass_cache
        )
        for first, request in requests:
            async for message in self._stream(core.PLAN_MANY, request, limit_s):
                for answer in core.pair_answers(first, message):
                    yield answer

    async def plan_matrix(
        self,
        sources: Sequence[str],
        targets: Sequence[str],
        *,
        graph: str | None = None,
        timeout_s: float | None = None,
    ) -> Matrix:
        """The costs of the cheapest paths from every source to every target: 1 to 1,000 of each.

        Where there is no path, the cost is infinite. The whole matrix is computed on one version. `timeout_s` is by
        default BATCH_TIMEOUT_S_DEFAULT. Raises GraphUnknown, NodeUnknown, InvalidRequest, LimitExceeded,
        DeadlineExceeded, Unavailable, Overloaded.
        """
        rows = core.MatrixRows(graph or self.graph_name, sources, targets)
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
        timeout_s: float | None = None,
    ) -> Neighbors:
        """Every node within `depth` (1 to 5) edges of a node."""
        request = core.neighbors_request(graph or self.graph_name, node, depth, direction, max_neighbors)
        return neighbors_of(await self._unary(core.NEIGHBORS, request, timeout_s))

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
            async for batch in _each(batches):
                yield load_message(batch)

        call = self._call("stream_unary", core.LOAD)
        try:
            response: graph_pb2.LoadGraphResponse = await send_stream(
                call, messages(), timeout=limit_s, metadata=self._metadata
            )
        except grpc.aio.AioRpcError as error:
            raise rpc_status.from_rpc_error(error, self._peer()) from error
        return load_report_of(response.report)

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


async def _each(batches: Iterable[GraphRows] | AsyncIterable[GraphRows]) -> AsyncIterator[GraphRows]:
    if isinstance(batches, AsyncIterable):
        async for batch in batches:
            yield batch
        return
    iterator = iter(batches)
    while (batch_or_end := await asyncio.to_thread(next, iterator, None)) is not None:
        yield batch_or_end
