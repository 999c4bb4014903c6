from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from opentelemetry.trace import SpanKind

from planmesh import errors
from planmesh.client import AsyncClient, EdgeRows
from planmesh.rpc.client_stream import send_stream
from planmesh.rpc.status import from_rpc_error
from planmesh.v1 import graph_pb2, graph_pb2_grpc, mesh_pb2, mesh_pb2_grpc, plan_pb2, plan_pb2_grpc

PUBLIC = ["planmesh.v1.PlanService", "planmesh.v1.GraphService", "planmesh.v1.MeshService"]
PLAN = plan_pb2.PlanRequest(start="a", goal="b")


async def failure(call: Any) -> errors.PlanmeshError:
    """Return the error of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def each(messages: list[Any]) -> AsyncIterator[Any]:
    for message in messages:
        yield message


async def every(stream: Any) -> list[Any]:
    return [message async for message in stream]


async def until_health(channel: Any, status: int) -> None:
    """Wait until the gateway's health has the given status."""
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
    async for answer in watch:
        if answer.status == status:
            watch.cancel()
            return
    raise AssertionError("the watch ended")


async def test_a_plan_comes_through_with_defaults_filled_in(mesh_processes: Any) -> None:
    stub = plan_pb2_grpc.PlanServiceStub(await mesh_processes.start())
    response = await stub.Plan(PLAN, timeout=20)
    assert response.plan.steps[0].target == "b"
    assert response.plan.graph == "default"
    assert mesh_processes.coordinator.requests[0].graph == "default"


async def test_many_plans_come_through_as_they_are_ready(mesh_processes: Any) -> None:
    stub = plan_pb2_grpc.PlanServiceStub(await mesh_processes.start())
    pairs = [plan_pb2.Pair(start=f"n{index}", goal="b") for index in range(3)]
    answers = await every(stub.PlanMany(plan_pb2.PlanManyRequest(pairs=pairs), timeout=20))
    assert [(answer.index, answer.plan.start) for answer in answers] == [(2, "n2"), (1, "n1"), (0, "n0")]


async def test_patterns_come_through_and_so_do_their_refusals(mesh_processes: Any) -> None:
    stub = plan_pb2_grpc.PlanServiceStub(await mesh_processes.start())
    response = await stub.MatchPattern(plan_pb2.MatchPatternRequest(query="RETURN 1"), timeout=20)
    assert (response.graph, list(response.rows_json)) == ("default", ["[1]"])
    assert mesh_processes.partition.requests[-1].max_rows == 1_000
    refused = await failure(stub.MatchPattern(plan_pb2.MatchPatternRequest(query="CREATE (n)"), timeout=20))
    assert isinstance(refused, errors.PatternRefused)
    assert "no writing here" in refused.message


async def test_neighbors_come_through(mesh_processes: Any) -> None:
    stub = plan_pb2_grpc.PlanServiceStub(await mesh_processes.start())
    assert (await stub.GetNeighbors(plan_pb2.GetNeighborsRequest(node="a"), timeout=20)).node == "a"
    request = mesh_processes.coordinator.requests[0]
    assert (request.depth, request.max_neighbors, request.direction) == (1, 10_000, plan_pb2.DIRECTION_OUT)


async def test_every_graph_call_comes_through(mesh_processes: Any) -> None:
    stub = graph_pb2_grpc.GraphServiceStub(await mesh_processes.start())
    messages = [
        graph_pb2.LoadGraphRequest(header=graph_pb2.LoadGraphHeader(undirected=True)),
        graph_pb2.LoadGraphRequest(nodes=graph_pb2.NodeBatch(ids=["a", "b"])),
        graph_pb2.LoadGraphRequest(edges=graph_pb2.EdgeBatch(sources=["a"], targets=["b"], costs=[2.5])),
    ]
    assert (await stub.LoadGraph(iter(messages), timeout=20)).report.version == 4
    received = mesh_processes.partition.received
    assert received[0].header.graph == "default"
    assert received[0].header.undirected
    assert [message.SerializeToString() for message in received[1:]] == [m.SerializeToString() for m in messages[1:]]
    assert (await stub.GetGraph(graph_pb2.GetGraphRequest())).graph.version == 3
    assert [graph.name for graph in (await stub.ListGraphs(graph_pb2.ListGraphsRequest())).graphs] == ["default"]
    assert (await stub.GetNode(graph_pb2.GetNodeRequest(node="a"))).node.id == "a"
    assert (await stub.ListPartitions(graph_pb2.ListPartitionsRequest())).total_size == 1
    assert mesh_processes.partition.requests[-1].page_size == 100
    assert len((await stub.SampleNodes(graph_pb2.SampleNodesRequest(count=5))).ids) == 5
    exported = await every(stub.ExportGraph(graph_pb2.ExportGraphRequest()))
    assert [message.WhichOneof("content") for message in exported] == ["nodes", "edges"]
    assert await stub.UnloadGraph(graph_pb2.UnloadGraphRequest(graph="x")) == graph_pb2.UnloadGraphResponse()
    assert mesh_processes.partition.requests[-1].graph == "x"


async def test_a_load_without_a_header_is_refused_before_anything_is_forwarded(mesh_processes: Any) -> None:
    stub = graph_pb2_grpc.GraphServiceStub(await mesh_processes.start())
    nodes = graph_pb2.LoadGraphRequest(nodes=graph_pb2.NodeBatch(ids=["a"]))
    for messages in ([], [nodes], [graph_pb2.LoadGraphRequest()]):
        error = await failure(send_stream(stub.LoadGraph, each(messages), timeout=20))
        assert isinstance(error, errors.InvalidRequest)
        assert error.metadata["field"] == "header"
    assert mesh_processes.partition.received == []


async def test_a_refused_load_says_why_even_if_the_caller_continues_to_send(mesh_processes: Any) -> None:
    async def refuse(request_iterator: Any, context: Any) -> Any:
        await anext(aiter(request_iterator))
        raise errors.InvalidGraph("not a number", source="edges.tsv", record="line 17", field="cost")

    mesh_processes.partition.IngestGraph = refuse
    stub = graph_pb2_grpc.GraphServiceStub(await mesh_processes.start())
    async with AsyncClient(mesh_processes.servers["gateway"].addresses[0]) as client:
        for _ in range(10):
            batches = (EdgeRows(["x" * 500] * 100, ["y"] * 100) for _ in range(100))
            with pytest.raises(errors.InvalidGraph, match="line 17"):
                await client.load(batches)
    assert (await stub.GetGraph(graph_pb2.GetGraphRequest(), timeout=20)).graph.version == 3


async def test_bytes_that_are_not_a_header_are_refused(mesh_processes: Any) -> None:
    channel = await mesh_processes.start()
    call = channel.stream_unary("/planmesh.v1.GraphService/LoadGraph", None, None)
    error = await failure(send_stream(call, each([b"\xff\xff\xff"]), timeout=20))
    assert isinstance(error, errors.InvalidRequest)


@pytest.mark.parametrize(
    "raised",
    [
        errors.NodeUnknown("a", ["aa", "ab"]),
        errors.NoPath("a", "b"),
        errors.Overloaded("full", bound="queue", retry_after_s=0.5),
        errors.WorkerUnavailable("no worker serves shard 1", shard="1"),
        errors.BrokerUnavailable("redis is down"),
    ],
)
async def test_errors_of_the_services_are_forwarded_completely(
    mesh_processes: Any, raised: errors.PlanmeshError
) -> None:
    async def fail(request: Any, context: Any) -> None:
        raise raised

    mesh_processes.coordinator.on_plan = fail
    stub = plan_pb2_grpc.PlanServiceStub(await mesh_processes.start())
    many = plan_pb2.PlanManyRequest(pairs=[plan_pb2.Pair(start="a", goal="b")])
    for call in (stub.Plan(PLAN, timeout=20), every(stub.PlanMany(many, timeout=20))):
        error = await failure(call)
        assert type(error) is type(raised)
        assert error.message == raised.message
        assert len(error.metadata.pop("trace_id")) == 32
        assert error.metadata == raised.metadata
        if isinstance(error, errors.Overloaded):
            assert error.retry_after_s == 0.5


async def test_a_service_that_is_down_is_named_in_time(mesh_processes: Any) -> None:
    channel = await mesh_processes.start_gateway()
    error = await failure(plan_pb2_grpc.PlanServiceStub(channel).Plan(PLAN, timeout=20))
    assert isinstance(error, errors.ServiceUnavailable)
    assert error.metadata["service"] == "coordinator"
    error = await failure(graph_pb2_grpc.GraphServiceStub(channel).ListGraphs(graph_pb2.ListGraphsRequest()))
    assert isinstance(error, errors.ServiceUnavailable)
    assert error.metadata["service"] == "partition"


async def test_the_gateways_own_deadline_error_comes_before_the_callers_deadline(mesh_processes: Any) -> None:
    async def forever(request: Any, context: Any) -> None:
        await asyncio.Event().wait()

    mesh_processes.coordinator.on_plan = forever
    stub = plan_pb2_grpc.PlanServiceStub(await mesh_processes.start())
    for _ in range(5):  # the error has 25 ms to arrive, in which a busy machine may not run the gateway
        error = await failure(stub.Plan(PLAN, timeout=1.0))
        assert isinstance(error, errors.DeadlineExceeded)
        if "service" in error.metadata:
            break
    # It is the gateway's error, which names the service and the trace, and not the one of the client's gRPC.
    assert error.metadata["service"] == "coordinator"
    assert error.metadata["trace_id"]


async def test_the_remaining_time_is_forwarded_within_bounds(mesh_processes: Any) -> None:
    stub = plan_pb2_grpc.PlanServiceStub(await mesh_processes.start())
    await stub.Plan(PLAN)
    await stub.Plan(PLAN, timeout=30)
    await stub.Plan(PLAN, timeout=3_600)
    default_s, asked_s, bounded_s = mesh_processes.coordinator.remaining_s
    # gRPC rounds a long timeout up on the wire, here by less than a second.
    assert 5 < default_s < 11
    assert 11 < asked_s < 31
    assert 31 < bounded_s < 61


@pytest.mark.parametrize("timeout_s", [0, -1, 1e-9])
async def test_a_deadline_in_the_past_is_exceeded(mesh_processes: Any, timeout_s: float) -> None:
    stub = plan_pb2_grpc.PlanServiceStub(await mesh_processes.start())
    error = await failure(stub.Plan(PLAN, timeout=timeout_s))
    assert isinstance(error, errors.DeadlineExceeded)


@pytest.mark.parametrize("streams", [False, True])
async def test_a_caller_that_leaves_cancels_the_downstream_call(mesh_processes: Any, streams: bool) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def forever(request: Any, context: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    mesh_processes.coordinator.on_plan = forever
    stub = plan_pb2_grpc.PlanServiceStub(await mesh_processes.start())
    call: Any
    if streams:
        call = stub.PlanMany(plan_pb2.PlanManyRequest(pairs=[plan_pb2.Pair(start="a", goal="b")]))
        waiting = asyncio.ensure_future(call.read())
    else:
        call = stub.Plan(PLAN)
        waiting = asyncio.ensure_future(_result(call))
    await asyncio.wait_for(begun.wait(), 20)
    call.cancel()
    await asyncio.wait_for(cancelled.wait(), 20)
    with pytest.raises((asyncio.CancelledError, grpc.aio.AioRpcError)):
        await waiting


async def _result(call: Any) -> Any:
    return await call


async def test_too_many_calls_are_refused_and_others_pass_later(mesh_processes: Any) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def wait(request: Any, context: Any) -> None:
        begun.set()
        await go.wait()

    mesh_processes.coordinator.on_plan = wait
    channel = await mesh_processes.start(gateway_in_flight_max=1)
    stub = plan_pb2_grpc.PlanServiceStub(channel)
    first = asyncio.ensure_future(_result(stub.Plan(PLAN, timeout=60)))
    await asyncio.wait_for(begun.wait(), 20)
    error = await failure(stub.Plan(PLAN, timeout=20))
    assert isinstance(error, errors.Overloaded)
    assert error.metadata["bound"] == "gateway_in_flight_max"
    assert error.retry_after_s > 0
    # The status is available even then.
    assert (await mesh_pb2_grpc.MeshServiceStub(channel).GetStatus(mesh_pb2.GetStatusRequest(), timeout=20)).ready
    go.set()
    assert (await first).plan.goal == "b"
    assert (await stub.Plan(PLAN, timeout=20)).plan.goal == "b"


async def test_every_public_service_requires_a_token(mesh_processes: Any) -> None:
    path = mesh_processes.folder / "tokens"
    path.write_text("correct-horse-battery\n")
    channel = await mesh_processes.start(gateway_token_file=path)
    mesh, graph = mesh_pb2_grpc.MeshServiceStub(channel), graph_pb2_grpc.GraphServiceStub(channel)
    calls = [
        plan_pb2_grpc.PlanServiceStub(channel).Plan(PLAN, timeout=20),
        graph.ListGraphs(graph_pb2.ListGraphsRequest(), timeout=20),
        send_stream(graph.LoadGraph, each([graph_pb2.LoadGraphRequest()]), timeout=20),
        mesh.Ping(mesh_pb2.PingRequest(), timeout=20),
        mesh.GetStatus(mesh_pb2.GetStatusRequest(), timeout=20),
    ]
    for call in calls:
        assert isinstance(await failure(call), errors.Unauthenticated)
    address = mesh_processes.servers["gateway"].addresses[0]
    async with AsyncClient(address, token="correct-horse-battery") as client:
        assert (await client.plan("a", "b")).goal == "b"
        assert (await client.status()).ready
    async with AsyncClient(address, token="wrong-horse-battery") as client:
        with pytest.raises(errors.Unauthenticated):
            await client.ping()
    # Health and reflection need no token, because probes and tools have none.
    await until_health(channel, health_pb2.HealthCheckResponse.SERVING)


async def test_the_gateway_is_ready_when_the_coordinator_is(mesh_processes: Any) -> None:
    channel = await mesh_processes.start()
    await until_health(channel, health_pb2.HealthCheckResponse.SERVING)
    await mesh_processes.servers["coordinator"].set_ready(False)
    await until_health(channel, health_pb2.HealthCheckResponse.NOT_SERVING)
    await mesh_processes.servers["coordinator"].set_ready(True)
    await until_health(channel, health_pb2.HealthCheckResponse.SERVING)
    await mesh_processes.servers["coordinator"].stop(0)
    await until_health(channel, health_pb2.HealthCheckResponse.NOT_SERVING)
    await mesh_processes.serve("coordinator")
    await until_health(channel, health_pb2.HealthCheckResponse.SERVING)
    assert (await plan_pb2_grpc.PlanServiceStub(channel).Plan(PLAN, timeout=20)).plan.goal == "b"


async def test_ping_and_status(mesh_processes: Any) -> None:
    stub = mesh_pb2_grpc.MeshServiceStub(await mesh_processes.start())
    assert await stub.Ping(mesh_pb2.PingRequest(), timeout=20) == mesh_pb2.PingResponse()
    status = await stub.GetStatus(mesh_pb2.GetStatusRequest(), timeout=20)
    assert status.ready
    assert [(process.name, process.up) for process in status.processes] == [
        (name, True) for name in ("gateway", "coordinator", "partition", "redis", "workers")
    ]
    assert status.software_version
    assert status.shards[0].workers == 2
    assert status.graphs[0].name == "default"
    assert status.counters.plans == 7


async def test_the_status_reports_processes_that_are_down(mesh_processes: Any) -> None:
    channel = await mesh_processes.start()
    stub = mesh_pb2_grpc.MeshServiceStub(channel)
    await mesh_processes.servers["partition"].stop(0)
    status = await stub.GetStatus(mesh_pb2.GetStatusRequest(), timeout=20)
    down = {process.name: process.message for process in status.processes if not process.up}
    assert not status.ready
    assert set(down) == {"partition"}
    assert "does not answer" in down["partition"]
    await mesh_processes.servers["coordinator"].stop(0)
    status = await stub.GetStatus(mesh_pb2.GetStatusRequest(), timeout=20)
    assert {process.name for process in status.processes if process.up} == {"gateway"}
    assert all(process.message for process in status.processes if not process.up)


async def test_a_process_that_hangs_does_not_delay_the_status(mesh_processes: Any) -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    mesh_processes.coordinator.on_describe = forever
    stub = mesh_pb2_grpc.MeshServiceStub(await mesh_processes.start())
    status = await stub.GetStatus(mesh_pb2.GetStatusRequest(), timeout=30)
    assert {process.name for process in status.processes if process.up} == {"gateway", "partition"}


async def test_reflection_lists_the_public_services(mesh_processes: Any) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(await mesh_processes.start())
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        *(reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in PUBLIC),
    ]
    answers = await every(stub.ServerReflectionInfo(iter(asked), timeout=20))
    listed = {service.name for service in answers[0].list_services_response.service}
    assert listed == {*PUBLIC, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    assert all(answer.file_descriptor_response.file_descriptor_proto for answer in answers[1:])


async def test_one_trace_leads_from_the_client_to_the_coordinator(mesh_processes: Any) -> None:
    mesh_processes.recording = True
    await mesh_processes.start()
    address = mesh_processes.servers["gateway"].addresses[0]
    async with AsyncClient(address, tracer=mesh_processes.telemetry("client").tracer) as client:
        await client.plan("a", "b")
        many = [answer async for answer in client.plan_many([("a", "b")])]
    assert len(many) == 1
    await mesh_processes.servers["gateway"].stop(5)
    spans = {
        (span.resource.attributes["service.name"], span.kind, span.name.rpartition("/")[2]): span
        for span in mesh_processes.exporter.get_finished_spans()
    }
    for public, internal in (("Plan", "ComputePlan"), ("PlanMany", "ComputePlans")):
        chain = [
            spans["client", SpanKind.CLIENT, public],
            spans["gateway", SpanKind.SERVER, public],
            spans["gateway", SpanKind.CLIENT, internal],
            spans["coordinator", SpanKind.SERVER, internal],
        ]
        assert chain[0].parent is None
        for parent, child in itertools.pairwise(chain):
            assert child.parent.span_id == parent.context.span_id
            assert child.context.trace_id == parent.context.trace_id


async def test_with_tracing_off_a_callers_trace_still_reaches_the_coordinator(mesh_processes: Any) -> None:
    seen: list[dict[str, Any]] = []

    async def look(request: Any, context: Any) -> None:
        seen.append(dict(context.invocation_metadata()))

    mesh_processes.coordinator.on_plan = look
    stub = plan_pb2_grpc.PlanServiceStub(await mesh_processes.start())
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await stub.Plan(PLAN, metadata=(("traceparent", traceparent),), timeout=20)
    await stub.Plan(PLAN, timeout=20)
    assert seen[0]["traceparent"] == traceparent
    assert len(seen[1]["traceparent"]) == len(traceparent)
