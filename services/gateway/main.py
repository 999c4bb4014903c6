"""Wiring and entry point of the gateway."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

from planmesh.rpc.channel import make_channel
from planmesh.rpc.process import run_process
from planmesh.rpc.server import Server, make_server, serve_until_signal
from planmesh.settings import GatewaySettings
from planmesh.telemetry.logs import get_logger
from planmesh.telemetry.tracing import Telemetry
from services.gateway.admission import Admission, read_tokens
from services.gateway.coordinators import Coordinators
from services.gateway.downstream import Downstream
from services.gateway.forwarded import TrustedProxies
from services.gateway.graph_service import GraphServicer
from services.gateway.kinds import bounds_of, share
from services.gateway.mesh_service import MeshServicer
from services.gateway.plan_service import PlanServicer
from services.gateway.processes import CHILD_OPTION, HURRY_SIGNAL, end_with_parent, process_count, run_processes
from services.gateway.readiness import supervise_readiness

SERVICE: Final = "planmesh-gateway"
log = get_logger(__name__)


def known_callers(settings: GatewaySettings) -> tuple[tuple[bytes, ...], TrustedProxies]:
    """Return the digests of the tokens, and the trusted proxies. Raises SettingsError when either is invalid."""
    digests = read_tokens(settings.gateway_token_file) if settings.gateway_token_file is not None else ()
    return digests, TrustedProxies.parse(settings.gateway_trusted_proxies or "", settings.gateway_trusted_hops)


@contextlib.asynccontextmanager
async def gateway(settings: GatewaySettings, telemetry: Telemetry) -> AsyncIterator[Server]:
    """Run a gateway that listens until the block is left. Yields its server.

    It is one of `settings.gateway_processes` that share the port.
    Raises SettingsError when the token file or the trusted proxies are invalid.
    """
    digests, proxies = known_callers(settings)
    processes = settings.gateway_processes
    admission = Admission(
        telemetry.instruments,
        bounds_of(settings),
        pairs_in_flight_max=share(settings.gateway_pairs_in_flight_max, processes),
        token_digests=digests,
        proxies=proxies,
        processes=processes,
    )
    # No retries here: the caller's service config retries, and two layers of four attempts would make sixteen.
    async with (
        make_channel(settings.coordinator_address, telemetry) as to_coordinator,
        make_channel(settings.partition_address, telemetry) as to_partition,
        make_channel(settings.coordinator_address) as to_health,
        contextlib.AsyncExitStack() as stack,
    ):
        coordinator = Downstream("coordinator", "planmesh.internal.v1.CoordinatorService", to_coordinator)
        partition = Downstream("partition", "planmesh.internal.v1.PartitionService", to_partition)
        coordinators = await stack.enter_async_context(
            Coordinators(settings.coordinator_address, coordinator, telemetry).conversing()
        )
        services = [
            PlanServicer(coordinators, coordinator, partition, admission).service(),
            GraphServicer(
                partition,
                admission,
                first_message_s=settings.gateway_load_first_message_s,
                message_s=settings.gateway_load_message_s,
            ).service(),
            MeshServicer(coordinators, coordinator, partition, admission).service(),
        ]
        server = make_server(services, [settings.gateway_listen], telemetry, shares_ports=processes > 1)
        await server.start()
        log.info("listening", addresses=server.addresses, tokens=len(digests))
        following = supervise_readiness(to_health, settings.gateway_readiness_interval_s, server.set_ready)
        following.start()
        try:
            yield server
        finally:
            await following.close()
            await server.stop(0)


async def serve(settings: GatewaySettings, telemetry: Telemetry, *, hurry_signal: signal.Signals | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    async with gateway(settings, telemetry) as server:
        await serve_until_signal(
            server, grace_s=settings.shutdown_grace_s, leave_s=settings.shutdown_leave_s, hurry_signal=hurry_signal
        )


async def run(settings: GatewaySettings, telemetry: Telemetry) -> None:
    """Serve in this process, or in children if there are to be several processes."""
    count = process_count(settings)
    if count == 1:
        await serve(settings.model_copy(update={"gateway_processes": 1}), telemetry)
        return
    known_callers(settings)  # a mistake in the settings ends the parent, once, and not each child
    await run_processes(settings, count)


def main() -> int:
    """Run the process and return its exit code."""
    if sys.argv[1:2] != [CHILD_OPTION]:
        return run_process(SERVICE, GatewaySettings, run)
    end_with_parent(int(sys.argv[2]))
    return run_process(SERVICE, GatewaySettings, partial(serve, hurry_signal=HURRY_SIGNAL))
