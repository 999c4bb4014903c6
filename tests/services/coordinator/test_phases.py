"""The phases of a plan: their explanation, spans and metric."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from planmesh.telemetry import names
from planmesh.telemetry.tracing import make_telemetry
from services.coordinator.dispatcher import Answer
from services.coordinator.phases import PhaseLog


@pytest.fixture
def now_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of the phases' clock, which the test sets."""
    now = [100.0]
    monkeypatch.setattr("services.coordinator.phases.time.perf_counter", lambda: now[0])
    return now


def test_an_explanation_has_the_phases_in_order_and_their_totals(now_s: list[float]) -> None:
    log = PhaseLog(make_telemetry("test"))
    with log.phase(names.SPAN_LOCAL_SEARCH) as phase:
        phase.note(Answer([], tasks=2, batch_sizes=[3, 1], hedges=1))
        phase.note(Answer([], tasks=1, batch_sizes=[5], hedges=0))
        phase.settled_nodes += 40
        now_s[0] += 0.25
    with log.phase(names.SPAN_OVERLAY) as phase:
        phase.settled_nodes = 2
        now_s[0] += 0.5
    log.retries = 1
    now_s[0] += 0.25
    found = log.explanation()
    assert [(one.name, one.duration_ms, one.settled_nodes, one.tasks) for one in found.phases] == [
        ("local_search", 250.0, 40, 3),
        ("overlay", 500.0, 2, 0),
    ]
    assert (found.total_ms, found.tasks, found.hedges, found.retries, found.settled_nodes) == (1_000.0, 3, 1, 1, 42)
    assert list(found.batch_sizes) == [3, 1, 5]


def test_a_phase_that_fails_is_timed_too(now_s: list[float]) -> None:
    log = PhaseLog(make_telemetry("test"))

    def fail() -> None:
        now_s[0] += 2.0
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), log.phase(names.SPAN_UNPACK):
        fail()
    assert [(one.name, one.duration_ms) for one in log.explanation().phases] == [("unpack", 2_000.0)]


def test_a_phase_has_a_span_and_a_metric_when_they_are_recorded(now_s: list[float]) -> None:
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    telemetry = make_telemetry("test", span_processors=[SimpleSpanProcessor(exporter)], metric_readers=[reader])
    log = PhaseLog(telemetry)
    with log.phase(names.SPAN_LOCAL_SEARCH) as phase:
        phase.note(Answer([], tasks=1, batch_sizes=[4], hedges=0))
        phase.settled_nodes = 7
        now_s[0] += 0.5
    (span,) = exporter.get_finished_spans()
    assert span.name == names.SPAN_LOCAL_SEARCH
    assert span.attributes is not None
    assert (span.attributes[names.SETTLED_NODES], span.attributes[names.BATCH_SIZE]) == (7, (4,))
    data: Any = reader.get_metrics_data()
    points = {metric.name: metric.data.data_points for metric in data.resource_metrics[0].scope_metrics[0].metrics}[
        names.METRIC_PHASE_DURATION
    ]
    assert [(point.attributes[names.PHASE], point.sum) for point in points] == [(names.SPAN_LOCAL_SEARCH, 0.5)]
    telemetry.shutdown()
