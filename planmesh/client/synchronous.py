"""The sync client: the same calls as the async one, on gRPC's own threads."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar, Unpack

import grpc
from google.protobuf.message import Message
from opentelemetry.trace import Span, Tracer

from planmesh.client import core
from planmesh.client.changes import Change, UpdateAnswer, UpdateBatch, UpdateResult
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
from planmesh.client.sync_streams import exchange, send
from planmesh.client.update_requests import UpdateStream, update_request, update_result
from planmesh.defaults import ADDRESS_DEFAULT, GRAPH_DEFAULT
from planmesh.rpc import status as rpc_status
from planmesh.rpc.channel import channel_options, service_config
from planmesh.rpc.client_spans import end_client_span, start_client_span, with_trace
from planmesh.v1 import graph_pb2, mesh_pb2

AnyRequest = TypeVar("AnyRequest", bound=Message)
AnyResponse = TypeVar("AnyResponse", bound=Message)


class Client:
    """A connection to the gateway, for threads; arguments, methods and errors as those of AsyncClient."""

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
        options = channel_options(service_config(core.RETRIED, core.UNRETRIED))
        self._channel: grpc.Channel = (
            grpc.insecure_channel(address, options)
            if credentials is None
            else grpc.secure_channel(address, credentials, options)
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        self._channel.close()

    @contextmanager
    def _traced(self, rpc: Rpc[Any, Any]) -> Iterator[Any]:
        """The metadata of a call; its span, when there is one, and its error as a planmesh error."""
        tracer = core.default_tracer(self._tracer)
        span: Span | None = start_client_span(tracer, rpc.path) if tracer is not None else None
        code, details = grpc.StatusCode.OK, ""
        try:
            yield with_trace(self._metadata, span)
        except grpc.RpcError as error:
            code, details = error.code(), error.details() or ""
            raise rpc_status.from_rpc_error(error, f"planmesh at {self.address}") from error
        except BaseException:
            code = grpc.StatusCode.CANCELLED
            raise
        finally:
            if span is not None:
                end_client_span(span, code, details)

    def _unary(self, rpc: Rpc[AnyRequest, AnyResponse], request: AnyRequest, timeout_s: float | None) -> AnyResponse:
        call = self._channel.unary_unary(rpc.path, rpc.serialize, rpc.parse)
        limit_s = core.time_limit_s(timeout_s, self.timeout_s)
        with self._traced(rpc) as metadata:
            response: AnyResponse = call(request, timeout=limit_s, metadata=metadata)
        return response

    def _stream(
        self, rpc: Rpc[AnyRequest, AnyResponse], request: AnyRequest, timeout_s: float | None
    ) -> Generator[AnyResponse, None, None]:
        call = self._channel.unary_stream(rpc.path, rpc.serialize, rpc.parse)
        with self._traced(rpc) as metadata:
            stream: Any = call(request, timeout=timeout_s, metadata=metadata)
            try:
                yield from stream
            finally:
                stream.cancel()

    def plan(
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
        """As AsyncClient.plan."""
        options = core.PlanOptions(detail, explain, bypass_cache, min_version, at_version, **path)
        request = core.plan_request(graph or self.graph_name, start, goal, options)
        return plan_of(self._unary(core.PLAN, request, timeout_s).plan)

    def plan_many(
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
    ) -> Generator[PairAnswer, None, None]:
        """As AsyncClient.plan_many."""
        limit_s = core.time_limit_s(timeout_s, core.BATCH_TIMEOUT_S_DEFAULT)
        options = core.PlanOptions(detail, explain, bypass_cache, min_version, at_version, **path)
        for first, request in core.plan_many_requests(graph or self.graph_name, pairs, options):
            for message in self._stream(core.PLAN_MANY, request, limit_s):
                yield from core.pair_answers(first, message)

    def plan_matrix(
        self,
        sources: Sequence[str],
        targets: Sequence[str],
        *,
        graph: str | None = None,
        min_version: int = 0,
        at_version: int | None = None,
        timeout_s: float | None = None,
    ) -> Matrix:
        """As AsyncClient.plan_matrix."""
        rows = core.MatrixRows(graph or self.graph_name, sources, targets, min_version, at_version)
        limit_s = core.time_limit_s(timeout_s, core.BATCH_TIMEOUT_S_DEFAULT)
        for message in self._stream(core.PLAN_MATRIX, rows.request, limit_s):
            rows.add(message)
        return rows.matrix()

    def neighbors(
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
        """As AsyncClient.neighbors."""
        request = core.neighbors_request(
            *(graph or self.graph_name, node, depth, direction, max_neighbors),
            min_version=min_version,
            at_version=at_version,
        )
        return neighbors_of(self._unary(core.NEIGHBORS, request, timeout_s))

    def reachable(
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
        """As AsyncClient.reachable."""
        request = reachable_request(
            *(graph or self.graph_name, node, direction, max_cost, max_hits, counts_only, min_version, at_version),
            (avoid_nodes, avoid_edges, avoid_partitions),
        )
        limit_s = core.time_limit_s(timeout_s, core.BATCH_TIMEOUT_S_DEFAULT)
        return reachable_of(self._stream(core.REACHABLE, request, limit_s))

    def blast_radius(
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
        """As AsyncClient.blast_radius."""
        request = blast_radius_request(
            *(graph or self.graph_name, nodes, edges, sources, min_growth, max_cost, max_hits),
            *(min_version, at_version),
        )
        limit_s = core.time_limit_s(timeout_s, core.BATCH_TIMEOUT_S_DEFAULT)
        return blast_radius_of(self._stream(core.BLAST_RADIUS, request, limit_s))

    def match_pattern(
        self,
        query: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        max_rows: int = 0,
        graph: str | None = None,
        timeout_s: float | None = None,
    ) -> PatternRows:
        """As AsyncClient.match_pattern."""
        request = core.match_request(graph or self.graph_name, query, parameters, max_rows)
        return pattern_rows_of(self._unary(core.MATCH, request, timeout_s))

    def load(
        self,
        rows: Iterable[GraphRows] | None = None,
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
        """As AsyncClient.load; the rows are read in a thread of gRPC's."""
        batches = core.load_rows(rows, nodes, edges)
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
        messages = itertools.chain([header], map(load_message, batches))
        call = self._channel.stream_unary(core.LOAD.path, core.LOAD.serialize, core.LOAD.parse)
        with self._traced(core.LOAD) as metadata:
            response = send(call.future, messages, timeout=limit_s, metadata=metadata)
        return load_report_of(response.report)

    def update_graph(
        self,
        changes: Iterable[Change],
        *,
        graph: str | None = None,
        if_version: int | None = None,
        key: str = "",
        ignore_missing: bool = False,
        timeout_s: float | None = None,
    ) -> UpdateResult:
        """As AsyncClient.update_graph."""
        request = update_request(
            graph or self.graph_name, changes, if_version=if_version, key=key, ignore_missing=ignore_missing
        )
        return update_result(self._unary(core.UPDATE, request, timeout_s))

    def update_graph_stream(
        self,
        batches: Iterable[UpdateBatch | Sequence[Change]],
        *,
        graph: str | None = None,
        timeout_s: float | None = None,
    ) -> Generator[UpdateAnswer, None, None]:
        """As AsyncClient.update_graph_stream; the batches are read in a thread of gRPC's."""
        stream = UpdateStream(graph or self.graph_name)
        rpc, limit_s = core.UPDATE_STREAM, core.time_limit_s(timeout_s, None)
        call = self._channel.stream_stream(rpc.path, rpc.serialize, rpc.parse)
        with self._traced(rpc) as metadata:
            for message in exchange(call, map(stream.message, batches), timeout=limit_s, metadata=metadata):
                yield stream.answer(message)
        stream.check_end()

    def unload(self, *, graph: str | None = None, timeout_s: float | None = None) -> None:
        """As AsyncClient.unload."""
        self._unary(core.UNLOAD, graph_pb2.UnloadGraphRequest(graph=graph or self.graph_name), timeout_s)

    def graph(self, *, graph: str | None = None, timeout_s: float | None = None) -> Graph:
        """As AsyncClient.graph."""
        request = graph_pb2.GetGraphRequest(graph=graph or self.graph_name)
        return graph_of(self._unary(core.GET_GRAPH, request, timeout_s).graph)

    def graphs(self, *, timeout_s: float | None = None) -> list[Graph]:
        """As AsyncClient.graphs."""
        listed = self._unary(core.LIST_GRAPHS, graph_pb2.ListGraphsRequest(), timeout_s)
        return [graph_of(graph) for graph in listed.graphs]

    def node(self, node: str, *, graph: str | None = None, timeout_s: float | None = None) -> Node:
        """As AsyncClient.node."""
        request = graph_pb2.GetNodeRequest(graph=graph or self.graph_name, node=node)
        return node_of(self._unary(core.GET_NODE, request, timeout_s).node)

    def partitions(self, *, graph: str | None = None, timeout_s: float | None = None) -> list[Partition]:
        """As AsyncClient.partitions."""
        found: list[Partition] = []
        token = ""
        while True:
            request = graph_pb2.ListPartitionsRequest(
                graph=graph or self.graph_name, page_size=core.PAGE_SIZE, page_token=token
            )
            page = self._unary(core.LIST_PARTITIONS, request, timeout_s)
            found.extend(map(partition_of, page.partitions))
            token = page.next_page_token
            if not token:
                return found

    def sample_nodes(
        self, count: int, *, seed: int = 0, graph: str | None = None, timeout_s: float | None = None
    ) -> NodeSample:
        """As AsyncClient.sample_nodes."""
        request = core.sample_request(graph or self.graph_name, count, seed)
        response = self._unary(core.SAMPLE_NODES, request, timeout_s)
        return NodeSample(response.version, tuple(response.ids))

    def export(
        self, *, graph: str | None = None, version: int = 0, timeout_s: float | None = None
    ) -> Generator[GraphRows, None, None]:
        """As AsyncClient.export."""
        request = graph_pb2.ExportGraphRequest(graph=graph or self.graph_name, version=version)
        for message in self._stream(core.EXPORT, request, core.time_limit_s(timeout_s, None)):
            yield exported_rows(message)

    def ping(self, *, timeout_s: float | None = None) -> None:
        """As AsyncClient.ping."""
        self._unary(core.PING, mesh_pb2.PingRequest(), timeout_s)

    def status(self, *, timeout_s: float | None = None) -> MeshStatus:
        """As AsyncClient.status."""
        return status_of(self._unary(core.STATUS, mesh_pb2.GetStatusRequest(), timeout_s))
