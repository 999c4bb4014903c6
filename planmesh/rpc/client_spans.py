"""Client spans: one for each call, with its context in the call's metadata."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from opentelemetry import trace as otel_trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from planmesh.telemetry import names
from planmesh.telemetry.trace_context import TRACEPARENT, TRACESTATE, traceparent_of

Metadata = tuple[tuple[str, Any], ...]


def start_client_span(tracer: Tracer, path: str) -> Span:
    """Start a client span for a call to `path` ("/package.Service/Method"), as a child of the current span."""
    full_name = path.removeprefix("/")
    service, _, method = full_name.rpartition("/")
    attributes = {names.RPC_SYSTEM: "grpc", names.RPC_SERVICE: service, names.RPC_METHOD: method}
    return tracer.start_span(full_name, kind=SpanKind.CLIENT, attributes=attributes)


def end_client_span(span: Span, code: grpc.StatusCode, details: str = "", ended_ns: int | None = None) -> None:
    """End the span of a call that ended with `code`; for a client every code but OK is an error."""
    span.set_attribute(names.RPC_STATUS_CODE, code.value[0])
    if code is not grpc.StatusCode.OK:
        span.set_status(Status(StatusCode.ERROR, details or code.name))
    span.end(ended_ns)


def with_trace(metadata: Iterable[tuple[str, Any]] | None, span: Span | None) -> Metadata | None:
    """Return `metadata` with the W3C trace context of `span`, or of the current span when `span` is None."""
    context = (otel_trace.get_current_span() if span is None else span).get_span_context()
    given = tuple(metadata) if metadata else ()
    if not context.is_valid:
        return given or None
    traced: Metadata = (*given, (TRACEPARENT, traceparent_of(context)))
    return (*traced, (TRACESTATE, context.trace_state.to_header())) if context.trace_state else traced
