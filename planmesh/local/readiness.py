"""Is a part of the mesh ready? Asked over the same protocols that its callers use."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import grpc
import grpc.aio
import redis.asyncio
import redis.exceptions
from grpc_health.v1 import health_pb2, health_pb2_grpc

from planmesh.errors import ServiceUnavailable
from planmesh.internal.v1 import coordinator_pb2, coordinator_pb2_grpc
from planmesh.local.child import Child, exit_text

PROBE_S_MAX: Final = 2.0
"""One question; a process that takes longer is asked again."""

PROBE_EVERY_S: Final = 0.05


async def redis_answers(url: str) -> bool:
    """A PING is answered."""
    client = redis.asyncio.Redis.from_url(url, socket_timeout=PROBE_S_MAX, socket_connect_timeout=PROBE_S_MAX)
    try:
        return bool(await client.ping())
    except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError):
        return False
    finally:
        await client.aclose()


async def health_serving(address: str) -> bool:
    """Standard gRPC health says SERVING for the whole server."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            reply = await stub.Check(health_pb2.HealthCheckRequest(), timeout=PROBE_S_MAX)
        except grpc.aio.AioRpcError:
            return False
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


async def coordinator_ready(address: str, workers: int) -> bool:
    """It says that it can answer plans, and it has heard of all `workers`."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub: coordinator_pb2_grpc.CoordinatorServiceAsyncStub = coordinator_pb2_grpc.CoordinatorServiceStub(channel)
        try:
            reply = await stub.DescribeCoordinator(coordinator_pb2.DescribeCoordinatorRequest(), timeout=PROBE_S_MAX)
        except grpc.aio.AioRpcError:
            return False
        return reply.ready and sum(shard.workers for shard in reply.shards) >= workers


async def wait_until_ready(child: Child, probe: Callable[[], Awaitable[bool]], timeout_s: float) -> None:
    """Return when `probe` says so.

    Raises ServiceUnavailable, with the end of the child's log, when the child ends or the time does.
    """
    deadline_s = asyncio.get_running_loop().time() + timeout_s
    ended = asyncio.ensure_future(child.wait())
    try:
        while True:
            if await probe():
                return
            if ended.done():
                raise ServiceUnavailable(
                    f"{child.name} ended before it was ready ({exit_text(ended.result())}); {child.explain()}",
                    process=child.name,
                )
            if asyncio.get_running_loop().time() >= deadline_s:
                raise ServiceUnavailable(
                    f"{child.name} was not ready within {timeout_s:g} s; {child.explain()}", process=child.name
                )
            await asyncio.wait([ended], timeout=PROBE_EVERY_S)
    finally:
        ended.cancel()
