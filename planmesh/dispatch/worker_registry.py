"""Which worker processes live: each counts up in one Redis hash; whoever looks judges by its own clock.

A counter that rises means life, whatever the clocks of two machines say.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Final

import redis
import redis.asyncio
from redis.exceptions import RedisError

from planmesh.dispatch.broker_clock import BrokerClock
from planmesh.dispatch.queues import WORKERS_KEY, worker_field
from planmesh.telemetry.logs import get_logger

HEARTBEAT_INTERVAL_S: Final = 0.5
SILENCE_S_MAX: Final = 2.0
"""A worker that missed four heartbeats is taken for dead."""

FORGET_S: Final = 60.0
"""A worker that was silent for so long is removed from the hash."""

log = get_logger(__name__)


class Heartbeat:
    """Counts up for one worker process, from a thread, until it is stopped; and asks Redis for the time with each beat.

    The first beat is done when `start` returns.
    """

    def __init__(self, connection: redis.Redis, shard: int, worker: str, clock: BrokerClock) -> None:
        self._connection = connection
        self._clock = clock
        self._reachable = True
        self._field = worker_field(shard, worker)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        """Withdraw, so that nobody counts on this worker any more."""
        self._stopped.set()
        self._thread.join(timeout=HEARTBEAT_INTERVAL_S * 4)
        try:
            self._connection.hdel(WORKERS_KEY, self._field)
        except (RedisError, OSError) as error:
            log.info("worker left to be forgotten", field=self._field, error=str(error))

    def _run(self) -> None:
        while not self._stopped.wait(HEARTBEAT_INTERVAL_S):
            try:
                self._beat()
            except Exception:
                # The end of this thread would be taken for the worker's death; the next beat may be well.
                log.exception("heartbeat failed", field=self._field)

    def _beat(self) -> None:
        asked_at_s = time.monotonic()
        try:
            with self._connection.pipeline(transaction=False) as pipeline:
                pipeline.hincrby(WORKERS_KEY, self._field, 1)
                pipeline.time()
                _, told = pipeline.execute()
        except (RedisError, OSError) as error:
            if self._reachable:
                log.warning("heartbeat cannot reach Redis", error=str(error))
            self._reachable = False
        else:
            self._clock.note(told, asked_at_s)
            self._reachable = True


@dataclass(slots=True)
class _Seen:
    count: int
    changed_at_s: float


class LiveWorkers:
    """Watches the counters from one event loop, and asks Redis for the time with each look."""

    def __init__(self, connection: redis.asyncio.Redis, clock: BrokerClock) -> None:
        self._connection = connection
        self._clock = clock
        self._seen: dict[bytes, _Seen] = {}
        self._live: frozenset[bytes] = frozenset()
        self.missed: Counter[int] = Counter()
        """Workers of each shard that lived at the poll before the last one and did not at the last, whether or not
        others have taken their places."""

    async def poll(self) -> Counter[int]:
        """Return the number of live query workers of each shard.

        Raises RedisError or OSError when Redis does not answer.
        """
        asked_at_s = time.monotonic()
        async with self._connection.pipeline(transaction=False) as pipeline:
            pipeline.hgetall(WORKERS_KEY)
            pipeline.time()
            answer, told = await pipeline.execute()
        self._clock.note(told, asked_at_s)
        counts = {_bytes(field): _bytes(count) for field, count in answer.items()}
        now_s = time.monotonic()
        living = set()
        for field, count in counts.items():
            seen = self._seen.get(field)
            if seen is None or seen.count != int(count):
                seen = self._seen[field] = _Seen(int(count), now_s)
            if now_s - seen.changed_at_s <= SILENCE_S_MAX:
                living.add(field)
        self.missed = Counter(map(_shard_of, self._live - living))
        self._live = frozenset(living)
        await self._forget(counts, now_s)
        return Counter(map(_shard_of, living))

    async def _forget(self, counts: dict[bytes, bytes], now_s: float) -> None:
        silent = [field for field, seen in self._seen.items() if now_s - seen.changed_at_s > FORGET_S]
        for field in silent:
            del self._seen[field]
        gone = [field for field in silent if field in counts]
        if gone:
            await self._connection.hdel(WORKERS_KEY, *gone)


def _shard_of(field: bytes) -> int:
    return int(field.split(b":", 1)[0])


def _bytes(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
