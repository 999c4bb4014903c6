"""Does Redis keep what it is given when it ends? It is asked, where the settings want to know."""

from __future__ import annotations

import time
from typing import Final, Literal

import redis.asyncio
from redis.exceptions import ResponseError

from planmesh.telemetry.logs import get_logger

LOOK_INTERVAL_S: Final = 1.0
"""Somebody may change it while Redis runs, and its disk may become full."""

WHAT_TO_DO: Final = "start it with `--appendonly yes`, or set PLANMESH_REDIS_PERSISTENCE=any"

log = get_logger(__name__)


class RedisPersistence:
    """What is wrong with the append-only file of the Redis behind `connection`; nothing when `wanted` is `any`."""

    def __init__(self, connection: redis.asyncio.Redis, wanted: Literal["any", "append-only"]) -> None:
        self._connection = connection
        self._wanted = wanted
        self._looked_at_s: float | None = None
        self.problem = ""
        """Empty when all is well. What was seen last stays while Redis is away."""

    async def look(self) -> None:
        """Ask, when the last answer is older than LOOK_INTERVAL_S. Raises RedisError or OSError when there is none."""
        now_s = time.monotonic()
        if self._wanted == "any" or (self._looked_at_s is not None and now_s - self._looked_at_s < LOOK_INTERVAL_S):
            return
        problem = await self._ask()
        self._looked_at_s = now_s
        if problem and problem != self.problem:
            log.error("not ready: Redis would lose tasks", problem=problem)
        elif self.problem and not problem:
            log.info("Redis keeps an append-only file")
        self.problem = problem

    async def _ask(self) -> str:
        try:
            found = await self._connection.info("persistence")
        except ResponseError as error:
            return f"expected INFO to tell of an append-only file, got: {error}; allow it, or {WHAT_TO_DO}"
        if not found.get("aof_enabled"):
            return f"keeps nothing on disk: expected an append-only file, got none; {WHAT_TO_DO}"
        if found.get("aof_last_write_status", "ok") != "ok":
            return "cannot write its append-only file: is its disk full? Its own log says why"
        return ""
