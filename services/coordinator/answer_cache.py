"""Cache of answers, in this process and, for the other coordinators, in Redis.

Keys contain the identity of the version's snapshot, so a new version needs no purge: no lookup finds the old answers,
and they expire. The graph's name and version number would not suffice, because another mesh may use the same Redis,
now or later.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
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
"""Largest answer that is shared through Redis."""

MEMORY_BYTES_MAX: Final = 256 * 2**20
"""Bytes of all answers in this process, with their keys: about 100,000 answers of a few dozen steps."""

REST_S: Final = 1.0
"""How long the shared cache is not used after Redis failed, so that it costs no time while Redis is down."""

READ_S_MAX: Final = 0.5
"""Longest wait for Redis in a lookup, much shorter than the socket timeout."""

WRITES_MAX: Final = 256
"""Concurrent writes to Redis. Further ones are dropped, because an answer can be computed again."""

log = get_logger(__name__)

AnswerKey = tuple[str, str, str, str]
"""Identity of the snapshot, start, goal, name of the detail."""


class AnswerCache:
    """Serialised answers by key, in memory and in Redis. A failing Redis only makes lookups miss."""

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
        """Return a cached answer, from memory or from Redis; None when neither has it within READ_S_MAX."""
        answer = await self._get(key)
        self._ttl.note(hit=answer is not None)
        return answer

    async def get_many(self, keys: Sequence[AnswerKey]) -> list[bytes | None]:
        """Return the cached answers of keys, as `get` does, with one request to Redis."""
        answers = [self._answers.get(key) for key in keys]
        missing = [position for position, answer in enumerate(answers) if answer is None]
        if missing and self._shared():
            try:
                async with asyncio.timeout(READ_S_MAX):
                    shared = await self._connection.mget([_redis_key(keys[position]) for position in missing])
            except (RedisError, OSError) as error:
                self._rest(error)
                shared = []
            for position, answer in zip(missing, shared, strict=False):
                if isinstance(answer, bytes):
                    self._keep(keys[position], answer)
                    answers[position] = answer
        for answer in answers:
            self._ttl.note(hit=answer is not None)
        return answers

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
        """Cache an answer. A background task writes it to Redis."""
        self._keep(key, answer)
        if self._shared() and len(answer) <= ANSWER_BYTES_MAX and len(self._writes) < WRITES_MAX:
            self._writes.start("share-answer", self._write(key, answer))

    async def close(self) -> None:
        """Cancel the writes in progress."""
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
        log.warning("shared cache paused: Redis failed", error=str(error), seconds=REST_S)


def _redis_key(key: AnswerKey) -> str:
    """Return a key of fixed length, because ids may be long. It is a hash of 128 bits, so keys do not collide."""
    text = "\0".join(key)
    return ANSWER_KEY_PREFIX + xxhash.xxh3_128_hexdigest(text.encode())
