"""Bad input, and what it gets: every row of the contract but the last parts, which test_processes_away has."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from planmesh.client import Client, EdgeRows, GraphRows, GraphState, NodeRows, RowOrigin
from planmesh.client.decoding import load_message
from planmesh.errors import DeadlineExceeded, InvalidGraph, LimitExceeded, NodeUnknown
from planmesh.ingest import Columns, open_source
from planmesh.sources.client_rows import rows_to_send
from planmesh.v1 import graph_pb2, plan_pb2
from tests.conftest import RunningMesh
from tests.mesh.small_graph import SmallGraph
from tests.mesh.wire import DEADLINE_S, Wire, refusal

pytestmark = pytest.mark.mesh

GRAPH = "bad-input"
SERVED = SmallGraph(
    {"alpha": "left", "beta": "left", "gamma": "right", "delta": "right", "lonely": "right"},
    [("alpha", "beta", 1.0), ("beta", "gamma", 2.0), ("gamma", "delta", 4.0), ("delta", "alpha", 8.0)],
)


@pytest.fixture(scope="module")
def version(client: Client) -> int:
    """The version that is served before, while and after all that is wrong."""
    return SERVED.load(client, GRAPH).version


@pytest.fixture(autouse=True)
def still_served(client: Client, version: int) -> Iterator[None]:
    """After every test plans are answered, exactly and on the version of before."""
    yield
    plan = client.plan("alpha", "delta", graph=GRAPH, bypass_cache=True)
    SERVED.check_plan(plan)
    assert (plan.cost, plan.version) == (7.0, version)


# Nodes, paths, deadlines.


@pytest.mark.parametrize(("start", "goal"), [("alpa", "beta"), ("beta", "alpa")])
def test_an_unknown_node_of_a_plan_is_named_with_near_ones(wire: Wire, start: str, goal: str) -> None:
    refused = refusal(wire.plans.Plan, plan_pb2.PlanRequest(graph=GRAPH, start=start, goal=goal))
    assert (refused.code, refused.reason) == ("NOT_FOUND", "NODE_UNKNOWN")
    assert refused.metadata["node"] == "alpa"
    assert refused.metadata["near"].split("\n")[0] == "alpha"
    assert "alpa" in refused.message
    assert "alpha" in refused.message


def test_an_unknown_node_of_other_questions(wire: Wire, client: Client) -> None:
    questions: list[tuple[Callable[..., Any], Any]] = [
        (wire.plans.GetNeighbors, plan_pb2.GetNeighborsRequest(graph=GRAPH, node="gamm")),
        (wire.graphs.GetNode, graph_pb2.GetNodeRequest(graph=GRAPH, node="gamm")),
    ]
    for call, request in questions:
        refused = refusal(call, request)
        assert (refused.code, refused.reason, refused.metadata["node"]) == ("NOT_FOUND", "NODE_UNKNOWN", "gamm")
        assert "gamma" in refused.metadata["near"].split("\n")
    with pytest.raises(NodeUnknown) as told:
        client.plan("gamm", "alpha", graph=GRAPH)
    assert told.value.near[0] == "gamma"


def test_no_path_is_certain_and_no_time_out(wire: Wire) -> None:
    refused = refusal(wire.plans.Plan, plan_pb2.PlanRequest(graph=GRAPH, start="alpha", goal="lonely"))
    assert (refused.code, refused.reason) == ("NOT_FOUND", "NO_PATH")
    assert (refused.metadata["start"], refused.metadata["goal"]) == ("alpha", "lonely")
    assert len(refused.metadata["trace_id"]) == 32


def test_start_equals_goal(client: Client, version: int) -> None:
    for node in ("alpha", "lonely"):
        plan = client.plan(node, node, graph=GRAPH)
        assert (plan.cost, plan.steps, plan.start, plan.goal, plan.version) == (0.0, (), node, node, version)
    with pytest.raises(NodeUnknown):
        client.plan("nobody", "nobody", graph=GRAPH)


@pytest.mark.parametrize("timeout_s", [-1.0, 0.0, 1e-9, 1e-4])
def test_a_deadline_that_has_passed(wire: Wire, client: Client, timeout_s: float) -> None:
    request = plan_pb2.PlanRequest(graph=GRAPH, start="alpha", goal="delta", bypass_cache=True)
    assert refusal(wire.plans.Plan, request, timeout_s).code == "DEADLINE_EXCEEDED"
    with pytest.raises(DeadlineExceeded):
        client.plan("alpha", "delta", graph=GRAPH, bypass_cache=True, timeout_s=timeout_s)


# Rows of a load.

E, N = RowOrigin("e"), RowOrigin("n")
NODES = NodeRows(["x", "y"], origin=RowOrigin("nodes.csv", unit="line", first=2))


def edges(*costs: float) -> EdgeRows:
    return EdgeRows(["x"] * len(costs), ["y"] * len(costs), costs, origin=RowOrigin("edges.csv", unit="line", first=2))


BAD_ROWS: dict[str, tuple[list[GraphRows], tuple[str, str, str]]] = {
    "negative cost": ([NODES, edges(1, 2, -3)], ("edges.csv", "line 4", "cost")),
    "least negative cost": ([NODES, edges(-5e-324)], ("edges.csv", "line 2", "cost")),
    "NaN": ([NODES, edges(1, math.nan)], ("edges.csv", "line 3", "cost")),
    "infinite": ([NODES, edges(math.inf)], ("edges.csv", "line 2", "cost")),
    "too dear": ([NODES, edges(1e301)], ("edges.csv", "line 2", "cost")),
    "costs missing": ([NODES, EdgeRows(["x", "y"], ["y", "x"], [1], origin=E)], ("e", "record 2", "cost")),
    "target missing": ([NODES, EdgeRows(["x", "y"], ["y"], origin=E)], ("e", "record 2", "target")),
    "duplicate in a batch": ([NodeRows(["x", "y", "x"], origin=RowOrigin("n", unit="line"))], ("n", "line 3", "id")),
    "duplicate in another": ([NODES, NodeRows(["z", "y"], origin=RowOrigin("more"))], ("more", "record 2", "id")),
    "unknown source": ([NODES, EdgeRows(["x", "nobody"], ["y", "y"], origin=E)], ("e", "record 2", "source")),
    "unknown target": ([EdgeRows(["x"], ["nobody"], (), RowOrigin("e", first=9)), NODES], ("e", "record 9", "target")),
    "empty id": ([NodeRows(["x", ""], origin=N)], ("n", "record 2", "id")),
    "oversized id": ([NodeRows(["x", "é" * 257], origin=N)], ("n", "record 2", "id")),
    "control character": ([NodeRows(["x\ny"], origin=N)], ("n", "record 1", "id")),
    "empty end": ([NODES, EdgeRows([""], ["y"], origin=E)], ("e", "record 1", "source")),
    "oversized domain": ([NodeRows(["x"], ["d" * 513], origin=N)], ("n", "record 1", "domain")),
}


@pytest.mark.parametrize(("parts", "place"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_row_refuses_the_load_whole(
    client: Client, version: int, parts: list[GraphRows], place: tuple[str, str, str]
) -> None:
    with pytest.raises(InvalidGraph) as told:
        client.load(parts, graph=GRAPH, timeout_s=DEADLINE_S)
    metadata = told.value.metadata
    assert (metadata["source"], metadata["record"], metadata["field"]) == place
    assert all(part in told.value.message for part in place)
    described = client.graph(graph=GRAPH)
    assert (described.version, described.state, described.loading) == (version, GraphState.SERVING, None)


def truncated_gzip() -> bytes:
    rows = "".join(f"n{number},n{number + 1},{number}\n" for number in range(20_000))
    packed = gzip.compress(f"source,target,cost\n{rows}".encode())
    return packed[: len(packed) // 2]


BAD_FILES: dict[str, tuple[str, bytes, bytes, dict[str, str]]] = {
    "cost that is no number": (
        "edges.csv",
        b"source,target,cost\nx,y,1\ny,x,much\n",
        b"",
        {"source": "edges.csv", "record": "line 3", "field": "cost"},
    ),
    "row too short": ("edges.csv", b"source,target,cost\nx,y,1\ny\n", b"", {"source": "edges.csv", "record": "line 3"}),
    "column missing": ("edges.csv", b"from,to\nx,y\n", b"", {"source": "edges.csv", "field": "source"}),
    "duplicate node": (
        "edges.csv",
        b"source,target\nx,y\n",
        b"id\nx\ny\nx\n",
        {"source": "nodes.csv", "record": "line 4", "field": "id"},
    ),
    "unknown node": (
        "edges.csv",
        b"source,target\nx,y\nx,z\n",
        b"id\nx\ny\n",
        {"source": "edges.csv", "record": "line 3", "field": "target"},
    ),
    "not UTF-8": ("edges.csv", b"source,target\nx,y\n\xff\xfe,y\n", b"", {"source": "edges.csv", "record": "line 3"}),
    "truncated gzip": ("edges.csv.gz", truncated_gzip(), b"", {"source": "edges.csv.gz"}),
    "broken JSON": ("graph.json", b'{"nodes": [{"id": "x"}], "edges": [{"source"', b"", {"source": "graph.json"}),
    "broken Parquet": ("edges.parquet", b"PAR1 and nothing more", b"", {"source": "edges.parquet"}),
    "broken DIMACS": ("roads.gr", b"p sp 2 1\na 1 two 3\n", b"", {"source": "roads.gr", "record": "line 2"}),
}


@pytest.mark.parametrize(("name", "content", "nodes", "place"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_broken_file_is_named(
    client: Client, tmp_path: Path, name: str, content: bytes, nodes: bytes, place: dict[str, str]
) -> None:
    (tmp_path / name).write_bytes(content)
    if nodes:
        (tmp_path / "nodes.csv").write_bytes(nodes)

    def load() -> None:
        source = open_source(tmp_path / name, tmp_path / "nodes.csv" if nodes else None, Columns.named())
        implicit = source.description.implicit_nodes
        client.load(rows_to_send(source), graph=GRAPH, implicit_nodes=implicit, timeout_s=DEADLINE_S)

    with pytest.raises(InvalidGraph) as told:
        load()
    assert {key: told.value.metadata[key] for key in place} == place
    assert all(part in told.value.message for part in place.values())


def test_the_command_line_names_the_place_too(mesh: RunningMesh, tmp_path: Path) -> None:
    (tmp_path / "edges.csv.gz").write_bytes(truncated_gzip())
    result = mesh.cli("load", str(tmp_path / "edges.csv.gz"), "--graph", GRAPH, "--json", code=1)
    error = json.loads(result.stdout)["error"]
    assert (error["code"], error["reason"]) == ("INVALID_ARGUMENT", "INVALID_GRAPH")
    assert error["metadata"]["source"] == "edges.csv.gz"
    assert "Traceback" not in result.stderr


def test_a_first_load_that_is_refused_leaves_no_graph(client: Client, wire: Wire) -> None:
    with pytest.raises(InvalidGraph):
        client.load([NODES, edges(-1)], graph="never-there", timeout_s=DEADLINE_S)
    asked = refusal(wire.graphs.GetGraph, graph_pb2.GetGraphRequest(graph="never-there"))
    assert (asked.code, asked.reason) == ("NOT_FOUND", "GRAPH_UNKNOWN")
    assert "never-there" not in [graph.name for graph in client.graphs()]


def test_parallel_edges_and_loops(client: Client) -> None:
    rows = [("a", "b", 5.0), ("a", "b", 3.0), ("a", "a", 0.0), ("a", "b", 4.0), ("b", "c", 1.0), ("c", "c", 0.0)]
    for undirected, counts in ((False, (2, 2, 2)), (True, (4, 4, 4))):
        graph = SmallGraph({"a": "", "b": "", "c": ""}, rows, undirected)
        report = graph.load(client, "parallel")
        assert (report.edges, report.parallel_edges, report.self_loops) == counts
        plan = client.plan("a", "c", graph="parallel")
        graph.check_plan(plan)
        assert (plan.cost, len(plan.steps)) == (4.0, 2)


# Graphs.

NAMED: list[tuple[str, str, Any]] = [
    ("plans", "Plan", plan_pb2.PlanRequest(start="a", goal="b")),
    ("plans", "GetNeighbors", plan_pb2.GetNeighborsRequest(node="a")),
    ("graphs", "GetGraph", graph_pb2.GetGraphRequest()),
    ("graphs", "GetNode", graph_pb2.GetNodeRequest(node="a")),
    ("graphs", "ListPartitions", graph_pb2.ListPartitionsRequest()),
    ("graphs", "SampleNodes", graph_pb2.SampleNodesRequest(count=1)),
    ("graphs", "ExportGraph", graph_pb2.ExportGraphRequest()),
    ("graphs", "UnloadGraph", graph_pb2.UnloadGraphRequest()),
]


def assert_unknown(wire: Wire, client: Client, graph: str) -> None:
    for stub, method, request in NAMED:
        request.graph = graph
        refused = refusal(getattr(getattr(wire, stub), method), request)
        assert (refused.code, refused.reason, refused.metadata["graph"]) == ("NOT_FOUND", "GRAPH_UNKNOWN", graph), (
            method
        )
    answers = list(client.plan_many([("a", "b")] * 3, graph=graph))
    assert [type(answer.error).__name__ for answer in answers] == ["GraphUnknown"] * 3


def test_an_unknown_graph(wire: Wire, client: Client) -> None:
    assert_unknown(wire, client, "never-loaded")


def test_an_unloaded_graph_and_its_name_used_again(wire: Wire, client: Client) -> None:
    nodes = {"a": "", "b": ""}
    for cost in (1.0, 2.0):
        # The same pair on another graph of the same name: nothing that was kept of the first may answer.
        SmallGraph(nodes, [("a", "b", cost)]).load(client, "unloaded")
        for _ in range(2):
            plan = client.plan("a", "b", graph="unloaded")
            assert (plan.cost, [step.cost for step in plan.steps]) == (cost, [cost])
        client.unload(graph="unloaded")
        assert_unknown(wire, client, "unloaded")


@pytest.mark.parametrize("name", ["Capital", "../up", "..", "a/b", "x" * 65, "a b"])
def test_a_name_that_no_graph_can_have(wire: Wire, name: str) -> None:
    refused = refusal(wire.plans.Plan, plan_pb2.PlanRequest(graph=name, start="a", goal="b"))
    assert (refused.code, refused.reason, refused.field) == ("INVALID_ARGUMENT", "INVALID_REQUEST", "graph")


# Bounds.


def load_stream(*requests: graph_pb2.LoadGraphRequest) -> Iterator[graph_pb2.LoadGraphRequest]:
    yield from requests


HEADER = graph_pb2.LoadGraphRequest(header=graph_pb2.LoadGraphHeader(graph=GRAPH))
MESSAGE_BYTES_MAX = 16 * 2**20
BOUNDS: dict[str, tuple[Callable[[Wire], Any], Any, str, str]] = {
    "depth": (
        lambda wire: wire.plans.GetNeighbors,
        plan_pb2.GetNeighborsRequest(graph=GRAPH, node="alpha", depth=6),
        "INVALID_ARGUMENT",
        "depth: expected at most 5",
    ),
    "neighbours asked for": (
        lambda wire: wire.plans.GetNeighbors,
        plan_pb2.GetNeighborsRequest(graph=GRAPH, node="alpha", max_neighbors=100_001),
        "INVALID_ARGUMENT",
        "max_neighbors: expected at most 100000",
    ),
    "neighbours found": (
        lambda wire: wire.plans.GetNeighbors,
        plan_pb2.GetNeighborsRequest(graph=GRAPH, node="alpha", depth=3, max_neighbors=2),
        "RESOURCE_EXHAUSTED",
        "max_neighbors",
    ),
    "pairs": (
        lambda wire: wire.plans.PlanMany,
        plan_pb2.PlanManyRequest(graph=GRAPH, pairs=[plan_pb2.Pair(start="alpha", goal="beta")] * 10_001),
        "RESOURCE_EXHAUSTED",
        "at most 10000 pairs",
    ),
    "no pairs": (
        lambda wire: wire.plans.PlanMany,
        plan_pb2.PlanManyRequest(graph=GRAPH),
        "INVALID_ARGUMENT",
        "1 to 10000 pairs",
    ),
    "an id of a plan": (
        lambda wire: wire.plans.Plan,
        plan_pb2.PlanRequest(graph=GRAPH, start="alpha", goal="g" * 513),
        "INVALID_ARGUMENT",
        "goal: expected at most 512 bytes",
    ),
    "no id": (
        lambda wire: wire.plans.Plan,
        plan_pb2.PlanRequest(graph=GRAPH, start="", goal="beta"),
        "INVALID_ARGUMENT",
        "start: expected a text that is not empty",
    ),
    "an id of a batch": (
        lambda wire: wire.plans.PlanMany,
        plan_pb2.PlanManyRequest(graph=GRAPH, pairs=[plan_pb2.Pair(start="alpha", goal="a\tb")]),
        "INVALID_ARGUMENT",
        "pairs[0].goal: expected no control characters",
    ),
    "a page": (
        lambda wire: wire.graphs.ListPartitions,
        graph_pb2.ListPartitionsRequest(graph=GRAPH, page_size=1_001),
        "INVALID_ARGUMENT",
        "page_size: expected at most 1000",
    ),
    "a sample": (
        lambda wire: wire.graphs.SampleNodes,
        graph_pb2.SampleNodesRequest(graph=GRAPH, count=20_001),
        "INVALID_ARGUMENT",
        "count: expected at most 20000",
    ),
    "a message": (
        lambda wire: wire.plans.Plan,
        plan_pb2.PlanRequest(graph=GRAPH, start="s" * (MESSAGE_BYTES_MAX + 1), goal="beta"),
        "RESOURCE_EXHAUSTED",
        str(MESSAGE_BYTES_MAX),
    ),
}


@pytest.mark.parametrize(("method", "request_", "code", "named"), BOUNDS.values(), ids=BOUNDS)
def test_what_is_over_a_bound_names_it(
    wire: Wire, method: Callable[[Wire], Any], request_: Any, code: str, named: str
) -> None:
    refused = refusal(method(wire), request_)
    assert refused.code == code
    assert named in refused.message


@pytest.mark.parametrize(
    ("messages", "code", "named"),
    [
        ((), "INVALID_ARGUMENT", "expected a header in the first message"),
        ((load_message(NODES),), "INVALID_ARGUMENT", "expected a header in the first message"),
        ((HEADER, HEADER), "INVALID_ARGUMENT", "expected one header"),
        ((HEADER,), "INVALID_ARGUMENT", "expected at least one node"),
        ((HEADER, graph_pb2.LoadGraphRequest()), "INVALID_ARGUMENT", "expected nodes or edges"),
        (
            (HEADER, load_message(NodeRows([str(number) for number in range(65_537)]))),
            "INVALID_ARGUMENT",
            "at most 65536 rows",
        ),
        (
            (HEADER, load_message(NodeRows(["n" * 512] * (MESSAGE_BYTES_MAX // 512)))),
            "RESOURCE_EXHAUSTED",
            str(MESSAGE_BYTES_MAX),
        ),
    ],
    ids=["nothing", "no header", "two headers", "no rows", "an empty message", "rows of a batch", "bytes of a batch"],
)
def test_a_load_that_is_none(wire: Wire, messages: tuple[Any, ...], code: str, named: str) -> None:
    refused = refusal(wire.graphs.LoadGraph, load_stream(*messages))
    assert refused.code == code
    assert named in refused.message


def test_more_neighbours_than_asked_for_name_the_bound(client: Client) -> None:
    with pytest.raises(LimitExceeded) as told:
        client.neighbors("alpha", depth=2, max_neighbors=1, graph=GRAPH)
    assert told.value.metadata["bound"] == "max_neighbors"


def test_bytes_that_are_no_message(wire: Wire, mesh: RunningMesh) -> None:
    """A caller in another language whose message is broken is told so, and nothing else suffers."""
    with grpc.insecure_channel(mesh.address, [("grpc.enable_http_proxy", 0)]) as channel:
        for service, method in (("PlanService", "Plan"), ("GraphService", "GetGraph"), ("MeshService", "Ping")):
            call = channel.unary_unary(f"/planmesh.v1.{service}/{method}", bytes, bytes)
            # What grpc.aio says of a message that it cannot read.
            assert refusal(call, b"\xff\xff\xff\xff").code in {"UNKNOWN", "INTERNAL", "INVALID_ARGUMENT"}
        refused = refusal(channel.unary_unary("/planmesh.v1.PlanService/Guess", bytes, bytes), b"")
        assert refused.code == "UNIMPLEMENTED"
