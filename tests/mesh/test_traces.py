"""One trace over all processes of a mesh, exported by OTLP to a real gRPC server in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from planmesh.client import AsyncClient, Client, Plan, Strategy
from planmesh.errors import NodeUnknown
from planmesh.local.trace_receiver import ReceivedSpan, TraceReceiver
from planmesh.telemetry import names
from planmesh.telemetry.tracing import Telemetry, make_telemetry
from tests.mesh.own_mesh import OwnMesh, own_mesh
from tests.mesh.small_graph import SmallGraph, service_graph

pytestmark = [pytest.mark.mesh, pytest.mark.slow]

GRAPH = service_graph(seed=31, domains=8, nodes_per_domain=40)
SPANS_WITHIN_S = 60.0
"""Every process exports five times per second; the bound is for a busy machine."""

CLIENT, GATEWAY, COORDINATOR, WORKER = (
    "test-client",
    "planmesh-gateway",
    "planmesh-coordinator",
    "planmesh-query-worker",
)
PLAN = "planmesh.v1.PlanService/Plan"
COMPUTE = "planmesh.internal.v1.CoordinatorService/ComputePlan"
SEND, PROCESS = "planmesh.query send", "planmesh.query process"


@dataclass(frozen=True)
class Traced:
    """A mesh whose spans, and those of this process's client, arrive here."""

    mesh: OwnMesh
    receiver: TraceReceiver
    telemetry: Telemetry

    def trace(self, trace_id: str, spans_min: dict[str, int]) -> list[ReceivedSpan]:
        """Return the spans of a trace as soon as it has the least number for each name."""

        def of_trace(spans: list[ReceivedSpan]) -> list[ReceivedSpan]:
            return [span for span in spans if span.trace_id == trace_id]

        def enough(spans: list[ReceivedSpan]) -> bool:
            found = [span.name for span in of_trace(spans)]
            return all(found.count(name) >= count for name, count in spans_min.items())

        return of_trace(self.receiver.wait_for(enough, SPANS_WITHIN_S))


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    with TraceReceiver() as receiver:
        # Workers expand segments, so that a plan has a second task in its trace.
        environment = {**receiver.environment, "PLANMESH_COORDINATOR_EXPANDS": "false"}
        exporter = OTLPSpanExporter(environment["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"], insecure=True)
        processor = BatchSpanProcessor(exporter, schedule_delay_millis=100)
        telemetry = make_telemetry(CLIENT, span_processors=[processor])
        data = tmp_path_factory.mktemp("mesh") / "data"
        with own_mesh(data, "--workers", "2", "--shards", "2", environment=environment) as mesh:
            with Client(mesh.address) as client:
                GRAPH.load(client, "default", Strategy.DOMAIN)
            yield Traced(mesh, receiver, telemetry)
        telemetry.shutdown()


def edges(spans: list[ReceivedSpan]) -> set[tuple[str, str, str, str]]:
    """Return parent-child edges: service and name of the parent, then of the child."""
    by_id = {span.span_id: span for span in spans}
    return {
        (by_id[span.parent_id].service, by_id[span.parent_id].name, span.service, span.name)
        for span in spans
        if span.parent_id in by_id
    }


def distant_pair(client: Client) -> tuple[str, str]:
    """Return two nodes whose partitions are served by different shards."""
    shard = {partition.name: partition.shard for partition in client.partitions()}
    return next(
        (start, goal)
        for start in GRAPH.nodes[::10]
        for goal in GRAPH.costs_from(start)
        if (shard[GRAPH.domains[start]], shard[GRAPH.domains[goal]]) == (0, 1)
    )


def unpacked_plan(client: Client) -> Plan:
    """Return a plan inside one partition, which a worker unpacks: of overlay segments it unpacks only long ones."""
    for start in GRAPH.nodes[::10]:
        for goal in GRAPH.costs_from(start):
            if goal == start or GRAPH.domains[goal] != GRAPH.domains[start]:
                continue
            plan = client.plan(start, goal, explain=True, bypass_cache=True)
            assert plan.explanation is not None
            if any(phase.name == "unpack" and phase.tasks for phase in plan.explanation.phases):
                return plan
    raise AssertionError("no plan is unpacked by a worker")


def test_the_edges_of_one_plan(traced: Traced) -> None:
    with Client(traced.mesh.address, tracer=traced.telemetry.tracer) as client:
        plan = unpacked_plan(client)
    GRAPH.check_plan(plan)
    assert plan.explanation is not None
    tasks = plan.explanation.tasks
    assert tasks >= 2
    spans = traced.trace(
        plan.trace_id,
        {PLAN: 2, SEND: tasks, PROCESS: tasks, names.SPAN_ITEM: tasks, names.SPAN_MERGE: 1},
    )
    assert edges(spans) >= {
        (CLIENT, PLAN, GATEWAY, PLAN),
        (GATEWAY, PLAN, GATEWAY, COMPUTE),
        (GATEWAY, COMPUTE, COORDINATOR, COMPUTE),
        (COORDINATOR, COMPUTE, COORDINATOR, names.SPAN_LOCATE),
        (COORDINATOR, COMPUTE, COORDINATOR, names.SPAN_LOCAL_SEARCH),
        (COORDINATOR, COMPUTE, COORDINATOR, names.SPAN_OVERLAY),
        (COORDINATOR, COMPUTE, COORDINATOR, names.SPAN_UNPACK),
        (COORDINATOR, COMPUTE, COORDINATOR, names.SPAN_MERGE),
        (COORDINATOR, names.SPAN_LOCAL_SEARCH, COORDINATOR, SEND),
        (COORDINATOR, names.SPAN_UNPACK, COORDINATOR, SEND),
        (COORDINATOR, SEND, WORKER, PROCESS),
        (WORKER, PROCESS, WORKER, names.SPAN_ITEM),
    }
    roots = [span for span in spans if not span.parent_id]
    assert [(root.service, root.kind) for root in roots] == [(CLIENT, "client")]
    known = {span.span_id for span in spans}
    assert all(span.parent_id in known for span in spans if span.parent_id), "every parent is in the trace"
    kinds = {(span.service, span.name): span.kind for span in spans}
    assert kinds[COORDINATOR, SEND] == "producer"
    assert kinds[WORKER, PROCESS] == "consumer"
    assert kinds[COORDINATOR, COMPUTE] == "server"
    assert not [span for span in spans if span.error]


def test_the_attributes_of_one_plan(traced: Traced) -> None:
    with Client(traced.mesh.address, tracer=traced.telemetry.tracer) as client:
        start, goal = distant_pair(client)
        plan = client.plan(start, goal, explain=True, bypass_cache=True)
    assert plan.explanation is not None
    tasks = plan.explanation.tasks
    spans = traced.trace(plan.trace_id, {names.SPAN_ITEM: tasks, names.SPAN_MERGE: 1, PROCESS: tasks, SEND: tasks})
    items = [span for span in spans if span.name == names.SPAN_ITEM]
    for item in items:
        assert (item.attributes[names.GRAPH], item.attributes[names.VERSION]) == ("default", plan.version)
        assert names.PARTITION in item.attributes
    settled = [int(item.attributes[names.SETTLED_NODES]) for item in items]
    searched = next(span for span in spans if span.name == names.SPAN_LOCAL_SEARCH)
    assert sum(settled) > 0
    assert sum(settled) == searched.attributes[names.SETTLED_NODES]
    overlay = next(span for span in spans if span.name == names.SPAN_OVERLAY)
    phases = {phase.name: phase for phase in plan.explanation.phases}
    assert overlay.attributes[names.SETTLED_NODES] == phases["overlay"].settled_nodes
    for span in spans:
        if span.name in {SEND, PROCESS}:
            assert int(span.attributes[names.BATCH_SIZE]) >= 1
            assert span.attributes[names.SHARD] in {0, 1}
    assert {span.attributes[names.SHARD] for span in spans if span.name == PROCESS} == {0, 1}
    served = next(span for span in spans if span.service == COORDINATOR and span.kind == "server")
    assert served.attributes[names.GRAPH] == "default"
    assert served.attributes[names.VERSION] == plan.version
    assert served.attributes[names.COST] == plan.cost
    assert served.attributes[names.STEPS] == len(plan.steps)


def test_the_trace_of_a_failed_plan_is_in_its_error_and_in_the_logs(traced: Traced) -> None:
    alone = SmallGraph({"a": "", "b": ""}, [])
    with Client(traced.mesh.address) as untraced:
        alone.load(untraced, "alone")
    client = Client(traced.mesh.address, tracer=traced.telemetry.tracer)
    with client, pytest.raises(NodeUnknown) as raised:
        client.plan("a", "nobody", graph="alone")
    trace_id = raised.value.metadata["trace_id"]
    spans = traced.trace(trace_id, {PLAN: 2})
    assert {span.service for span in spans} >= {CLIENT, GATEWAY}
    for process in ("gateway", "coordinator"):
        lines = [json.loads(line) for line in traced.mesh.log(process).splitlines() if trace_id in line]
        assert lines, f"the {process} logged nothing of trace {trace_id}"
        assert {line["trace_id"] for line in lines} == {trace_id}
    coordinator_lines = [line for line in traced.mesh.log("coordinator").splitlines() if trace_id in line]
    assert any("NODE_UNKNOWN" in line and '"alone"' in line for line in coordinator_lines), coordinator_lines


def is_own(batch: ReceivedSpan) -> bool:
    """Whether the span of a batch is that of the work itself: it links all callers; the others link only to it."""
    return len(batch.links) > 1


async def test_each_caller_of_a_batch_has_a_trace_that_leads_to_the_work(traced: Traced) -> None:
    goals = [goal for goal in GRAPH.costs_from(GRAPH.nodes[0]) if goal != GRAPH.nodes[0]][:96]
    async with AsyncClient(traced.mesh.address, tracer=traced.telemetry.tracer) as client:
        plans = await asyncio.gather(*(client.plan(GRAPH.nodes[0], goal, bypass_cache=True) for goal in goals))
    trace_ids = {plan.trace_id for plan in plans}
    assert len(trace_ids) == len(plans), "every plan is a trace of its own"

    def of_plans(spans: list[ReceivedSpan], name: str) -> list[ReceivedSpan]:
        return [span for span in spans if span.name == name and span.trace_id in trace_ids]

    def all_have_work(spans: list[ReceivedSpan]) -> bool:
        computed = of_plans(spans, names.SPAN_BATCH) + of_plans(spans, names.SPAN_MERGE)
        return {span.trace_id for span in computed} == trace_ids

    spans = traced.receiver.wait_for(all_have_work, SPANS_WITHIN_S)
    by_id = {(span.trace_id, span.span_id): span for span in spans}
    computes = {(span.trace_id, span.span_id) for span in of_plans(spans, COMPUTE) if span.service == COORDINATOR}
    batches = of_plans(spans, names.SPAN_BATCH)
    own = [batch for batch in batches if is_own(batch)]
    assert own
    for batch in batches:
        assert (batch.trace_id, batch.parent_id) in computes
    for batch in own:
        assert len(batch.links) == batch.attributes[names.BATCH_SIZE] == len(set(batch.links))
        assert set(batch.links) <= computes, "each caller's own span"
        phases = {span.name for span in spans if span.parent_id == batch.span_id}
        assert {names.SPAN_LOCATE, names.SPAN_LOCAL_SEARCH, names.SPAN_OVERLAY, names.SPAN_MERGE} <= phases
    for batch in batches:
        if not is_own(batch):
            (work,) = batch.links
            assert by_id[work].name == names.SPAN_BATCH
            assert (batch.trace_id, batch.parent_id) in by_id[work].links
            assert batch.attributes[names.BATCH_SIZE] == by_id[work].attributes[names.BATCH_SIZE]
    # The task may have carried the work of another batch too, and be in its trace.
    trace = traced.trace(own[0].trace_id, {PLAN: 2, COMPUTE: 2, names.SPAN_ITEM: 1})
    assert {span.service for span in trace} == {CLIENT, GATEWAY, COORDINATOR, WORKER}


def test_a_load_is_one_trace_down_to_the_builders(traced: Traced) -> None:
    with Client(traced.mesh.address, tracer=traced.telemetry.tracer) as client:
        report = GRAPH.load(client, "traced-load", Strategy.DOMAIN)

    def of_load(spans: list[ReceivedSpan]) -> list[ReceivedSpan]:
        made = {span.trace_id for span in spans if span.service == CLIENT and span.name.endswith("/LoadGraph")}
        return [span for span in spans if span.trace_id in made]

    def whole(spans: list[ReceivedSpan]) -> bool:
        found = [span.name for span in of_load(spans)]
        services = {span.service for span in of_load(spans)}
        # Every process exports separately, so the order in which spans arrive is open.
        everyone = {CLIENT, GATEWAY, "planmesh-partition", "planmesh-build-worker"}
        built = found.count(names.SPAN_BUILD) >= report.partitions
        return built and names.SPAN_INGEST_PUBLISH in found and everyone <= services

    spans = of_load(traced.receiver.wait_for(whole, SPANS_WITHIN_S))
    assert len({span.trace_id for span in spans}) == 1
    assert {span.service for span in spans} >= {CLIENT, GATEWAY, "planmesh-partition", "planmesh-build-worker"}
    assert {name for name in (span.name for span in spans) if name.startswith("planmesh.ingest.")} == {
        names.SPAN_INGEST_READ,
        names.SPAN_INGEST_PARTITION,
        names.SPAN_INGEST_INDEX,
        names.SPAN_INGEST_OVERLAY,
        names.SPAN_INGEST_PUBLISH,
    }
