"""What a mesh measures: exported by OTLP, received by a real gRPC server in this process."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc

from planmesh.client import Client, Strategy
from planmesh.errors import NoPath
from planmesh.telemetry import names
from tests.mesh.own_mesh import own_mesh
from tests.mesh.small_graph import service_graph

pytestmark = [pytest.mark.mesh, pytest.mark.slow]

GRAPH = service_graph(seed=32, domains=6, nodes_per_domain=30)
METRICS_WITHIN_S = 60.0

GATEWAY, COORDINATOR, PARTITION, WORKER, BUILDER = (
    "planmesh-gateway",
    "planmesh-coordinator",
    "planmesh-partition",
    "planmesh-query-worker",
    "planmesh-build-worker",
)

MEASURED = {
    (GATEWAY, names.METRIC_CALL_DURATION),
    (GATEWAY, names.METRIC_IN_FLIGHT),
    (COORDINATOR, names.METRIC_CALL_DURATION),
    (COORDINATOR, names.METRIC_PLAN_DURATION),
    (COORDINATOR, names.METRIC_PHASE_DURATION),
    (COORDINATOR, names.METRIC_PLANS),
    (COORDINATOR, names.METRIC_PLAN_PARTITIONS),
    (COORDINATOR, names.METRIC_BATCH_SIZE),
    (COORDINATOR, names.METRIC_TASKS),
    (COORDINATOR, names.METRIC_CACHE_HITS),
    (COORDINATOR, names.METRIC_CACHE_MISSES),
    (COORDINATOR, names.METRIC_QUEUE_DEPTH),
    (COORDINATOR, names.METRIC_QUEUE_AGE),
    (COORDINATOR, names.METRIC_WORKERS),
    (COORDINATOR, names.METRIC_PROCESS_UP),
    (COORDINATOR, names.METRIC_GRAPH_VERSION),
    (COORDINATOR, names.METRIC_SHADOW_CHECKS),
    (PARTITION, names.METRIC_GRAPH_VERSION),
    (PARTITION, names.METRIC_GRAPH_SUSPECT),
    (WORKER, names.METRIC_ITEM_DURATION),
    (BUILDER, names.METRIC_BUILD_DURATION),
    (BUILDER, names.METRIC_SHADOW_CHECKS),
    *(
        (service, metric)
        for service in (GATEWAY, COORDINATOR, PARTITION, WORKER, BUILDER)
        for metric in (names.METRIC_MEMORY, names.METRIC_CPU_TIME, names.METRIC_PROCESS_COST)
    ),
}


class MetricReceiver(metrics_service_pb2_grpc.MetricsServiceServicer):
    """Keeps the last data point of each metric, by service, metric and attributes."""

    def __init__(self) -> None:
        self._points: dict[tuple[str, str, tuple[tuple[str, Any], ...]], Any] = {}
        self._lock = threading.Lock()

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - as gRPC calls it
        """Take what a process exports."""
        for resource in request.resource_metrics:
            service = _attributes(resource.resource.attributes)["service.name"]
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in getattr(metric, metric.WhichOneof("data")).data_points:
                        key = service, metric.name, tuple(sorted(_attributes(point.attributes).items()))
                        with self._lock:
                            self._points[key] = point
        return metrics_service_pb2.ExportMetricsServiceResponse()

    def names(self) -> set[tuple[str, str]]:
        """Services and their metrics."""
        with self._lock:
            return {(service, name) for service, name, _ in self._points}

    def values(self, service: str, name: str) -> dict[tuple[tuple[str, Any], ...], Any]:
        """Data points of a metric by their attributes."""
        with self._lock:
            return {key[2]: point for key, point in self._points.items() if key[:2] == (service, name)}

    def wait_for(self, wanted: set[tuple[str, str]]) -> None:
        """Return when all of these were measured."""
        deadline_s = time.monotonic() + METRICS_WITHIN_S
        while not wanted <= self.names():
            assert time.monotonic() < deadline_s, f"not measured: {sorted(wanted - self.names())}"
            time.sleep(0.1)


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@contextlib.contextmanager
def metric_receiver() -> Iterator[tuple[MetricReceiver, dict[str, str]]]:
    """A receiver, and the environment of processes that export to it."""
    receiver = MetricReceiver()
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(receiver, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield (
            receiver,
            {
                "OTEL_TRACES_EXPORTER": "none",
                "OTEL_METRICS_EXPORTER": "otlp",
                "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"http://127.0.0.1:{port}",
                "OTEL_EXPORTER_OTLP_METRICS_INSECURE": "true",
                "OTEL_METRIC_EXPORT_INTERVAL": "300",
                "PLANMESH_USD_PER_HOUR": "0.09",
            },
        )
    finally:
        server.stop(1.0).wait()


def test_every_metric_of_a_plan_and_a_load_is_measured(tmp_path: Path) -> None:
    with (
        metric_receiver() as (receiver, environment),
        own_mesh(tmp_path / "data", "--workers", "2", "--shards", "2", environment=environment) as mesh,
        Client(mesh.address) as client,
    ):
        GRAPH.load(client, "default", Strategy.DOMAIN)
        GRAPH.load(client, "default", Strategy.DOMAIN)
        asked = [(start, goal) for start in GRAPH.nodes[::20] for goal in GRAPH.nodes[::30] if start != goal]
        for pair in [*asked, asked[0]]:
            with contextlib.suppress(NoPath):
                client.plan(*pair)
        receiver.wait_for(MEASURED)
        shards = {dict(attributes)[names.SHARD] for attributes in receiver.values(COORDINATOR, names.METRIC_WORKERS)}
        assert shards == {0, 1}
        of_workers = receiver.values(WORKER, names.METRIC_MEMORY)
        assert {dict(attributes)[names.SHARD] for attributes in of_workers} == {0, 1}
        assert all(point.as_int > 2**20 for point in of_workers.values())
        processes = receiver.values(COORDINATOR, names.METRIC_PROCESS_UP)
        assert {dict(attributes)[names.PROCESS]: point.as_int for attributes, point in processes.items()} == {
            "redis": 1,
            "workers": 1,
            "partition": 1,
        }
        for service in (COORDINATOR, PARTITION):
            deadline_s = time.monotonic() + METRICS_WITHIN_S
            attributes = ((names.GRAPH, "default"),)
            while receiver.values(service, names.METRIC_GRAPH_VERSION)[attributes].as_int != 2:
                assert time.monotonic() < deadline_s, f"{service} does not say that version 2 is served"
                time.sleep(0.1)
