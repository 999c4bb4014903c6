"""Sets up traces, metrics and logs, once for each process, and reads the trace context of a call.

The standard OTEL_* variables select exporters; without them nothing is exported. Every call still has a trace id: that
of the caller's W3C traceparent, or a new one. Nothing is recorded then, and no span object is created for a call,
because a plan takes at least two hops, and recording both ends of one adds 0.25 to 0.31 ms (see
`planmesh.rpc.interceptors`).
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from opentelemetry import context as otel_context
from opentelemetry import metrics as otel_metrics
from opentelemetry import trace as otel_trace
from opentelemetry.metrics import Meter, NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_NAMESPACE, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from planmesh.settings import ProcessSettings, SettingsError
from planmesh.telemetry.logs import configure_logs
from planmesh.telemetry.metrics import Instruments, make_instruments
from planmesh.telemetry.trace_context import TRACEPARENT, TRACESTATE, parse_traceparent
from planmesh.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

FLUSH_S_MAX: Final = 3.0
"""Seconds in which an ending process exports its last spans; a dead collector must not hold it up."""

_IDS = RandomIdGenerator()
_PROPAGATOR = TraceContextTextMapPropagator()


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The tracer, meter and instruments of a process; `setup` creates it, and it is passed down."""

    service: str
    tracer: Tracer
    instruments: Instruments
    meter: Meter
    recording: bool
    """Whether spans are recorded and exported."""
    measuring: bool
    """Whether metrics are exported."""
    _tracers: TracerProvider = field(repr=False)
    _meters: MeterProvider | None = field(repr=False, default=None)
    _exporters: tuple[OTLPSpanExporter | OTLPMetricExporter, ...] = field(repr=False, default=())

    def shutdown(self) -> None:
        """Export what is left, for at most about FLUSH_S_MAX. It blocks: call it after the event loop has ended."""
        # The SDK does not keep its own time-outs (opentelemetry-python issue 4568): an exporter without a collector
        # retries for ten seconds. Shutting the exporters down stops that.
        impatience = threading.Timer(FLUSH_S_MAX, self._give_up)
        impatience.daemon = True
        impatience.start()
        try:
            self._tracers.shutdown()
            if self._meters is not None:
                self._meters.shutdown(timeout_millis=FLUSH_S_MAX * 1_000)
        finally:
            impatience.cancel()

    def _give_up(self) -> None:
        for exporter in self._exporters:
            exporter.shutdown()


def make_telemetry(
    service: str, *, span_processors: Iterable[SpanProcessor] = (), metric_readers: Iterable[MetricReader] = ()
) -> Telemetry:
    """Return telemetry with the given exporters; it changes no globals, and without exporters it records nothing."""
    processors, readers = list(span_processors), list(metric_readers)
    attributes = {
        SERVICE_NAMESPACE: "planmesh",
        SERVICE_VERSION: VERSION,
        SERVICE_INSTANCE_ID: f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}",
    }
    if not os.environ.get("OTEL_SERVICE_NAME"):
        attributes[SERVICE_NAME] = service
    resource = Resource.create(attributes)
    # Without an exporter the sampler drops every span, but its ids are valid and are propagated.
    provider = TracerProvider(resource=resource) if processors else TracerProvider(ALWAYS_OFF, resource=resource)
    for processor in processors:
        provider.add_span_processor(processor)
    meters = MeterProvider(readers, resource=resource) if readers else None
    meter = (meters or NoOpMeterProvider()).get_meter("planmesh", VERSION)
    return Telemetry(
        service=service,
        tracer=provider.get_tracer("planmesh", VERSION),
        instruments=make_instruments(meter),
        meter=meter,
        recording=bool(processors),
        measuring=bool(readers),
        _tracers=provider,
        _meters=meters,
    )


def setup(service: str, settings: ProcessSettings) -> Telemetry:
    """Set up logs, traces and metrics of this process, and install them as OpenTelemetry's globals.

    `service` is the name in logs and spans: "planmesh-gateway" (for spans OTEL_SERVICE_NAME takes precedence). Call it
    after a fork, not before: exporters own threads and gRPC channels. Raises SettingsError for an exporter that is not
    supported.
    """
    configure_logs(service, settings.log_format, settings.log_level)
    traces, metrics = _exports("TRACES"), _exports("METRICS")
    spans, measures = _span_exporters(traces), _metric_exporters(metrics)
    telemetry = make_telemetry(
        service,
        span_processors=[BatchSpanProcessor(exporter) for exporter in spans],
        metric_readers=[PeriodicExportingMetricReader(exporter) for exporter in measures],
    )
    telemetry = replace(telemetry, _exporters=(*spans, *measures))
    otel_trace.set_tracer_provider(telemetry._tracers)
    if telemetry._meters is not None:
        otel_metrics.set_meter_provider(telemetry._meters)
    return telemetry


# The exporters are imported only where they are used, because a command that exports nothing need not load them.


def _span_exporters(wanted: bool) -> list[OTLPSpanExporter]:
    if not wanted:
        return []
    from opentelemetry.exporter.otlp.proto.grpc import trace_exporter  # noqa: PLC0415

    return [trace_exporter.OTLPSpanExporter()]


def _metric_exporters(wanted: bool) -> list[OTLPMetricExporter]:
    if not wanted:
        return []
    from opentelemetry.exporter.otlp.proto.grpc import metric_exporter  # noqa: PLC0415

    return [metric_exporter.OTLPMetricExporter()]


def _exports(signal: str) -> bool:
    """Return whether OTEL_* requests the export of a signal (TRACES or METRICS) by OTLP."""
    environ = os.environ
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environ.get(f"OTEL_{signal}_EXPORTER", "").strip().lower()
    if exporter not in {"", "otlp", "none"}:
        raise SettingsError(f"OTEL_{signal}_EXPORTER is {exporter!r}; planmesh exports by 'otlp', or 'none'")
    endpoint = environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if exporter == "none" or not (exporter or endpoint):
        return False
    protocol = (
        environ.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or "grpc"
    )
    if protocol != "grpc":
        raise SettingsError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}; planmesh exports by 'grpc' (port 4317)")
    return True


def remote_context(carrier: Mapping[str, str]) -> otel_context.Context | None:
    """Return the OpenTelemetry context of a `traceparent` (and `tracestate`); None when it is missing or malformed."""
    traceparent = carrier.get(TRACEPARENT)
    if traceparent is None:
        return None
    if TRACESTATE not in carrier and (span_context := parse_traceparent(traceparent)) is not None:
        return otel_trace.set_span_in_context(NonRecordingSpan(span_context), otel_context.Context())
    context = _PROPAGATOR.extract(carrier, otel_context.Context())
    return context if otel_trace.get_current_span(context).get_span_context().is_valid else None


def unrecorded_context(remote: otel_context.Context | None) -> otel_context.Context:
    """Return the context of a call in a process that records nothing: the caller's, or one with a new trace id.

    This is what a non-recording tracer does by the OpenTelemetry API: the caller remains the parent of the next
    recorded span.
    """
    if remote is not None:
        return remote
    context = SpanContext(_IDS.generate_trace_id(), _IDS.generate_span_id(), is_remote=False, trace_flags=TraceFlags(0))
    return otel_trace.set_span_in_context(NonRecordingSpan(context), otel_context.Context())
