"""Answers that are kept: in this process, and in Redis for the other coordinators.

The key holds the identity of the version's snapshot, so a new version needs no purge: old answers are simply not asked
for, and fall out. Name and number would not do: Redis outlives a mesh, and another may use the same.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Final

import redis.asyncio
import xxhash
from redis.exceptions import RedisError

from planmesh.dispatch.queues import ANSWER_KEY_PREFIX
from planmesh.settings import CoordinatorSettings
from planmesh.supervision import OneShotTasks
from planmesh.telemetry.logs import get_logger
from planmesh.ttl_rule import TtlRule
from services.coordinator.kept_results import ENTRY_BYTES, BoundedByBytes

ANSWER_BYTES_MAX: Final = 256 * 1024
"""Longer answers are not shared through Redis."""

MEMORY_BYTES_MAX: Final = 256 * 2**20
"""Of all answers in this process, with their keys: about 100,000 of a few dozen steps."""

REST_S: Final = 1.0
"""After Redis failed the shared cache is left alone for so long: a cache must not cost time when it is away."""

READ_S_MAX: Final = 0.5
"""A Redis that hangs is found out by this, long before its socket's time-out."""

WRITES_MAX: Final = 256
"""Writes under way at once; more are dropped, since an answer can be computed again."""

log = get_logger(__name__)

AnswerKey = tuple[str, str, str]
"""Identity of the snapshot, start, goal."""


class AnswerCache:
    """Serialised answers by key."""

    def __init__(self, settings: CoordinatorSettings, connection: redis.asyncio.Redis) -> None:
        self._entries_max = settings.coordinator_cache_entries
        self._ttl = TtlRule(
            "answers", settings.coordinator_shared_cache_ttl_s, settings.coordinator_shared_cache_ttl_max_s
        )
        self._connection = connection
        self._answers: BoundedByBytes[AnswerKey, bytes] = BoundedByBytes(
            MEMORY_BYTES_MAX, lambda key, answer: ENTRY_BYTES + len(answer) + sum(map(sys.getsizeof, key))
        )
        self._rests_until_s = 0.0
        self._writes = OneShotTasks()

    async def get(self, key: AnswerKey) -> bytes | None:
        """Return a kept answer, from here or from Redis."""
        answer = await self._get(key)
        self._ttl.note(hit=answer is not None)
        return answer

    async def _get(self, key: AnswerKey) -> bytes | None:
        answer = self._answers.get(key)
        if answer is not None or not self._shared():
            return answer
        try:
            async with asyncio.timeout(READ_S_MAX):
                shared = await self._connection.get(_redis_key(key))
        except (RedisError, OSError) as error:
            self._rest(error)
            return None
        if not isinstance(shared, bytes):
            return None
        self._keep(key, shared)
        return shared

    def put(self, key: AnswerKey, answer: bytes) -> None:
        """Keep an answer; Redis gets it behind the caller's back."""
        self._keep(key, answer)
        if self._shared() and len(answer) <= ANSWER_BYTES_MAX and len(self._writes) < WRITES_MAX:
            self._writes.start("share-answer", self._write(key, answer))

    async def close(self) -> None:
        """Drop the writes under way."""
        await self._writes.close()

    def _keep(self, key: AnswerKey, answer: bytes) -> None:
        if self._entries_max:
            while len(self._answers) >= self._entries_max:
                self._answers.pop_oldest()
            self._answers.put(key, answer)

    async def _write(self, key: AnswerKey, answer: bytes) -> None:
        try:
            await self._connection.set(_redis_key(key), answer, px=round(self._ttl.ttl_s * 1_000))
        except (RedisError, OSError) as error:
            self._rest(error)

    def _shared(self) -> bool:
        return self._ttl.ttl_s > 0 and time.monotonic() >= self._rests_until_s

    def _rest(self, error: Exception) -> None:
        self._rests_until_s = time.monotonic() + REST_S
        log.warning("shared cache rests", error=str(error), seconds=REST_S)


def _redis_key(key: AnswerKey) -> str:
    """A key of fixed length: ids may be long, and 128 bits do not collide."""
    text = "\0".join(str(part) for part in key)
    return ANSWER_KEY_PREFIX + xxhash.xxh3_128_hexdigest(text.encode())
