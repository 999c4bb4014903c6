from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from planmesh.settings import GatewaySettings, SettingsError
from planmesh.telemetry import names
from planmesh.telemetry.trace_context import current_trace_id, current_traceparent, parse_traceparent
from planmesh.telemetry.tracing import (
    _exports,
    make_telemetry,
    remote_context,
    setup,
    unrecorded_context,
)

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ROOT = Path(__file__).resolve().parents[2]


def test_without_exporters_nothing_is_recorded_but_ids_are_valid() -> None:
    telemetry = make_telemetry("test")
    assert not telemetry.recording
    assert not telemetry.measuring
    with telemetry.tracer.start_as_current_span("outer") as outer:
        assert not outer.is_recording()
        trace_id = current_trace_id()
        assert len(trace_id) == 32
        with telemetry.tracer.start_as_current_span("inner"):
            assert current_trace_id() == trace_id
            assert current_traceparent().startswith(f"00-{trace_id}-")
    assert current_trace_id() == current_traceparent() == ""
    telemetry.instruments.plans.add(1)
    telemetry.shutdown()


def test_with_a_processor_spans_are_recorded_under_the_service() -> None:
    exporter = InMemorySpanExporter()
    telemetry = make_telemetry("planmesh-test", span_processors=[SimpleSpanProcessor(exporter)])
    assert telemetry.recording
    with telemetry.tracer.start_as_current_span("x"):
        pass
    telemetry.shutdown()
    (span,) = exporter.get_finished_spans()
    resource = span.resource.attributes
    assert resource["service.name"] == "planmesh-test"
    assert resource["service.namespace"] == "planmesh"
    assert resource["service.version"]


def test_otel_service_name_takes_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    exporter = InMemorySpanExporter()
    telemetry = make_telemetry("planmesh-test", span_processors=[SimpleSpanProcessor(exporter)])
    telemetry.tracer.start_span("x").end()
    assert exporter.get_finished_spans()[0].resource.attributes["service.name"] == "mine"
    telemetry.shutdown()


def test_metrics_have_the_declared_names_and_bounds() -> None:
    reader = InMemoryMetricReader()
    telemetry = make_telemetry("test", metric_readers=[reader])
    assert telemetry.measuring
    telemetry.instruments.plans.add(2, {names.STATUS: "OK"})
    telemetry.instruments.phase_duration.record(0.002, {names.PHASE: "overlay"})
    telemetry.instruments.queue_depth.set(3)
    data: Any = reader.get_metrics_data()
    found = {metric.name: metric for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    assert set(found) == {names.METRIC_PLANS, names.METRIC_PHASE_DURATION, names.METRIC_QUEUE_DEPTH}
    assert found[names.METRIC_PLANS].data.data_points[0].value == 2
    assert max(found[names.METRIC_PHASE_DURATION].data.data_points[0].explicit_bounds) == 60
    telemetry.shutdown()


@pytest.mark.parametrize("carrier", [{}, {"traceparent": "nonsense"}, {"traceparent": f"00-{'0' * 32}-{'0' * 16}-01"}])
def test_a_malformed_traceparent_is_none(carrier: dict[str, str]) -> None:
    assert remote_context(carrier) is None


@pytest.mark.parametrize(
    "text",
    [
        TRACEPARENT,
        TRACEPARENT[:-2] + "00",
        TRACEPARENT.upper(),
        TRACEPARENT.replace("00-", "01-", 1),
        TRACEPARENT.replace("00-", "ff-", 1),
        TRACEPARENT + "-more",
        TRACEPARENT[:-1],
        TRACEPARENT.replace("-", "_"),
        f"00-{'+' + 31 * '1'}-{16 * '2'}-01",
        f"00-{31 * '1' + '_'}-{16 * '2'}-01",
        f"00-{32 * '1'}-{16 * '0'}-01",
        f"00-{32 * 'g'}-{16 * '2'}-01",
        f"00-{32 * chr(0x661)}-{16 * '2'}-01",
        " " * 55,
    ],
)
def test_the_quick_reading_of_a_traceparent_is_the_propagators(text: str) -> None:
    read = trace.get_current_span(TraceContextTextMapPropagator().extract({"traceparent": text})).get_span_context()
    quick = parse_traceparent(text)
    assert quick in (None, read if read.is_valid else None)
    assert (quick is not None) == (text in (TRACEPARENT, TRACEPARENT[:-2] + "00"))
    remote = remote_context({"traceparent": text})
    found = None if remote is None else trace.get_current_span(remote).get_span_context()
    assert found == (read if read.is_valid else None)


def test_a_callers_context_is_propagated_when_nothing_is_recorded() -> None:
    remote = remote_context({"traceparent": TRACEPARENT, "tracestate": "vendor=x"})
    context = trace.get_current_span(unrecorded_context(remote)).get_span_context()
    assert f"{context.trace_id:032x}" == TRACEPARENT.split("-")[1]
    assert context.trace_state["vendor"] == "x"
    fresh = [trace.get_current_span(unrecorded_context(None)).get_span_context() for _ in range(2)]
    assert all(one.is_valid and not one.trace_flags.sampled for one in fresh)
    assert fresh[0].trace_id != fresh[1].trace_id


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://h:4317"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4317"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4317"}, False),
    ],
)
def test_the_standard_variables_control_the_export_of_traces(
    environ: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_otel(monkeypatch)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert _exports("TRACES") is expected


@pytest.mark.parametrize(
    "environ",
    [
        {"OTEL_TRACES_EXPORTER": "zipkin"},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318"},
    ],
)
def test_an_unsupported_exporter_is_an_error(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    _without_otel(monkeypatch)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match="OTEL_"):
        setup("test", GatewaySettings())


def _without_otel(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


def test_setup_installs_the_globals() -> None:
    # In a separate process, because OpenTelemetry's globals can be set only once.
    code = """
from opentelemetry import trace
from planmesh.settings import GatewaySettings
from planmesh.telemetry.trace_context import current_trace_id
from planmesh.telemetry.tracing import setup
telemetry = setup("planmesh-test", GatewaySettings())
with trace.get_tracer("x").start_as_current_span("y"):
    print(len(current_trace_id()), telemetry.recording)
telemetry.shutdown()
"""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environ["PYTHONPATH"] = str(ROOT)
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == "32 False\n"


def test_a_dead_collector_does_not_delay_the_end() -> None:
    code = """
from planmesh.settings import GatewaySettings
from planmesh.telemetry.tracing import setup
telemetry = setup("planmesh-test", GatewaySettings())
telemetry.tracer.start_span("y").end()
telemetry.instruments.plans.add(1)
telemetry.shutdown()
print("ended", telemetry.recording, telemetry.measuring)
"""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    # Port 9 is "discard": nothing listens there.
    environ.update(PYTHONPATH=str(ROOT), OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "ended True True\n"


def test_names_are_declared_once() -> None:
    # SHADOW_* are values of an attribute, not names.
    constants = {name: value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)}
    declared = [value for name, value in constants.items() if not name.startswith("SHADOW_")]
    metrics = [value for name, value in vars(names).items() if name.startswith("METRIC_")]
    spans = [value for name, value in vars(names).items() if name.startswith("SPAN_")]
    assert len(set(metrics)) == len(metrics)
    assert len(set(spans)) == len(spans)
    assert all(
        value.startswith(("planmesh.", "rpc.", "messaging.", "error.", "process.", "cpu.")) for value in declared
    )
