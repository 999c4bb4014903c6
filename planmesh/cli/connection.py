"""The commands' connection to the gateway."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

from planmesh.errors import InvalidRequest

if TYPE_CHECKING:
    from planmesh.client import PlanmeshClient, SyncPlanmeshClient
    from planmesh.telemetry.tracing import Telemetry

SERVICE: Final = "planmesh-cli"
"""Name in traces."""


@contextmanager
def connect(address: str) -> Iterator[SyncPlanmeshClient]:
    """A client; its calls are the roots of traces when OTEL_* asks for traces, PLANMESH_TOKEN is its token."""
    from planmesh.client import SyncPlanmeshClient

    with _telemetry() as telemetry, SyncPlanmeshClient(address, token=_token(), telemetry=telemetry) as client:
        yield client


@asynccontextmanager
async def connect_async(address: str) -> AsyncIterator[PlanmeshClient]:
    """As `connect`, for asyncio."""
    from planmesh.client import PlanmeshClient

    with _telemetry() as telemetry:
        async with PlanmeshClient(address, token=_token(), telemetry=telemetry) as client:
            yield client


def _token() -> str | None:
    return os.environ.get("PLANMESH_TOKEN")


@contextmanager
def _telemetry() -> Iterator[Telemetry | None]:
    """Traces of this process, only where OTEL_* says where to: setting them up costs a tenth of a second."""
    if not any(name.startswith("OTEL_") for name in os.environ):
        yield None
        return
    from planmesh.settings import ProcessSettings, SettingsError
    from planmesh.telemetry.tracing import setup

    try:
        telemetry = setup(SERVICE, ProcessSettings(log_format="console", log_level="error", shutdown_grace_s=0))
    except SettingsError as error:
        raise InvalidRequest(str(error)) from error
    try:
        yield telemetry
    finally:
        telemetry.shutdown()
