"""Spans of calls, and the trace context in their metadata."""

from __future__ import annotations

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace.span import TraceState

from planmesh.rpc.client_spans import end_client_span, start_client_span, with_trace
from planmesh.telemetry import names
from planmesh.telemetry.tracing import make_telemetry

TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
TRACEPARENT = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")


@pytest.mark.parametrize(
    ("code", "details", "expected"),
    [
        (grpc.StatusCode.OK, "", (trace.StatusCode.UNSET, None)),
        (grpc.StatusCode.NOT_FOUND, "no graph", (trace.StatusCode.ERROR, "no graph")),
        (grpc.StatusCode.UNAVAILABLE, "", (trace.StatusCode.ERROR, "UNAVAILABLE")),
    ],
)
def test_a_span_has_the_method_and_the_status(
    code: grpc.StatusCode, details: str, expected: tuple[trace.StatusCode, str | None]
) -> None:
    exporter = InMemorySpanExporter()
    tracer = make_telemetry("planmesh-test", span_processors=[SimpleSpanProcessor(exporter)]).tracer
    end_client_span(start_client_span(tracer, "/planmesh.v1.PlanService/Plan"), code, details)
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.kind) == ("planmesh.v1.PlanService/Plan", trace.SpanKind.CLIENT)
    assert dict(span.attributes or {}) == {
        names.RPC_SYSTEM: "grpc",
        names.RPC_SERVICE: "planmesh.v1.PlanService",
        names.RPC_METHOD: "Plan",
        names.RPC_STATUS_CODE: code.value[0],
    }
    assert (span.status.status_code, span.status.description) == expected


def test_the_context_is_added_to_metadata() -> None:
    span = trace.NonRecordingSpan(trace.SpanContext(TRACE, SPAN, is_remote=False))
    assert with_trace([("a", "b")], span) == (("a", "b"), TRACEPARENT)
    with trace.use_span(span):
        assert with_trace(None, None) == (TRACEPARENT,)


def test_the_trace_state_travels_too() -> None:
    state = TraceState([("vendor", "x")])
    span = trace.NonRecordingSpan(trace.SpanContext(TRACE, SPAN, is_remote=False, trace_state=state))
    assert with_trace(None, span) == (TRACEPARENT, ("tracestate", "vendor=x"))


def test_outside_a_span_metadata_stays_as_it_is() -> None:
    assert with_trace(None, None) is None
    assert with_trace([("a", "b")], None) == (("a", "b"),)
