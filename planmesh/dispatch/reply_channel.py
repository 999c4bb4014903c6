"""Where replies arrive: one Redis list per process, read by one asyncio task."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from redis.exceptions import RedisError

from planmesh.dispatch.connections import connect_async
from planmesh.dispatch.queues import reply_list
from planmesh.supervision import SupervisedTask
from planmesh.telemetry.logs import get_logger

BLOCK_S: Final = 2
"""How long one BLPOP waits; also the bound on noticing that Redis is away while nothing arrives."""

AT_ONCE_S: Final = 0.000_5
"""A reply that was there already when it was asked for is probably not alone; one that was waited for is."""

DRAIN_REPLIES_MAX: Final = 128
"""Replies taken together when several are there, so that a burst costs one round trip."""

RECONNECT_DELAY_S: Final = 0.1

RESTART_S_MAX: Final = 1.0
"""Longest back-off of a read that failed unexpectedly: every question of this process waits for it."""

log = get_logger(__name__)


class ReplyChannel:
    """Hands every reply that is pushed to its list to `handler`, on the event loop.

    It connects again by itself. `connected` tells whether the last read succeeded. Replies that were pushed while the
    connection was down are still in the list, unless Redis lost its memory; askers ask again in that case.
    """

    def __init__(self, redis_url: str, name: str) -> None:
        self._redis = connect_async(redis_url, socket_timeout_s=BLOCK_S + 3.0)
        self._handler: Callable[[bytes], None] | None = None
        self._task = SupervisedTask("reply-channel", self._read_forever, self._lose, restart_s_max=RESTART_S_MAX)
        self.key = reply_list(name)
        self.connected = False

    async def start(self, handler: Callable[[bytes], None]) -> None:
        """Begin to read. The handler must not block; what it raises is logged, and reading goes on."""
        self._handler = handler
        self._task.start()

    async def close(self) -> None:
        """Stop reading and remove the list."""
        await self._task.close()
        try:
            await self._redis.delete(self.key)
        except (RedisError, OSError) as error:
            log.info("reply list left to expire", key=self.key, error=str(error))
        await self._redis.aclose()

    async def _read_forever(self) -> None:
        while True:
            try:
                await self._read_once()
                self.connected = True
                self._task.note_progress()
            except (RedisError, OSError) as error:
                if self.connected:
                    log.warning("reply channel lost Redis", error=str(error))
                self.connected = False
                await asyncio.sleep(RECONNECT_DELAY_S)

    async def _lose(self) -> None:
        self.connected = False

    async def _read_once(self) -> None:
        asked_at_s = time.monotonic()
        popped = await self._redis.blpop([self.key], timeout=BLOCK_S)
        if popped is None:
            return
        self._handle(popped[1])
        if time.monotonic() - asked_at_s > AT_ONCE_S:
            return
        drained = await self._redis.lpop(self.key, DRAIN_REPLIES_MAX)
        for reply in drained if isinstance(drained, list) else ():
            self._handle(reply)

    def _handle(self, reply: object) -> None:
        assert self._handler is not None
        assert isinstance(reply, bytes), "the connection decodes nothing"
        try:
            self._handler(reply)
        except Exception:
            # A reply that cannot be handled must not end the channel for all others.
            log.exception("reply not handled", bytes=len(reply))
