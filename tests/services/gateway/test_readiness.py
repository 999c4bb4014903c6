from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from planmesh.rpc.channel import make_channel
from planmesh.rpc.server import make_server
from planmesh.telemetry.tracing import make_telemetry
from services.gateway.readiness import supervise_readiness

WAIT_S_MAX = 60


async def test_an_unexpected_error_makes_the_gateway_not_ready_until_the_task_works_again() -> None:
    server = make_server([], ["127.0.0.1:0"], make_telemetry("test"))
    await server.start()
    await server.set_ready(True)
    received: asyncio.Queue[bool] = asyncio.Queue()
    defects = [KeyError("a defect")]

    async def set_ready(ready: bool) -> None:
        if ready and defects:
            raise defects.pop()
        received.put_nowait(ready)

    async with make_channel(server.addresses[0]) as channel:
        following = supervise_readiness(channel, 0.01, set_ready)
        with capture_logs() as logged:
            following.start()
            async with asyncio.timeout(WAIT_S_MAX):
                assert [await received.get(), await received.get()] == [False, True]
        await following.close()
    assert [one["error"] for one in logged if one["event"] == "background task failed; it will be restarted"] == [
        "KeyError('a defect')"
    ]
    await server.stop(0)
