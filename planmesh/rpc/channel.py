"""Channels to the services of the mesh: bounds, keepalive, retries on UNAVAILABLE, and trace context.

A channel that wraps the real one adds the trace context, because grpc.aio runs an intercepted call in an extra task
(0.04 ms of a hop of 0.55 ms with an interceptor that does nothing, median of 3,000).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio
from opentelemetry.trace import Span, Tracer

from planmesh.rpc.client_spans import end_client_span, start_client_span, with_trace

if TYPE_CHECKING:
    from planmesh.telemetry.tracing import Telemetry

REQUEST_BYTES_MAX: Final = 16 * 2**20
"""Most bytes of a message that a server receives: a load's batch of 65,536 edges with ids of 100 bytes, or 10,000 pairs
of the longest ids."""

RESPONSE_BYTES_MAX: Final = 64 * 2**20
"""Most bytes of a message that a server sends: 100,000 neighbours with the longest ids and 100-byte partition names."""

CONTENT_BYTES_MAX: Final = RESPONSE_BYTES_MAX - 2**20
"""Most bytes of a plan, or of a node's neighbours; a MiB remains for the rest of the response. When a response is too
large, gRPC itself ends the whole call, with all other answers of a batch."""

METADATA_BYTES_MAX: Final = 32 * 2**10
"""Most bytes of a call's metadata that our servers accept."""

ATTEMPTS_MAX: Final = 4
"""Attempts, including the first. Their backoffs add up to 0.65 s, so a service may be down for about that long."""

KEEPALIVE_INTERVAL_MS: Final = 30_000
KEEPALIVE_TIMEOUT_MS: Final = 10_000
RECONNECT_BACKOFF_MS_MAX: Final = 1_000
"""A restarted service is found within about a second (gRPC's own bound is two minutes)."""

SEVERAL: Final = ("dns:///", "ipv4:", "ipv6:")
"""Prefixes of addresses that may name several instances of a service, in gRPC's notation."""

RETRY_POLICY: Final[dict[str, Any]] = {
    "maxAttempts": ATTEMPTS_MAX,
    "initialBackoff": "0.05s",
    "maxBackoff": "1s",
    "backoffMultiplier": 3.0,
    "retryableStatusCodes": ["UNAVAILABLE"],
}

RETRY_THROTTLING: Final = {"maxTokens": 100, "tokenRatio": 0.1}
"""When most calls fail, retries stop, because they would only add to the load."""


def service_config(
    retried: Sequence[str] = (), unretried: Sequence[tuple[str, str]] = (), *, balanced: bool = False
) -> str:
    """Return a gRPC service config that retries every method of the services `retried` on UNAVAILABLE only.

    `unretried` excludes (service, method) pairs: a load is a stream that cannot be sent again. `balanced` spreads calls
    over all addresses whose health service reports them as ready.
    """
    entries: list[dict[str, Any]] = []
    if unretried:
        entries.append({"name": [{"service": service, "method": method} for service, method in unretried]})
    if retried:
        entries.append({"name": [{"service": service} for service in retried], "retryPolicy": RETRY_POLICY})
    config: dict[str, Any] = {"methodConfig": entries}
    if retried:
        config["retryThrottling"] = RETRY_THROTTLING
    if balanced:
        config |= {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
    return json.dumps(config, separators=(",", ":"))


def channel_options(config: str) -> list[tuple[str, Any]]:
    """Return channel arguments with our bounds, keepalive and the service config, for sync and async channels."""
    return [
        ("grpc.max_send_message_length", REQUEST_BYTES_MAX),
        ("grpc.max_receive_message_length", RESPONSE_BYTES_MAX),
        ("grpc.max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.keepalive_time_ms", KEEPALIVE_INTERVAL_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_BACKOFF_MS_MAX),
        ("grpc.enable_retries", 1),
        ("grpc.service_config", config),
        # A proxy variable of the environment is for the web, not for the services of a mesh.
        ("grpc.enable_http_proxy", 0),
    ]


def make_channel(
    address: str,
    telemetry: Telemetry | None = None,
    *,
    tracer: Tracer | None = None,
    credentials: grpc.ChannelCredentials | None = None,
    retried: Sequence[str] = (),
    unretried: Sequence[tuple[str, str]] = (),
    options: Sequence[tuple[str, Any]] = (),
) -> TracedChannel:
    """Open a channel to `address` (`host:port` or `unix:/path`), inside the event loop that uses it.

    For `dns:///host:port`, calls rotate among all addresses of the name that are ready. The channel propagates the
    current trace. With a `telemetry` that records, or a `tracer`, each call is a client span. `credentials` enable TLS.
    `options` take precedence over our own.
    """
    # gRPC uses the first of two values.
    arguments = [*options, *channel_options(service_config(retried, unretried, balanced=address.startswith(SEVERAL)))]
    channel = (
        grpc.aio.insecure_channel(address, options=arguments)
        if credentials is None
        else grpc.aio.secure_channel(address, credentials, options=arguments)
    )
    if tracer is None and telemetry is not None and telemetry.recording:
        tracer = telemetry.tracer
    return TracedChannel(channel, tracer)


class TracedChannel(grpc.aio.Channel):
    """A channel whose calls carry the W3C trace context of the current span."""

    def __init__(self, channel: grpc.aio.Channel, tracer: Tracer | None) -> None:
        self._channel = channel
        self._tracer = tracer
        self._ending: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> TracedChannel:
        await self._channel.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Close the connection; calls in progress have `grace` seconds to end."""
        await self._channel.close(grace)
        if self._ending:
            await asyncio.gather(*self._ending)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the state of the connection."""
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Return when the state differs from `last_observed_state`."""
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Return when the connection is established."""
        await self._channel.channel_ready()

    def unary_unary(self, method: str, *arguments: Any, **options: Any) -> Any:
        """See grpc.aio.Channel."""
        return self._traced(method, self._channel.unary_unary(method, *arguments, **options))

    def unary_stream(self, method: str, *arguments: Any, **options: Any) -> Any:
        """See grpc.aio.Channel."""
        return self._traced(method, self._channel.unary_stream(method, *arguments, **options))

    def stream_unary(self, method: str, *arguments: Any, **options: Any) -> Any:
        """See grpc.aio.Channel."""
        return self._traced(method, self._channel.stream_unary(method, *arguments, **options))

    def stream_stream(self, method: str, *arguments: Any, **options: Any) -> Any:
        """See grpc.aio.Channel."""
        return self._traced(method, self._channel.stream_stream(method, *arguments, **options))

    def _traced(self, path: str, call_it: Callable[..., Any]) -> Callable[..., Any]:
        tracer = self._tracer
        if tracer is None:

            def unrecorded(request: Any = None, *, metadata: Any = None, **options: Any) -> Any:
                return call_it(request, metadata=with_trace(metadata, None), **options)

            return unrecorded

        def recorded(request: Any = None, *, metadata: Any = None, **options: Any) -> Any:
            span = start_client_span(tracer, path)
            try:
                call = call_it(request, metadata=with_trace(metadata, span), **options)
            except BaseException:
                end_client_span(span, grpc.StatusCode.UNKNOWN, "the call could not be made")
                raise
            call.add_done_callback(lambda done: self._end_later(span, done))
            return call

        return recorded

    def _end_later(self, span: Span, call: Any) -> None:
        """End the span of a finished call in a task: only a coroutine can read its status."""
        ended_ns = time.time_ns()

        async def end() -> None:
            end_client_span(span, await call.code(), await call.details() or "", ended_ns)

        task = asyncio.get_running_loop().create_task(end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
