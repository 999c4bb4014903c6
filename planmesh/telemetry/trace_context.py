"""The W3C trace context of a call. It needs only OpenTelemetry's API, the one part of it that the client installs."""

from __future__ import annotations

from typing import Final

from opentelemetry import trace as otel_trace
from opentelemetry.trace import SpanContext, TraceFlags

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"

TRACEPARENT_CHARACTERS: Final = 55


def current_trace_id() -> str:
    """Return the trace id of the call being served, as 32 hexadecimal digits; "" outside a call."""
    context = otel_trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else ""


def current_traceparent() -> str:
    """Return the W3C traceparent of the current span, for a task or a call; "" outside a span."""
    context = otel_trace.get_current_span().get_span_context()
    return traceparent_of(context) if context.is_valid else ""


def parse_traceparent(text: str) -> SpanContext | None:
    """Return the context in a text as `traceparent_of` writes it; None for any other, which a propagator may know.

    OpenTelemetry's propagator takes ten times as long, which every question on a stream between our processes paid.
    """
    if not (len(text) == TRACEPARENT_CHARACTERS and text.isascii() and text == text.lower()):
        return None
    version, trace_id, span_id, flags = text[:2], text[3:35], text[36:52], text[53:]
    is_own = version == "00" and text[2] == text[35] == text[52] == "-" and (trace_id + span_id + flags).isalnum()
    try:
        context = SpanContext(
            int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
        )
    except ValueError:
        return None
    return context if is_own and context.is_valid else None


def traceparent_of(context: SpanContext) -> str:
    """Return a span's context as a W3C traceparent."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
