"""The profile `observability`: traces in Jaeger, and data in Prometheus for every query of panels, rules and alerts."""

from __future__ import annotations

import asyncio
import random
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from planmesh.client import AsyncClient
from planmesh.draw.trace_tree import render_tree
from planmesh.errors import NoPath
from planmesh.local.ports import free_port
from planmesh.local.trace_receiver import ReceivedSpan
from planmesh.telemetry import names
from tests.compose.backends import Jaeger, Prometheus, poll
from tests.compose.cluster import ROOT, Cluster, cluster
from tests.deploy.queries import alert_queries, panel_queries, rule_queries

pytestmark = [pytest.mark.compose, pytest.mark.timeout(900)]

BACKBONE = ROOT / "examples" / "backbone" / "backbone.json.gz"
SERVICES = ("envoy", "worker-0", "worker-1", "builder", "otel-collector", "jaeger", "prometheus")
"""All services except Grafana, whose image is not available everywhere; their dependencies start with them."""

ENVOY, GATEWAY, COORDINATOR, WORKER = (
    "planmesh-envoy",
    "planmesh-gateway",
    "planmesh-coordinator",
    "planmesh-query-worker",
)
PLAN = "planmesh.v1.PlanService/Plan"
COMPUTE = "planmesh.internal.v1.CoordinatorService/ComputePlan"
SEND, PROCESS = "planmesh.query send", "planmesh.query process"

TOGETHER = 64
"""Concurrent plans, so that work waits and is batched."""
BUSY_S = 15.0
DATA_WITHIN_S = 60.0
SPANS_WITHIN_S = 30.0
ALERT_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Watched:
    """A cluster under load, its monitoring, and traces of concurrent plans."""

    cluster: Cluster
    jaeger: Jaeger
    prometheus: Prometheus
    single: str
    together: tuple[str, ...]


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    jaeger, prometheus = free_port(), free_port()
    variables = {
        "COMPOSE_PROFILES": "observability",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel-collector:4317",
        "JAEGER_PORT": str(jaeger),
        "PROMETHEUS_PORT": str(prometheus),
        "PLANMESH_USD_PER_HOUR": "0.02",
    }
    with cluster(*SERVICES, variables=variables) as running:
        running.planmesh("load", str(BACKBONE), "--strategy", "region", "--cost-column", "latency_ms")
        store = threading.Thread(target=_ask_a_store, args=(running,), name="store")
        store.start()
        try:
            single, together = asyncio.run(_ask_plans(running.address))
        finally:
            store.join()
        yield Watched(running, Jaeger(jaeger), Prometheus(prometheus), single, together)


def _ask_a_store(running: Cluster) -> None:
    script = (Path(__file__).parent / "store_calls.py").read_text()
    running.compose("run", "--rm", "--no-deps", "-T", "partition", "python", "-c", script, str(BUSY_S))


async def _ask_plans(address: str) -> tuple[str, tuple[str, ...]]:
    """Request plans in batches, repeatedly, together and alone. Return the trace ids of the last two kinds."""
    draw = random.Random(5)
    async with AsyncClient(address) as client:
        ids = (await client.sample_nodes(10_000, seed=1)).ids

        async def ask() -> tuple[str, bool]:
            try:
                return (await client.plan(*draw.sample(ids, 2), bypass_cache=True)).trace_id, True
            except NoPath as error:
                return error.metadata["trace_id"], False

        async with asyncio.timeout(4 * BUSY_S):
            ends_s = asyncio.get_running_loop().time() + BUSY_S
            hot = draw.sample(ids, 2)
            while asyncio.get_running_loop().time() < ends_s:
                pairs = [(draw.choice(ids), draw.choice(ids)) for _ in range(TOGETHER)]
                async for _ in client.plan_many(pairs):
                    pass
                with suppress(NoPath):
                    await client.plan(*hot)
                together = await asyncio.gather(*(ask() for _ in range(TOGETHER)))
            has_path = False
            while not has_path:
                single, has_path = await ask()
    return single, tuple(trace_id for trace_id, _ in together)


def edges(spans: list[ReceivedSpan]) -> set[tuple[str, str, str, str]]:
    """Return parent-child edges: service and name of the parent, then of the child."""
    by_id = {span.span_id: span for span in spans}
    return {
        (by_id[span.parent_id].service, by_id[span.parent_id].name, span.service, span.name)
        for span in spans
        if span.parent_id in by_id
    }


def test_jaeger_has_a_plan_from_the_balancer_to_the_worker(watched: Watched) -> None:
    wanted = {
        (ENVOY, "planmesh.balance", GATEWAY, PLAN),
        (GATEWAY, PLAN, GATEWAY, COMPUTE),
        (GATEWAY, COMPUTE, COORDINATOR, COMPUTE),
        (COORDINATOR, COMPUTE, COORDINATOR, names.SPAN_LOCAL_SEARCH),
        (COORDINATOR, COMPUTE, COORDINATOR, names.SPAN_OVERLAY),
        (COORDINATOR, COMPUTE, COORDINATOR, names.SPAN_MERGE),
        (COORDINATOR, names.SPAN_LOCAL_SEARCH, COORDINATOR, SEND),
        (COORDINATOR, SEND, WORKER, PROCESS),
        (WORKER, PROCESS, WORKER, names.SPAN_ITEM),
    }
    spans = watched.jaeger.wait_for(watched.single, lambda found: edges(found) >= wanted, SPANS_WITHIN_S)
    print("\n".join(render_tree(spans, watched.single)))
    roots = [span for span in spans if not span.parent_id]
    assert [(root.service, root.kind) for root in roots] == [(ENVOY, "server")]
    assert not [span for span in spans if span.error]


def _with_span(jaeger: Jaeger, trace: str, span_id: str) -> list[ReceivedSpan]:
    return jaeger.wait_for(trace, lambda spans: any(span.span_id == span_id for span in spans), SPANS_WITHIN_S)


def test_jaeger_has_the_links_of_a_batch(watched: Watched) -> None:
    """The work for several plans is in the trace of one of them, and links to all; the others' traces link to it."""

    def batches(spans: list[ReceivedSpan]) -> list[ReceivedSpan]:
        return [span for span in spans if span.name == names.SPAN_BATCH]

    found = (batches(watched.jaeger.wait_for(trace, bool, SPANS_WITHIN_S)) for trace in watched.together)
    work = next((span for spans in found for span in spans if len(span.links) > 1), None)
    assert work is not None, f"none of {len(watched.together)} plans was computed with others"
    assert len(work.links) == work.attributes[names.BATCH_SIZE]
    assert {trace for trace, _ in work.links} <= set(watched.together)
    for trace, span in work.links:
        spans = _with_span(watched.jaeger, trace, span)
        assert [one.service for one in spans if one.span_id == span] == [COORDINATOR]
        if trace != work.trace_id:
            spans = watched.jaeger.wait_for(trace, lambda spans: bool(batches(spans)), SPANS_WITHIN_S)
            assert [span.links for span in batches(spans)] == [((work.trace_id, work.span_id),)]


def test_prometheus_has_data_for_every_query(watched: Watched) -> None:
    queries = [*panel_queries("1m"), *rule_queries(), *alert_queries()]
    found = watched.prometheus.wait_for_data(queries, DATA_WITHIN_S)
    assert len(found) == len(set(queries))


def test_no_alert_fires_while_all_is_well(watched: Watched) -> None:
    rules = watched.prometheus.rules()
    assert {rule["health"] for rule in rules} == {"ok"}
    alerts = {rule["name"]: rule["state"] for rule in rules if rule["type"] == "alerting"}
    assert set(alerts) == {query.place for query in alert_queries()}
    # A busy machine may make alerts pending. They wait for minutes before they fire.
    assert "firing" not in alerts.values(), alerts


def test_a_lost_worker_raises_an_alert(watched: Watched) -> None:
    """One complete chain: a process that has ended, the coordinators, the collector, Prometheus, an alert."""
    container = watched.cluster.containers("worker-1")[0]
    subprocess.run(["docker", "stop", "--time", "10", container], check=True, capture_output=True)

    def noticed() -> list[dict[str, str]]:
        (rule,) = (rule for rule in watched.prometheus.rules() if rule["name"] == "PlanmeshWorkerLost")
        return [alert["labels"] for alert in rule["alerts"]]

    labels = poll(noticed, ALERT_WITHIN_S)
    assert [(alert["planmesh_shard"], alert["severity"]) for alert in labels] == [("1", "warning")]
