"""The trace, metrics and log of a call that a process answers, whether it came by itself or in a stream."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import grpc
from google.rpc import status_pb2
from opentelemetry import context as otel_context
from opentelemetry import trace as otel_trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from planmesh.errors import (
    InternalError,
    InvalidRequest,
    MessageUndecodable,
    NoPath,
    NotFound,
    Overloaded,
    PlanmeshError,
)
from planmesh.rpc import status as rpc_status
from planmesh.telemetry import names
from planmesh.telemetry.limited_log import LimitedLog
from planmesh.telemetry.logs import get_logger
from planmesh.telemetry.tracing import Telemetry, remote_context, unrecorded_context

log = get_logger(__name__)

SERVER_FAULTS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Codes that make a server span an error by the rpc conventions; the caller causes the others."""


@dataclass(slots=True)
class Call:
    """One call in progress: `method` ("package.Service/Method"), and the context that it is answered in."""

    method: str
    begun_s: float
    context: otel_context.Context
    span: Span | None = None
    observed: bool = True
    """Whether the call is measured; calls of health and reflection are not."""

    @classmethod
    def unobserved(cls, method: str) -> Call:
        """Return a call without a trace."""
        return cls(method, time.perf_counter(), otel_context.Context(), observed=False)

    @property
    def trace_id(self) -> str:
        """The trace id of the call, as 32 hexadecimal digits; empty for one that is not observed."""
        context = otel_trace.get_current_span(self.context).get_span_context()
        return f"{context.trace_id:032x}" if context.is_valid else ""


class CallObserver:
    """Begins and ends the calls of a process."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._undecodable_log = LimitedLog(log)

    def begin(self, method: str, carrier: Mapping[str, str]) -> Call:
        """Begin a call with the trace context that came with it: `traceparent` and `tracestate`, or nothing."""
        remote = remote_context(carrier) if carrier else None
        if not self._telemetry.recording:
            return Call(method, time.perf_counter(), unrecorded_context(remote))
        service, _, name = method.rpartition("/")
        span = self._telemetry.tracer.start_span(
            method,
            remote if remote is not None else otel_context.Context(),
            SpanKind.SERVER,
            {names.RPC_SYSTEM: "grpc", names.RPC_SERVICE: service, names.RPC_METHOD: name},
        )
        context = otel_trace.set_span_in_context(span, otel_context.Context())
        return Call(method, time.perf_counter(), context, span)

    def end(self, call: Call, code: grpc.StatusCode, error: BaseException | None = None) -> None:
        """Measure a call that ends with `code`, and end its span."""
        if self._telemetry.measuring and call.observed:
            self._telemetry.instruments.call_duration.record(
                time.perf_counter() - call.begun_s,
                {names.RPC_METHOD: call.method, names.RPC_STATUS_CODE: code.name},
            )
        span = call.span
        if span is None:
            return
        span.set_attribute(names.RPC_STATUS_CODE, code.value[0])
        if error is not None:
            span.set_attribute(names.ERROR_TYPE, type(error).__name__)
            if isinstance(error, PlanmeshError):
                span.set_attribute(names.REASON, rpc_status.reason_of(error))
        if code in SERVER_FAULTS:
            span.set_status(Status(StatusCode.ERROR, str(error) if error is not None else code.name))
            if error is not None:
                span.record_exception(error)
        span.end()

    def fail(self, call: Call, error: BaseException) -> status_pb2.Status:
        """End and log a call that raised `error`, and return the status for its caller."""
        known = error if isinstance(error, PlanmeshError) else unexpected(error, call.trace_id)
        code = rpc_status.code_of(known)
        if isinstance(error, MessageUndecodable):
            # Any caller can send such messages by the thousand, so the log is limited; the counter counts them all.
            self._undecodable_log.info("a message cannot be decoded", method=call.method, message=error.message)
            if self._telemetry.measuring:
                self._telemetry.instruments.undecodable.add(1, {names.RPC_METHOD: call.method})
        else:
            _log_failure(call, code, error)
        self.end(call, code, error)
        return rpc_status.to_status(known, call.trace_id)

    def note_downstream(self, call: Call, error: grpc.RpcError) -> None:
        """Log a call that a service behind this one refused."""
        restored = rpc_status.from_rpc_error(error)
        if isinstance(restored, NoPath):  # an answer, not a failure
            write_line = log.debug
        else:
            write_line = self._undecodable_log.info if isinstance(restored, MessageUndecodable) else log.info
        write_line("call failed downstream", method=call.method, code=error.code().name, message=error.details())


def unexpected(error: BaseException, trace_id: str) -> InternalError:
    """Return what the caller gets for a defect; its text reveals nothing of it."""
    return InternalError(
        f"an unexpected error inside planmesh; its log has the cause under trace id {trace_id}",
        error=type(error).__name__,
    )


def _log_failure(call: Call, code: grpc.StatusCode, error: BaseException) -> None:
    facts = {
        "method": call.method,
        "code": code.name,
        "duration_ms": round((time.perf_counter() - call.begun_s) * 1e3, 3),
    }
    if not isinstance(error, PlanmeshError):
        log.error("call failed unexpectedly", exc_info=error, error=repr(error), **facts)
        return
    facts["reason"] = rpc_status.reason_of(error)
    if code is grpc.StatusCode.INTERNAL:
        log.error("call failed", exc_info=error, message=error.message, **facts)
    elif isinstance(error, (NoPath, Overloaded)):
        # NoPath is an answer, and refusals come by the thousand under overload. The metric counts both.
        log.debug("call failed", message=error.message, **facts)
    elif isinstance(error, (InvalidRequest, NotFound)):
        log.info("call failed", message=error.message, **facts)
    else:
        log.warning("call failed", message=error.message, **facts)
