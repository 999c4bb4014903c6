"""The commands' connection to the gateway."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

from planmesh.errors import InvalidRequest
from planmesh.extras import require_extra

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from planmesh.client import AsyncClient, Client

SERVICE: Final = "planmesh-cli"
"""Name in traces."""


@contextmanager
def connect(address: str) -> Iterator[Client]:
    """A client; its calls are the roots of traces when OTEL_* asks for traces, PLANMESH_TOKEN is its token."""
    from planmesh.client import Client

    with _tracer() as tracer, Client(address, token=_token(), tracer=tracer) as client:
        yield client


@asynccontextmanager
async def connect_async(address: str) -> AsyncIterator[AsyncClient]:
    """As `connect`, for asyncio."""
    from planmesh.client import AsyncClient

    with _tracer() as tracer:
        async with AsyncClient(address, token=_token(), tracer=tracer) as client:
            yield client


def _token() -> str | None:
    return os.environ.get("PLANMESH_TOKEN")


@contextmanager
def _tracer() -> Iterator[Tracer | None]:
    """The tracer of this process, None unless OTEL_* is set: setting traces up costs a tenth of a second.

    Raises MissingExtraError when OTEL_* is set and the packages that export traces are not installed.
    """
    if not any(name.startswith("OTEL_") for name in os.environ):
        yield None
        return
    require_extra("server", "tracing (OTEL_* is set)")
    from opentelemetry.trace import NoOpTracer

    from planmesh.settings import ProcessSettings, SettingsError
    from planmesh.telemetry.tracing import setup

    try:
        telemetry = setup(SERVICE, ProcessSettings(log_format="console", log_level="error", shutdown_grace_s=0))
    except SettingsError as error:
        raise InvalidRequest(str(error)) from error
    try:
        yield telemetry.tracer if telemetry.recording else NoOpTracer()
    finally:
        telemetry.shutdown()
