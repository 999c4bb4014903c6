from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from planmesh.telemetry import names
from planmesh.telemetry.process_metrics import observe_process
from planmesh.telemetry.tracing import make_telemetry


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def observed(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    data: Any = reader.get_metrics_data()
    metrics = data.resource_metrics[0].scope_metrics[0].metrics
    return {metric.name: list(metric.data.data_points) for metric in metrics}


def test_memory_and_processor_time_are_those_of_this_process() -> None:
    reader = InMemoryMetricReader()
    telemetry = make_telemetry("test", metric_readers=[reader])
    observe_process(telemetry.meter, shard=3)
    ballast = bytearray(b"x") * (256 * 2**20)
    found = observed(reader)
    (memory,) = found[names.METRIC_MEMORY]
    assert dict(memory.attributes) == {names.SHARD: 3}
    assert memory.value > len(ballast)
    times = {point.attributes[names.CPU_MODE]: point.value for point in found[names.METRIC_CPU_TIME]}
    assert times["user"] > 0
    assert set(times) == {"user", "system"}
    telemetry.shutdown()


def test_the_cost_of_a_process_grows_with_its_time() -> None:
    reader, clock = InMemoryMetricReader(), Clock()
    telemetry = make_telemetry("test", metric_readers=[reader])
    observe_process(telemetry.meter, usd_per_hour=1.8, clock_s=clock)
    clock.now_s += 600.0
    (cost,) = observed(reader)[names.METRIC_PROCESS_COST]
    assert cost.value == pytest.approx(0.3)
    assert dict(cost.attributes) == {}
    telemetry.shutdown()


def test_without_a_price_there_is_no_cost() -> None:
    reader = InMemoryMetricReader()
    telemetry = make_telemetry("test", metric_readers=[reader])
    observe_process(telemetry.meter)
    assert set(observed(reader)) == {names.METRIC_MEMORY, names.METRIC_CPU_TIME}
    telemetry.shutdown()


def test_without_export_nothing_is_observed() -> None:
    telemetry = make_telemetry("test")
    asked = 0

    def clock_s() -> float:
        nonlocal asked
        asked += 1
        return 0.0

    observe_process(telemetry.meter, usd_per_hour=1.0, clock_s=clock_s)
    telemetry.shutdown()
    assert asked == 1, "only for the start"
