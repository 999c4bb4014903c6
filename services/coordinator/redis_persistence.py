"""Checks that Redis writes an append-only file, so that waiting tasks survive its end, if the settings require it."""

from __future__ import annotations

import time
from typing import Final, Literal

import redis.asyncio
from redis.exceptions import ResponseError

from planmesh.telemetry.logs import get_logger

LOOK_INTERVAL_S: Final = 1.0
"""Interval of the checks. They are repeated because an administrator can change Redis's configuration while it runs,
and its disk can become full."""

WHAT_TO_DO: Final = "start it with `--appendonly yes`, or set PLANMESH_REDIS_PERSISTENCE=any"

log = get_logger(__name__)


class RedisPersistence:
    """Reports a problem with the append-only file of Redis; none if `wanted` is `any`."""

    def __init__(self, connection: redis.asyncio.Redis, wanted: Literal["any", "append-only"]) -> None:
        self._connection = connection
        self._wanted = wanted
        self._looked_at_s: float | None = None
        self.problem = ""
        """Empty when all is well. While Redis is down it keeps the last result."""

    async def look(self) -> None:
        """Check again if the last check is older than LOOK_INTERVAL_S.

        Raises RedisError or OSError when Redis does not answer.
        """
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
            return f"expected INFO to report an append-only file, got: {error}; allow INFO, or {WHAT_TO_DO}"
        if not found.get("aof_enabled"):
            return f"expected an append-only file, got none; {WHAT_TO_DO}"
        if found.get("aof_last_write_status", "ok") != "ok":
            return "cannot write its append-only file, perhaps because its disk is full; see the log of Redis"
        return ""
