"""Random messages to every public rpc of a real mesh: each is answered or refused, and nothing breaks."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from planmesh.client import Client
from planmesh.v1 import graph_pb2, graph_pb2_grpc, mesh_pb2, plan_pb2
from tests.conftest import RunningMesh
from tests.mesh.small_graph import SmallGraph
from tests.mesh.wire import DEADLINE_S
from tests.rpc.random_messages import random_bytes, random_message

pytestmark = pytest.mark.mesh

GRAPH = "hostile"
LOADED = "hostile-load"
SERVED = SmallGraph({"a": "left", "b": "right"}, [("a", "b", 1.0), ("b", "a", 2.0)])
METHODS: list[MethodDescriptor] = [
    method
    for file in (plan_pb2, graph_pb2, mesh_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
MESSAGES = 150
"""Messages to each rpc. Loads are slower, so there are fewer of them."""
LOADS = 40
VERSIONS = {"min_version", "at_version"}
OPTIONS = {"avoid", "waypoints", "max_cost", "alternatives", "max_overlap"}
VERSION_WAIT_S = 0.2
"""Deadline of a request that names a version: it seldom exists."""
REFUSALS = {"INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED", "FAILED_PRECONDITION", "ABORTED"}


def aimed(request: Any, draw: random.Random) -> Any:
    """Return the request, half of the time with the served graph's name, so that it passes the first check.

    Its detail then is one of the enum, and some plans get nodes of the graph: by chance, all of that would seldom be
    valid together. Loads, updates and unloads get other names, because a random one may succeed and other tests use
    this mesh. A version that the graph does not have is waited for, and random options seldom fit together, so most
    requests have neither.
    """
    for share, names in ((0.9, VERSIONS), (0.7, OPTIONS)):
        if draw.random() < share:
            for name in names.intersection(request.DESCRIPTOR.fields_by_name):
                request.ClearField(name)
    if isinstance(request, graph_pb2.UpdateGraphStreamRequest):
        aimed(request.update, draw)
    elif isinstance(request, graph_pb2.LoadGraphRequest):
        if request.WhichOneof("content") == "header":
            request.header.graph = LOADED
    elif isinstance(request, graph_pb2.UnloadGraphRequest | graph_pb2.UpdateGraphRequest):
        request.graph = draw.choice((LOADED, "..", "x" * 65))
    elif hasattr(request, "graph") and draw.random() < 0.5:
        request.graph = GRAPH
        if hasattr(request, "detail"):
            request.detail = draw.choice(plan_pb2.Detail.values())
        if isinstance(request, plan_pb2.PlanRequest) and draw.random() < 0.2:
            request.start, request.goal = draw.choice(SERVED.nodes), draw.choice(SERVED.nodes)
    return request


def first_of_load(draw: random.Random) -> graph_pb2.LoadGraphRequest:
    """Return a header that is often valid, because an invalid one ends the load before its rows are checked."""
    if draw.random() < 0.8:
        return graph_pb2.LoadGraphRequest(header=graph_pb2.LoadGraphHeader(graph=LOADED, partitions=2))
    request: graph_pb2.LoadGraphRequest = random_message(graph_pb2.LoadGraphRequest.DESCRIPTOR, draw)
    return request


def names_version(request: Any) -> bool:
    """Whether a request waits for a version."""
    return any(getattr(request, field, 0) for field in VERSIONS)


def codes(channel: Any, method: MethodDescriptor, messages: list[bytes], timeout_s: float = DEADLINE_S) -> list[str]:
    """Return the status code of the call, and those of the answers of a stream."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    parse: Any = GetMessageClass(method.output_type).FromString
    inner: list[str] = []
    try:
        if method.server_streaming:
            call = (
                channel.stream_stream(path)(iter(messages), timeout=timeout_s)
                if method.client_streaming
                else channel.unary_stream(path)(messages[0], timeout=timeout_s)
            )
            answers = [parse(raw) for raw in call]
            inner = [answer.error.code for answer in answers if getattr(answer, "error", None) and answer.error.code]
        elif method.client_streaming:
            channel.stream_unary(path)(iter(messages), timeout=timeout_s)
        else:
            parse(channel.unary_unary(path)(messages[0], timeout=timeout_s))
    except grpc.RpcError as error:
        return [error.code().name]
    return ["OK", *inner]


def test_every_random_message_is_answered_or_refused(mesh: RunningMesh, client: Client) -> None:
    version = SERVED.load(client, GRAPH).version
    logs = Path(mesh.ready["logs"])
    tracebacks = stacks(logs)
    draw, found = random.Random(13), Counter[tuple[str, str]]()
    with grpc.insecure_channel(mesh.address, [("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0)]) as channel:
        for method in METHODS:
            for number in range(LOADS if method.client_streaming else MESSAGES):
                rows = [random_message(method.input_type, draw) for _ in range(3)]
                if method.name == "LoadGraph":
                    rows.insert(0, first_of_load(draw))
                requests = rows if method.client_streaming else rows[:1]
                raw = [aimed(request, draw).SerializeToString() for request in requests]
                if number % 5 == 0:
                    raw[-1] = (
                        b"\xff\xff"
                        if method.client_streaming or "Unload" in method.name
                        else random_bytes(method.input_type, draw)
                    )
                waits = any(names_version(request) for request in requests)
                for code in codes(channel, method, raw, VERSION_WAIT_S if waits else DEADLINE_S):
                    if not (waits and code == "DEADLINE_EXCEEDED"):
                        found[method.name, code] += 1
        unload(channel)
    assert {code for _, code in found} <= {"OK", *REFUSALS}, found
    assert {name for name, code in found if code == "OK"} >= {"Plan", "GetNode", "ExportGraph", "GetStatus"}
    assert stacks(logs) == tracebacks
    plan = client.plan("a", "b", graph=GRAPH, bypass_cache=True)
    assert (plan.cost, plan.version) == (1.0, version)


def unload(channel: grpc.Channel) -> None:
    """Unload the graph of random loads, if one succeeded."""
    stub = graph_pb2_grpc.GraphServiceStub(channel)
    if any(graph.name == LOADED for graph in stub.ListGraphs(graph_pb2.ListGraphsRequest(), timeout=DEADLINE_S).graphs):
        stub.UnloadGraph(graph_pb2.UnloadGraphRequest(graph=LOADED), timeout=DEADLINE_S)


def stacks(logs: Path) -> int:
    """Count the stack traces in the logs of all processes of the mesh."""
    return sum(path.read_text(errors="replace").count("Traceback") for path in logs.glob("*.log"))
