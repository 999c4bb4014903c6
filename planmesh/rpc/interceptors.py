"""Wraps every handler with the trace context, the error map and the metrics of a call.

Handlers are wrapped once, when the server is created. A grpc.aio.ServerInterceptor would run again for every call, and
OpenTelemetry's own aio interceptors create a span and a context proxy even when nothing exports them. Measured over an
echo on loopback (medians of 3,000 calls for each variant, taken in turns, two runs on 2 busy cores, both ends in one
process, 0.53 and 0.63 ms bare): this module and `channel` add 0.03 and 0.04 ms when nothing is recorded, 0.25 and 0.31
ms when both ends record; OpenTelemetry's add 0.29 and 0.34 ms with the sampler off.

Spans have the rpc.* attributes that OpenTelemetry's instrumentation writes. Errors leave through
`context.abort(code, details, trailing_metadata)`.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
import grpc.aio
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
from planmesh.rpc import decoding
from planmesh.rpc import status as rpc_status
from planmesh.telemetry import names
from planmesh.telemetry.limited_log import LimitedLog
from planmesh.telemetry.logs import get_logger
from planmesh.telemetry.trace_context import TRACEPARENT, TRACESTATE, current_trace_id
from planmesh.telemetry.tracing import Telemetry, unrecorded_context
from planmesh.telemetry.tracing import remote_context as remote_context_of

Context = grpc.aio.ServicerContext[Any, Any]
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
    """One call in progress."""

    method: str
    begun_s: float
    span: Span | None
    observed: bool = True
    """Whether the call is measured; calls of health and reflection are not."""


class HandlerWrapper:
    """Wraps the handlers of services, of any arity; they must be coroutine functions or async generators."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._undecodable_log = LimitedLog(log)

    def wrap(
        self, method: str, handler: grpc.RpcMethodHandler[Any, Any], *, observed: bool = True
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Wrap `handler` of the rpc `method` ("package.Service/Method") with trace, error map and metrics.

        A handler that is not `observed` gets only the error map.
        """
        behavior: Any = handler.unary_unary or handler.stream_unary or handler.unary_stream or handler.stream_stream
        assert behavior is not None, f"{method} has no handler"
        wrapped: Callable[..., Any]
        take = decoding.NotedStream if handler.request_streaming else decoding.take_single
        if inspect.isasyncgenfunction(behavior):
            wrapped = self._generator(method, behavior, take, observed)
        elif inspect.iscoroutinefunction(behavior):
            wrapped = self._coroutine(method, behavior, take, observed)
        else:
            raise TypeError(f"the handler of {method} must be `async def`, got {behavior!r}")
        make = _MAKERS[bool(handler.request_streaming), bool(handler.response_streaming)]
        guard = decoding.streamed if handler.request_streaming else decoding.single
        return make(wrapped, guard(handler.request_deserializer), handler.response_serializer)

    def _coroutine(
        self,
        method: str,
        behavior: Callable[[Any, Context], Awaitable[Any]],
        take: Callable[[Any], Any],
        observed: bool,
    ) -> Callable[[Any, Context], Awaitable[Any]]:
        async def serve(request: Any, context: Context) -> Any:
            call = self._begin(method, context, observed)
            try:
                request = take(request)
                response = await behavior(request, context)
                decoding.check_read(request)
            except BaseException as error:
                await self._fail(call, context, error)
            self._end(call, grpc.StatusCode.OK)
            return response

        return serve

    def _generator(
        self,
        method: str,
        behavior: Callable[[Any, Context], AsyncIterator[Any]],
        take: Callable[[Any], Any],
        observed: bool,
    ) -> Callable[[Any, Context], AsyncIterator[Any]]:
        async def serve(request: Any, context: Context) -> AsyncIterator[Any]:
            call = self._begin(method, context, observed)
            try:
                request = take(request)
                async for response in behavior(request, context):
                    yield response
                decoding.check_read(request)
            except GeneratorExit:
                self._end(call, grpc.StatusCode.CANCELLED)
                raise
            except BaseException as error:
                await self._fail(call, context, error)
            self._end(call, grpc.StatusCode.OK)

        return serve

    def _begin(self, method: str, context: Context, observed: bool) -> Call:
        if not observed:
            return Call(method, time.perf_counter(), None, observed=False)
        carrier: dict[str, str] = {}
        for key, value in context.invocation_metadata() or ():
            if key in {TRACEPARENT, TRACESTATE}:
                carrier[key] = value if isinstance(value, str) else value.decode("ascii", "replace")
        remote = remote_context_of(carrier) if carrier else None
        span: Span | None = None
        if self._telemetry.recording:
            service, _, name = method.rpartition("/")
            span = self._telemetry.tracer.start_span(
                method,
                remote if remote is not None else otel_context.Context(),
                SpanKind.SERVER,
                {names.RPC_SYSTEM: "grpc", names.RPC_SERVICE: service, names.RPC_METHOD: name},
            )
            active = otel_trace.set_span_in_context(span, otel_context.Context())
        else:
            active = unrecorded_context(remote)
        # Never detached, because grpc.aio runs every call in its own task, and the context ends with the task.
        otel_context.attach(active)
        return Call(method, time.perf_counter(), span)

    def _end(self, call: Call, code: grpc.StatusCode, error: BaseException | None = None) -> None:
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

    async def _fail(self, call: Call, context: Context, error: BaseException) -> NoReturn:
        """End a call that raised `error`, with the status that the error maps to."""
        if isinstance(error, grpc.aio.AbortError):
            self._end(call, _context_code(context), error)
            raise error
        if isinstance(error, grpc.aio.AioRpcError):
            await self._pass_on(call, context, error)
        if isinstance(error, asyncio.CancelledError):
            task = asyncio.current_task()
            if context.cancelled() or (task is not None and task.cancelling()):
                passed = context.time_remaining() == 0
                self._end(call, grpc.StatusCode.DEADLINE_EXCEEDED if passed else grpc.StatusCode.CANCELLED)
                raise error
            # Something that the handler awaited was cancelled, but the call was not: the caller needs an answer.
        elif not isinstance(error, Exception):
            self._end(call, grpc.StatusCode.CANCELLED, error)
            raise error
        await self._abort(call, context, error)

    async def _pass_on(self, call: Call, context: Context, error: grpc.aio.AioRpcError) -> NoReturn:
        """End a call with the rich status of a failed downstream call, unchanged."""
        rich = rpc_status.rich_status(error)
        if rich is None:
            await self._abort(call, context, rpc_status.from_rpc_error(error, "a service of the mesh"))
        restored = rpc_status.from_rpc_error(error)
        if isinstance(restored, NoPath):  # an answer, not a failure
            write_line = log.debug
        else:
            write_line = self._undecodable_log.info if isinstance(restored, MessageUndecodable) else log.info
        write_line("call failed downstream", method=call.method, code=error.code().name, message=error.details())
        self._end(call, error.code(), error)
        await context.abort(error.code(), error.details() or "", ((rpc_status.DETAILS_KEY, rich.SerializeToString()),))

    async def _abort(self, call: Call, context: Context, error: BaseException) -> NoReturn:
        trace_id = current_trace_id()
        known = error if isinstance(error, PlanmeshError) else _unexpected(error, trace_id)
        status = rpc_status.to_status(known, trace_id)
        code = rpc_status.code_of(known)
        if isinstance(error, MessageUndecodable):
            # Any caller can send such messages by the thousand, so the log is limited; the counter counts them all.
            self._undecodable_log.info("a message cannot be decoded", method=call.method, message=error.message)
            if self._telemetry.measuring:
                self._telemetry.instruments.undecodable.add(1, {names.RPC_METHOD: call.method})
        else:
            _log_failure(call, code, error)
        self._end(call, code, error)
        await context.abort(code, status.message, ((rpc_status.DETAILS_KEY, status.SerializeToString()),))


def _unexpected(error: BaseException, trace_id: str) -> InternalError:
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


def _context_code(context: Context) -> grpc.StatusCode:
    """Return the code that a handler passed to abort; grpc.aio returns the enum's number or the enum."""
    code: Any = context.code()
    if isinstance(code, grpc.StatusCode):
        return code
    return next((known for known in grpc.StatusCode if known.value[0] == code), grpc.StatusCode.UNKNOWN)


_MAKERS: dict[tuple[bool, bool], Callable[..., grpc.RpcMethodHandler[Any, Any]]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
"""Keyed by (request streaming, response streaming)."""

__all__ = ["Call", "Context", "HandlerWrapper"]
