"""A small OTLP receiver: keeps the spans that a mesh exports, so that a trace can be viewed without other software."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Final

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status as ProtoStatus

from planmesh.errors import ServiceUnavailable
from planmesh.local.ports import LOOPBACK

SPANS_MAX: Final = 100_000
"""Spans kept; older ones are discarded."""

AttributeValue = str | int | float | bool


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """A finished span. Ids are hexadecimal; `links` are (trace id, span id); times are nanoseconds since the epoch."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    attributes: dict[str, AttributeValue]
    links: tuple[tuple[str, str], ...]
    kind: str
    error: str

    @property
    def duration_ms(self) -> float:
        """Duration in milliseconds."""
        return (self.end_ns - self.start_ns) / 1e6


class TraceReceiver(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP/gRPC server on a free loopback port; a context manager.

    Processes started with `environment` export to it.
    """

    def __init__(self) -> None:
        self._spans: deque[ReceivedSpan] = deque(maxlen=SPANS_MAX)
        self._changed = threading.Condition()
        self._server = grpc.server(ThreadPoolExecutor(max_workers=4, thread_name_prefix="otlp"))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self._port = self._server.add_insecure_port(f"{LOOPBACK}:0")

    def __enter__(self) -> TraceReceiver:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(grace=1.0).wait()

    @property
    def environment(self) -> dict[str, str]:
        """OTEL_* variables, which make processes export spans every fifth of a second."""
        return {
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://{LOOPBACK}:{self._port}",
            "OTEL_EXPORTER_OTLP_TRACES_INSECURE": "true",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }

    def Export(  # noqa: N802 - the name of the rpc
        self,
        request: trace_service_pb2.ExportTraceServiceRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - handed to every method
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        """Receive a batch of spans."""
        received = []
        for resource_spans in request.resource_spans:
            resource = {item.key: _value(item.value) for item in resource_spans.resource.attributes}
            service = str(resource.get("service.name", "unknown"))
            for scope_spans in resource_spans.scope_spans:
                received += [_received(service, span) for span in scope_spans.spans]
        with self._changed:
            self._spans.extend(received)
            self._changed.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    def spans(self) -> list[ReceivedSpan]:
        """Return all spans received so far."""
        with self._changed:
            return list(self._spans)

    def wait_for(self, enough: Callable[[list[ReceivedSpan]], bool], timeout_s: float) -> list[ReceivedSpan]:
        """Return all spans as soon as `enough` accepts them. Raises ServiceUnavailable after `timeout_s`."""
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while not enough(list(self._spans)):
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    raise ServiceUnavailable(
                        f"expected more spans within {timeout_s:g} s; check that the processes export them"
                    )
                self._changed.wait(left_s)
            return list(self._spans)


def _value(value: AnyValue) -> AttributeValue:
    kind = value.WhichOneof("value")
    if kind is None:
        return ""
    if kind in ("string_value", "bool_value", "int_value", "double_value"):
        plain: AttributeValue = getattr(value, kind)
        return plain
    if kind == "array_value":
        return ", ".join(str(_value(item)) for item in value.array_value.values)
    return str(getattr(value, kind))


def _received(service: str, span: ProtoSpan) -> ReceivedSpan:
    failed = span.status.code == ProtoStatus.STATUS_CODE_ERROR
    return ReceivedSpan(
        service=service,
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes={item.key: _value(item.value) for item in span.attributes},
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        kind=ProtoSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        error=span.status.message or "error" if failed else "",
    )
