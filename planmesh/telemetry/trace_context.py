"""The W3C trace context of a call. Needs OpenTelemetry's API only, which is all that the client installs of it."""

from __future__ import annotations

from typing import Final

from opentelemetry import trace as otel_trace
from opentelemetry.trace import SpanContext

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"


def current_trace_id() -> str:
    """The trace id of the call that is being served, 32 hexadecimal digits; empty outside of any."""
    context = otel_trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else ""


def current_traceparent() -> str:
    """The W3C traceparent of the current span, for a task or a call; empty outside of any."""
    context = otel_trace.get_current_span().get_span_context()
    return traceparent_of(context) if context.is_valid else ""


def traceparent_of(context: SpanContext) -> str:
    """A span's context as W3C traceparent."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
