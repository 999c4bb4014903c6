"""The W3C trace context of a call. It needs only OpenTelemetry's API, the one part of it that the client installs."""

from __future__ import annotations

from typing import Final

from opentelemetry import trace as otel_trace
from opentelemetry.trace import SpanContext

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"


def current_trace_id() -> str:
    """Return the trace id of the call being served, as 32 hexadecimal digits; "" outside a call."""
    context = otel_trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else ""


def current_traceparent() -> str:
    """Return the W3C traceparent of the current span, for a task or a call; "" outside a span."""
    context = otel_trace.get_current_span().get_span_context()
    return traceparent_of(context) if context.is_valid else ""


def traceparent_of(context: SpanContext) -> str:
    """Return a span's context as a W3C traceparent."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
