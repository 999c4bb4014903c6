"""The gateway is ready when the coordinator says that it can answer plans."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2

from planmesh.supervision import SupervisedTask
from planmesh.telemetry.logs import get_logger

CHECK_METHOD: Final = "/grpc.health.v1.Health/Check"
CHECK_TIMEOUT_S: Final = 1.0
FAILURES_BEFORE_AWAY: Final = 2
"""One lost check is not an outage."""

RESTART_S_MAX: Final = 5.0
"""Longest back-off after an unexpected error."""

log = get_logger(__name__)


def supervise_readiness(
    channel: grpc.aio.Channel, interval_s: float, set_ready: Callable[[bool], Awaitable[None]]
) -> SupervisedTask:
    """A task that follows readiness, not started; an unexpected error makes the gateway not ready meanwhile."""

    async def follow() -> None:
        await follow_readiness(channel, interval_s, set_ready, task.note_progress)

    async def not_ready() -> None:
        await set_ready(False)

    task = SupervisedTask("follow-readiness", follow, not_ready, restart_s_max=RESTART_S_MAX)
    return task


async def follow_readiness(
    channel: grpc.aio.Channel,
    interval_s: float,
    set_ready: Callable[[bool], Awaitable[None]],
    note_progress: Callable[[], None] = lambda: None,
) -> None:
    """Ask the standard health service behind `channel` every `interval_s` and hand what it says to `set_ready`.

    Runs until it is cancelled; `note_progress` is called after each look.
    """
    check: grpc.aio.UnaryUnaryMultiCallable[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]
    check = channel.unary_unary(
        CHECK_METHOD,
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    failures = 0
    while True:
        try:
            response = await check(health_pb2.HealthCheckRequest(), timeout=CHECK_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            failures += 1
            if failures == FAILURES_BEFORE_AWAY:
                log.warning("the coordinator does not answer", code=error.code().name, message=error.details())
            if failures >= FAILURES_BEFORE_AWAY:
                await set_ready(False)
        else:
            failures = 0
            await set_ready(response.status == health_pb2.HealthCheckResponse.SERVING)
        note_progress()
        await asyncio.sleep(interval_s)
