"""The grpc.aio server of every process: reflection, standard health, error map, two-stage shutdown.

The health service distinguishes two states. "" and each service's name say whether calls are answered (readiness);
"liveness" says whether the event loop runs. A process is starting until its first answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from planmesh.errors import ServiceUnavailable
from planmesh.rpc.channel import METADATA_BYTES_MAX, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX
from planmesh.rpc.interceptors import HandlerWrapper
from planmesh.rpc.shared_port import bound_socket
from planmesh.telemetry.logs import get_logger
from planmesh.telemetry.tracing import Telemetry

LIVENESS: Final = "liveness"
"""Name of the health service that is SERVING while the event loop runs."""

KEEPALIVE_INTERVAL_MS_MIN: Final = 10_000
"""Least interval of clients' keepalive pings."""

CONNECTION_AGE_MS_MAX: Final = 60_000
"""Age at which a network connection is asked to end; calls in progress continue. The client then resolves the name
again and finds replicas that were added."""

PENDING_CALLS_MAX: Final = 20_000
"""Calls that have arrived and wait to be accepted, some 10 KiB each. With gRPC's own bounds (1,000, and 3,000), some
calls would be refused as UNAVAILABLE before we could answer that there are too many, and when to retry."""

CONNECT_PROBE_S: Final = 1.0
"""Seconds in which a process that might own a unix socket must accept a connection."""

log = get_logger(__name__)

Handlers: TypeAlias = "dict[str, grpc.RpcMethodHandler[Any, Any]]"


@dataclass(frozen=True, slots=True)
class Service:
    """A servicer's handlers, with the full name of their service."""

    name: str
    handlers: Handlers
    lasting: frozenset[str] = frozenset()
    """Methods whose calls last as long as the processes at both ends. They are neither traced nor measured."""

    @classmethod
    def of(cls, add_to_server: Callable[[Any, Any], None], servicer: object) -> Service:
        """Return the handlers that a generated `add_XServicer_to_server` would register for `servicer`.

        Methods that `servicer` does not override are left out: gRPC answers UNIMPLEMENTED.
        """
        recorder = _Recorder()
        add_to_server(servicer, recorder)
        assert recorder.name, f"{add_to_server!r} registered nothing"
        return cls(
            recorder.name,
            {
                method: handler
                for method, handler in recorder.handlers.items()
                if getattr(servicer, method).__module__ != add_to_server.__module__
            },
        )

    def with_raw_responses(self, methods: Iterable[str]) -> Service:
        """Return the same service, whose `methods` return serialized bytes instead of messages."""
        return self._changed(methods, response_serializer=None)

    def with_raw_requests(self, methods: Iterable[str]) -> Service:
        """Return the same service, whose `methods` receive serialized bytes instead of messages."""
        return self._changed(methods, request_deserializer=None)

    def _changed(self, methods: Iterable[str], **changes: None) -> Service:
        handlers = dict(self.handlers)
        for method in methods:
            handlers[method] = handlers[method]._replace(**changes)  # type: ignore[attr-defined]
        return replace(self, handlers=handlers)

    def with_lasting(self, methods: Iterable[str]) -> Service:
        """Return the same service, whose `methods` last."""
        return replace(self, lasting=frozenset(methods))


class _Recorder:
    """Takes the place of a server while generated code registers handlers, and records them."""

    def __init__(self) -> None:
        self.name = ""
        self.handlers: Handlers = {}

    def add_generic_rpc_handlers(self, generic_handlers: object) -> None:
        """Ignore the second registration that generated code makes of the same handlers."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        self.name = service
        self.handlers.update(handlers)


class Server:
    """One listening server. Create it, `start` it, call `set_ready`, then `stop` it (or `serve_until_signal`)."""

    def __init__(
        self,
        services: Sequence[Service],
        addresses: Sequence[str],
        telemetry: Telemetry,
        *,
        request_bytes_max: int = REQUEST_BYTES_MAX,
        response_bytes_max: int = RESPONSE_BYTES_MAX,
        interceptors: Sequence[grpc.aio.ServerInterceptor[Any, Any]] = (),
        shares_ports: bool = False,
    ) -> None:
        """`shares_ports`: other processes may listen on the same ports; see `planmesh.rpc.shared_port`."""
        self._services = tuple(services)
        self._wanted = tuple(addresses)
        self._health = HealthServicer()
        self._ready = False
        self._stopping = False
        self._sockets: list[Path] = []
        self._followers: list[Callable[..., None]] = []
        self.addresses: tuple[str, ...] = ()
        """The addresses that it listens on after `start`: port 0 is replaced by the real port."""
        networked = any(not address.startswith("unix:") for address in addresses)
        self._server = grpc.aio.server(
            interceptors=list(interceptors),
            options=[
                *([("grpc.max_connection_age_ms", CONNECTION_AGE_MS_MAX)] if networked else []),
                ("grpc.max_receive_message_length", request_bytes_max),
                ("grpc.max_send_message_length", response_bytes_max),
                ("grpc.max_metadata_size", METADATA_BYTES_MAX),
                # The default limit is a quarter higher, and gRPC refuses calls between the two limits at random.
                ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
                ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_INTERVAL_MS_MIN),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.server.max_pending_requests", PENDING_CALLS_MAX),
                ("grpc.server.max_pending_requests_hard_limit", PENDING_CALLS_MAX),
                # Without this, a second process may listen on the same port and take half of the calls.
                ("grpc.so_reuseport", int(shares_ports)),
            ],
        )
        wrapper = HandlerWrapper(telemetry)
        listed = [*(service.name for service in self._services), health.SERVICE_NAME, reflection.SERVICE_NAME]
        standard = (
            Service.of(health_pb2_grpc.add_HealthServicer_to_server, self._health),
            Service.of(reflection_pb2_grpc.add_ServerReflectionServicer_to_server, ReflectionServicer(listed)),
        )
        for service in (*self._services, *standard):
            wrapped = {
                method: wrapper.wrap(
                    f"{service.name}/{method}",
                    handler,
                    observed=service not in standard and method not in service.lasting,
                )
                for method, handler in service.handlers.items()
            }
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.name, wrapped),))

    @property
    def ready(self) -> bool:
        """Whether the health service reports SERVING."""
        return self._ready and not self._stopping

    async def start(self) -> None:
        """Listen, but report NOT_SERVING until `set_ready`. Raises ServiceUnavailable when an address is not free."""
        bound = []
        for address in self._wanted:
            if address.startswith("unix:"):
                self._sockets.append(_free_socket(address))
            try:
                port = self._server.add_insecure_port(address)
            except RuntimeError as error:
                raise ServiceUnavailable(f"cannot listen on {address}: {_why_not(address)}", address=address) from error
            bound.append(address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}")
        await self._health.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
        await self._set_health(serving=False)
        await self._server.start()
        self.addresses = tuple(bound)

    async def set_ready(self, ready: bool) -> None:
        """Report whether calls can be answered: "" and every service become SERVING or NOT_SERVING."""
        if self._stopping or ready == self._ready:
            return
        self._ready = ready
        await self._set_health(serving=ready)
        log.info("ready" if ready else "not ready", addresses=self.addresses)

    def follow(self, callback: Callable[..., None]) -> None:
        """Call `callback(ready, leaving=...)` on every change of readiness: long streams have to know."""
        self._followers.append(callback)

    async def _set_health(self, *, serving: bool) -> None:
        for callback in self._followers:
            callback(serving, leaving=self._stopping)
        response = health_pb2.HealthCheckResponse
        state = response.SERVING if serving else response.NOT_SERVING
        for name in ("", *(service.name for service in self._services)):
            await self._health.set(name, state)

    async def leave(self) -> None:
        """Report NOT_SERVING permanently but still answer calls, so that callers that watch health switch to others."""
        if not self._stopping:
            self._stopping = True
            await self._set_health(serving=False)

    async def stop(self, grace_s: float) -> None:
        """Report NOT_SERVING, accept no more calls, and let those in progress end.

        Calls that have not ended after `grace_s` seconds are cancelled.
        """
        await self.leave()
        await self._server.stop(grace_s)
        for path in self._sockets:
            path.unlink(missing_ok=True)

    async def wait(self) -> None:
        """Return when the server has stopped."""
        await self._server.wait_for_termination()


def make_server(
    services: Sequence[Service],
    addresses: Sequence[str],
    telemetry: Telemetry,
    **options: Any,
) -> Server:
    """Create a server of `services` on `addresses` (`host:port` or `unix:/path`); `options` are Server's."""
    return Server(services, addresses, telemetry, **options)


def _free_socket(address: str) -> Path:
    """Remove a unix socket that a dead process left. Raises ServiceUnavailable when a process answers on it."""
    path = Path(address.removeprefix("unix:").removeprefix("//"))
    if not path.parent.is_dir():
        raise ServiceUnavailable(f"cannot listen on {address}: there is no folder {path.parent}", address=address)
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ServiceUnavailable(f"cannot listen on {address}: {path} is not a socket", address=address)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(CONNECT_PROBE_S)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            else:
                raise ServiceUnavailable(f"cannot listen on {address}: another process serves there", address=address)
    return path


def _why_not(address: str) -> str:
    """Return the system's reason why an address could not be bound; gRPC itself hides it."""
    if address.startswith("unix:"):
        return "the socket cannot be created; is the path longer than 107 bytes, or the folder not writable?"
    try:
        bound_socket(address).close()
    except (OSError, UnicodeError) as error:
        return f"{error}"
    return "the port was briefly taken; try again"


async def serve_until_signal(
    server: Server, *, grace_s: float, leave_s: float = 0.0, hurry_signal: signal.Signals | None = None
) -> None:
    """Serve until SIGTERM or SIGINT, then stop `server` in two stages.

    For `leave_s` seconds it reports NOT_SERVING but still answers, so that balancers that poll its health do not send
    calls to a closed port. Then it stops, with `grace_s` seconds for calls in progress. A second signal ends both
    stages immediately. With `hurry_signal` only that signal does, because a process whose parent passes signals on may
    get the same one twice: from its parent, and from a terminal that signals the whole group.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    hurry = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set() and hurry_signal is None:
            hurry.set()
        stop.set()

    caught = (signal.SIGTERM, signal.SIGINT)
    for number in caught:
        loop.add_signal_handler(number, on_signal)
    if hurry_signal is not None:
        loop.add_signal_handler(hurry_signal, hurry.set)
    try:
        await stop.wait()
        log.info("stopping", leave_s=leave_s, grace_s=grace_s)
        hurrying = asyncio.ensure_future(hurry.wait())
        await server.leave()
        await asyncio.wait({hurrying}, timeout=leave_s)
        draining = asyncio.ensure_future(server.stop(grace_s))
        await asyncio.wait({draining, hurrying}, return_when=asyncio.FIRST_COMPLETED)
        hurrying.cancel()
        if not draining.done():
            await server.stop(0)
        await draining
        log.info("stopped")
    finally:
        for number in caught:
            loop.remove_signal_handler(number)
            if hurry_signal is not None:
                signal.signal(number, signal.SIG_IGN)  # the same signal once more must not cut the end short
