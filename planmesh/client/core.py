"""What both clients share: the rpcs, and how their requests are made. No I/O."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

import orjson
from google.protobuf.message import Message
from opentelemetry import trace as otel_trace
from opentelemetry.trace import NoOpTracerProvider, ProxyTracerProvider, Tracer

from planmesh.client.decoding import detail_number, plan_of, strategy_number
from planmesh.client.graph_results import Strategy
from planmesh.client.results import Detail, Matrix, PairAnswer
from planmesh.client.rows import EdgeTuple, GraphRows, NodeTuple, batches
from planmesh.errors import DeadlineExceeded, InternalError, InvalidRequest
from planmesh.rpc import status as rpc_status
from planmesh.v1 import graph_pb2, mesh_pb2, plan_pb2
from planmesh.version import VERSION

TIMEOUT_S_DEFAULT: Final = 10.0
"""As the gateway's own default."""
BATCH_TIMEOUT_S_DEFAULT: Final = 120.0
"""For up to 10,000 pairs, or a matrix; the gateway allows 600."""
PAIRS_PER_REQUEST_MAX: Final = 10_000
"""The gateway's bound; more pairs are sent as several requests, one after another."""
PAGE_SIZE: Final = 1_000

Direction = Literal["out", "in", "both"]
Pair = tuple[str, str]
"""(start, goal)."""

_DIRECTIONS: Final[dict[str, plan_pb2.Direction.ValueType]] = {
    "out": plan_pb2.DIRECTION_OUT,
    "in": plan_pb2.DIRECTION_IN,
    "both": plan_pb2.DIRECTION_BOTH,
}

AnyRequest = TypeVar("AnyRequest", bound=Message)
AnyResponse = TypeVar("AnyResponse", bound=Message)


@dataclass(frozen=True, slots=True)
class Rpc(Generic[AnyRequest, AnyResponse]):
    """One method on the wire."""

    path: str
    request: type[AnyRequest]
    response: type[AnyResponse]

    @property
    def serialize(self) -> Callable[[AnyRequest], bytes]:
        """Message to bytes."""
        return self.request.SerializeToString

    @property
    def parse(self) -> Callable[[bytes], AnyResponse]:
        """Bytes to message."""
        return self.response.FromString


PLAN_SERVICE: Final = "planmesh.v1.PlanService"
GRAPH_SERVICE: Final = "planmesh.v1.GraphService"
MESH_SERVICE: Final = "planmesh.v1.MeshService"

PLAN: Final = Rpc(f"/{PLAN_SERVICE}/Plan", plan_pb2.PlanRequest, plan_pb2.PlanResponse)
PLAN_MANY: Final = Rpc(f"/{PLAN_SERVICE}/PlanMany", plan_pb2.PlanManyRequest, plan_pb2.PlanManyResponse)
PLAN_MATRIX: Final = Rpc(f"/{PLAN_SERVICE}/PlanMatrix", plan_pb2.PlanMatrixRequest, plan_pb2.PlanMatrixResponse)
NEIGHBORS: Final = Rpc(f"/{PLAN_SERVICE}/GetNeighbors", plan_pb2.GetNeighborsRequest, plan_pb2.GetNeighborsResponse)
REACHABLE: Final = Rpc(f"/{PLAN_SERVICE}/GetReachable", plan_pb2.GetReachableRequest, plan_pb2.GetReachableResponse)
BLAST_RADIUS: Final = Rpc(
    f"/{PLAN_SERVICE}/GetBlastRadius", plan_pb2.GetBlastRadiusRequest, plan_pb2.GetBlastRadiusResponse
)
MATCH: Final = Rpc(f"/{PLAN_SERVICE}/MatchPattern", plan_pb2.MatchPatternRequest, plan_pb2.MatchPatternResponse)
LOAD: Final = Rpc(f"/{GRAPH_SERVICE}/LoadGraph", graph_pb2.LoadGraphRequest, graph_pb2.LoadGraphResponse)
UNLOAD: Final = Rpc(f"/{GRAPH_SERVICE}/UnloadGraph", graph_pb2.UnloadGraphRequest, graph_pb2.UnloadGraphResponse)
UPDATE: Final = Rpc(f"/{GRAPH_SERVICE}/UpdateGraph", graph_pb2.UpdateGraphRequest, graph_pb2.UpdateGraphResponse)
UPDATE_STREAM: Final = Rpc(
    f"/{GRAPH_SERVICE}/UpdateGraphStream", graph_pb2.UpdateGraphStreamRequest, graph_pb2.UpdateGraphStreamResponse
)
GET_GRAPH: Final = Rpc(f"/{GRAPH_SERVICE}/GetGraph", graph_pb2.GetGraphRequest, graph_pb2.GetGraphResponse)
LIST_GRAPHS: Final = Rpc(f"/{GRAPH_SERVICE}/ListGraphs", graph_pb2.ListGraphsRequest, graph_pb2.ListGraphsResponse)
GET_NODE: Final = Rpc(f"/{GRAPH_SERVICE}/GetNode", graph_pb2.GetNodeRequest, graph_pb2.GetNodeResponse)
LIST_PARTITIONS: Final = Rpc(
    f"/{GRAPH_SERVICE}/ListPartitions", graph_pb2.ListPartitionsRequest, graph_pb2.ListPartitionsResponse
)
SAMPLE_NODES: Final = Rpc(f"/{GRAPH_SERVICE}/SampleNodes", graph_pb2.SampleNodesRequest, graph_pb2.SampleNodesResponse)
EXPORT: Final = Rpc(f"/{GRAPH_SERVICE}/ExportGraph", graph_pb2.ExportGraphRequest, graph_pb2.ExportGraphResponse)
PING: Final = Rpc(f"/{MESH_SERVICE}/Ping", mesh_pb2.PingRequest, mesh_pb2.PingResponse)
STATUS: Final = Rpc(f"/{MESH_SERVICE}/GetStatus", mesh_pb2.GetStatusRequest, mesh_pb2.GetStatusResponse)

RETRIED: Final = (PLAN_SERVICE, GRAPH_SERVICE, MESH_SERVICE)
UNRETRIED: Final = (
    (GRAPH_SERVICE, "LoadGraph"),
    (GRAPH_SERVICE, "UpdateGraphStream"),
    (GRAPH_SERVICE, "UnloadGraph"),
    (MESH_SERVICE, "GetStatus"),
)
"""Streams of loads and updates cannot be sent twice; a second unload finds no graph; a status is that of now.
UpdateGraph is retried, because the clients give each update an idempotency key, so that it is applied once."""


def default_tracer(tracer: Tracer | None) -> Tracer | None:
    """The tracer for client spans: the given one, else the application's own; None when it has set no provider."""
    if tracer is not None:
        return tracer
    provider = otel_trace.get_tracer_provider()
    if isinstance(provider, NoOpTracerProvider | ProxyTracerProvider):
        return None
    return provider.get_tracer("planmesh.client", VERSION)


def time_limit_s(timeout_s: float | None, default_s: float | None) -> float | None:
    """The time limit of a call. Raises DeadlineExceeded when it has passed already; gRPC would round it up."""
    limit_s = default_s if timeout_s is None else timeout_s
    if limit_s is not None and limit_s <= 0:
        raise DeadlineExceeded(f"the deadline had passed before the call was made: timeout_s is {limit_s}")
    return limit_s


def bearer(token: str | None) -> tuple[tuple[str, str], ...]:
    """The call metadata of a token."""
    return (("authorization", f"Bearer {token}"),) if token else ()


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What plans have in common, as the clients' methods take it."""

    detail: Detail | str = Detail.STEPS
    explain: bool = False
    bypass_cache: bool = False
    min_version: int = 0
    at_version: int | None = None
    avoid_nodes: Sequence[str] = ()
    avoid_edges: Sequence[Pair] = ()
    avoid_partitions: Sequence[str] = ()
    via: Sequence[str] = ()
    max_cost: float | None = None
    alternatives: int = 0
    max_overlap: float | None = None

    def fields(self) -> dict[str, Any]:
        """The fields of a request. Raises InvalidRequest for a detail that is none, and for what no field can hold."""
        return {
            "explain": self.explain,
            "bypass_cache": self.bypass_cache,
            "detail": detail_number(self.detail),
            "avoid": avoided(self.avoid_nodes, self.avoid_edges, self.avoid_partitions),
            "waypoints": texts("via", self.via),
            "max_cost": self.max_cost,
            "alternatives": unsigned("alternatives", self.alternatives, bits=32),
            "max_overlap": self.max_overlap,
            **version_fields(self.min_version, self.at_version),
        }


def version_fields(min_version: int, at_version: int | None) -> dict[str, int]:
    """The fields for the versions of an answer. Raises InvalidRequest for numbers that are no versions."""
    fields = {"min_version": min_version, **({} if at_version is None else {"at_version": at_version})}
    return {field: unsigned(field, version, bits=64) for field, version in fields.items()}


def unsigned(field: str, value: int, *, bits: int) -> int:
    """The number. Raises InvalidRequest if it does not fit an unsigned field."""
    if not 0 <= value < 2**bits:
        raise InvalidRequest(f"{field}: expected an unsigned number of {bits} bits, got {value}", field=field)
    return value


def texts(field: str, texts: Sequence[str]) -> Sequence[str]:
    """The texts. Raises InvalidRequest for one text: its characters would be the texts."""
    if isinstance(texts, str):
        raise InvalidRequest(f"{field}: expected a sequence of ids, got the text {texts!r}", field=field)
    return texts


def avoided(nodes: Sequence[str], edges: Sequence[Pair], partitions: Sequence[str]) -> plan_pb2.Avoid | None:
    """What a path avoids, None if nothing. Raises InvalidRequest for what is no sequence of ids or pairs."""
    texts("avoid_nodes", nodes)
    texts("avoid_partitions", partitions)
    for edge in edges:
        if isinstance(edge, str) or len(edge) != 2:
            raise InvalidRequest(f"avoid_edges: expected pairs of source and target, got {edge!r}", field="avoid_edges")
    if not nodes and not edges and not partitions:
        return None
    pairs = [plan_pb2.Pair(start=source, goal=target) for source, target in edges]
    return plan_pb2.Avoid(nodes=nodes, edges=pairs, partitions=partitions)


def plan_request(graph: str, start: str, goal: str, options: PlanOptions) -> plan_pb2.PlanRequest:
    """The request of one plan. Raises as PlanOptions.fields does."""
    return plan_pb2.PlanRequest(graph=graph, start=start, goal=goal, **options.fields())


def plan_many_requests(
    graph: str, pairs: Sequence[Pair], options: PlanOptions
) -> Iterator[tuple[int, plan_pb2.PlanManyRequest]]:
    """Requests of at most PAIRS_PER_REQUEST_MAX pairs, each with the position of its first pair.

    The answers may come several in a message. Raises as PlanOptions.fields does.
    """
    fields = options.fields()
    for first in range(0, len(pairs), PAIRS_PER_REQUEST_MAX):
        asked = pairs[first : first + PAIRS_PER_REQUEST_MAX]
        yield (
            first,
            plan_pb2.PlanManyRequest(
                graph=graph,
                pairs=[plan_pb2.Pair(start=start, goal=goal) for start, goal in asked],
                batched=True,
                **fields,
            ),
        )


def pair_answers(first: int, message: plan_pb2.PlanManyResponse) -> Iterator[PairAnswer]:
    """The answers in a message: several, or one if the mesh is older than batched answers.

    `first` is the position of the request's first pair. Raises InternalError as `pair_answer` does.
    """
    if message.answers:
        for answer in message.answers:
            yield pair_answer(first, answer)
    else:
        yield pair_answer(first, message)


def pair_answer(first: int, message: plan_pb2.PlanManyResponse | plan_pb2.PairAnswer) -> PairAnswer:
    """The answer to a pair; `first` is the position of the request's first pair.

    Raises InternalError for a message with neither plan nor status, such as a pair's error from an older gateway.
    """
    index = first + message.index
    match message.WhichOneof("result"):
        case "plan":
            return PairAnswer(index, plan_of(message.plan), None)
        case "status":
            return PairAnswer(index, None, rpc_status.from_status(message.status))
    raise InternalError(
        f"pair {index}: expected a plan or a status, got neither; the gateway and this client may be of versions"
        " that do not fit together (`planmesh status` shows the gateway's)"
    )


class MatrixRows:
    """The rows of a matrix as they arrive."""

    def __init__(
        self, graph: str, sources: Sequence[str], targets: Sequence[str], min_version: int, at_version: int | None
    ) -> None:
        """Raises InvalidRequest when a sequence of ids is a text: its characters would be the ids."""
        self.request = plan_pb2.PlanMatrixRequest(
            graph=graph,
            sources=texts("sources", sources),
            targets=texts("targets", targets),
            **version_fields(min_version, at_version),
        )
        self._rows: list[array[float]] = []
        self._last = plan_pb2.PlanMatrixResponse()

    def add(self, message: plan_pb2.PlanMatrixResponse) -> None:
        """Take the next message. Raises InternalError when it is not the next rows of the same version."""
        width = len(self.request.targets)
        costs = array("d", message.costs)
        if message.first_row != len(self._rows) or len(costs) % width or not costs:
            raise InternalError(
                f"expected rows of {width} costs from row {len(self._rows)}, got {len(costs)} from {message.first_row}"
            )
        if self._rows and message.version != self._last.version:
            raise InternalError(f"expected rows of version {self._last.version}, got version {message.version}")
        self._rows += [costs[begin : begin + width] for begin in range(0, len(costs), width)]
        self._last = message

    def matrix(self) -> Matrix:
        """The whole matrix. Raises InternalError when rows are missing."""
        asked, last = self.request, self._last
        if len(self._rows) != len(asked.sources):
            raise InternalError(f"expected {len(asked.sources)} rows, got {len(self._rows)}")
        return Matrix(
            graph=last.graph,
            version=last.version,
            sources=tuple(asked.sources),
            targets=tuple(asked.targets),
            rows=tuple(self._rows),
            trace_id=last.trace_id,
        )


def neighbors_request(
    graph: str,
    node: str,
    depth: int,
    direction: Direction,
    max_neighbors: int,
    *,
    min_version: int = 0,
    at_version: int | None = None,
) -> plan_pb2.GetNeighborsRequest:
    """The request of a node's neighbours. Raises InvalidRequest for a direction that is none."""
    if direction not in _DIRECTIONS:
        raise InvalidRequest(f"direction: expected out, in or both, got {direction!r}", field="direction")
    if depth < 0 or max_neighbors < 0:
        raise InvalidRequest("depth and max_neighbors: expected no negative number", field="depth")
    return plan_pb2.GetNeighborsRequest(
        graph=graph,
        node=node,
        depth=depth,
        direction=_DIRECTIONS[direction],
        max_neighbors=max_neighbors,
        **version_fields(min_version, at_version),
    )


def match_request(
    graph: str, query: str, parameters: Mapping[str, Any] | None, max_rows: int
) -> plan_pb2.MatchPatternRequest:
    """The request of a pattern. Raises InvalidRequest for parameters that JSON does not have."""
    if not 0 <= max_rows < 2**32:
        raise InvalidRequest(f"max_rows: expected an unsigned number, got {max_rows}", field="max_rows")
    try:
        text = orjson.dumps(dict(parameters)).decode() if parameters else ""
    except (TypeError, orjson.JSONEncodeError) as error:
        raise InvalidRequest(f"parameters: expected values that JSON has: {error}", field="parameters") from error
    return plan_pb2.MatchPatternRequest(graph=graph, query=query, parameters_json=text, max_rows=max_rows)


def load_header(
    graph: str,
    *,
    strategy: Strategy | str | None,
    partitions: int,
    undirected: bool,
    implicit_nodes: bool,
    region_stores: Mapping[str, str] | None,
    domain_stores: Mapping[str, str] | None,
) -> graph_pb2.LoadGraphRequest:
    """The first message of a load. Raises InvalidRequest for an unknown strategy or a number that does not fit."""
    if not 0 <= partitions < 2**32:
        raise InvalidRequest(f"partitions: expected an unsigned number, got {partitions}", field="partitions")
    try:
        chosen = None if strategy is None else Strategy(strategy)
    except ValueError:
        names = ", ".join(Strategy)
        raise InvalidRequest(f"strategy: expected one of {names}, got {strategy!r}", field="strategy") from None
    return graph_pb2.LoadGraphRequest(
        header=graph_pb2.LoadGraphHeader(
            graph=graph,
            strategy=strategy_number(chosen),
            partitions=partitions,
            undirected=undirected,
            implicit_nodes=implicit_nodes,
            region_stores=region_stores,
            domain_stores=domain_stores,
        )
    )


AnyBatches = TypeVar("AnyBatches")


def load_rows(
    rows: AnyBatches | None, nodes: Iterable[NodeTuple] | None, edges: Iterable[EdgeTuple] | None
) -> AnyBatches | Iterator[GraphRows]:
    """The batches of a load: `rows`, or batches of `nodes` and `edges`. Raises InvalidRequest unless one is given."""
    given = nodes is not None or edges is not None
    if (rows is not None) == given:
        raise InvalidRequest("load: expected batches of rows, or edges and nodes", field="rows")
    return batches(nodes, edges) if rows is None else rows


def sample_request(graph: str, count: int, seed: int) -> graph_pb2.SampleNodesRequest:
    """The request of random ids. Raises InvalidRequest for numbers that do not fit the wire."""
    if not 0 <= count < 2**32 or not 0 <= seed < 2**64:
        raise InvalidRequest(f"count and seed: expected unsigned numbers, got {count} and {seed}", field="count")
    return graph_pb2.SampleNodesRequest(graph=graph, count=count, seed=seed)
