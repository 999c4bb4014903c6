"""Is everything there that a plan needs? Asked twice a second; readiness and GetStatus tell."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final

from redis.exceptions import RedisError

from planmesh.dispatch.worker_registry import LiveWorkers
from planmesh.supervision import SupervisedTask
from planmesh.telemetry import names
from planmesh.telemetry.tracing import Telemetry
from services.coordinator.dispatcher import Dispatcher
from services.coordinator.redis_persistence import RedisPersistence
from services.coordinator.served_graphs import ServedGraphs

POLL_INTERVAL_S: Final = 0.25
"""Half of a worker's heartbeat."""

POLL_RESTART_S_MAX: Final = 5.0
"""Longest back-off of a poll that failed unexpectedly: until it works again the coordinator is not ready."""

POLL_S_MAX: Final = 2.0
"""A Redis that takes longer is away: one that hangs would else be noticed by its socket's time-out only."""


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One thing that plans need."""

    name: str
    problem: str
    """Empty when it is up."""


@dataclass(frozen=True, slots=True)
class ShardState:
    """One shard."""

    number: int
    workers: int
    pending: int
    """Requests that wait for its answer."""
    oldest_wait_s: float


class Availability:
    """Polls Redis for live workers, tells the dispatcher, says when readiness changes, and measures the queues."""

    def __init__(
        self,
        live_workers: LiveWorkers,
        persistence: RedisPersistence,
        dispatcher: Dispatcher,
        graphs: ServedGraphs,
        telemetry: Telemetry,
    ) -> None:
        self._live_workers = live_workers
        self._persistence = persistence
        self._dispatcher = dispatcher
        self._graphs = graphs
        self._telemetry = telemetry
        self._polling: SupervisedTask | None = None

    async def start(self, tell_ready: Callable[[bool], Awaitable[None]]) -> None:
        """Begin to poll; `tell_ready` is called after each look."""

        async def poll() -> None:
            await self._poll_forever(tell_ready)

        async def not_ready() -> None:
            await tell_ready(False)

        self._polling = SupervisedTask("availability", poll, not_ready, restart_s_max=POLL_RESTART_S_MAX)
        self._polling.start()

    async def close(self) -> None:
        """Stop polling."""
        if self._polling is not None:
            await self._polling.close()

    @property
    def ready(self) -> bool:
        """Plans can be answered: Redis and a worker for each shard are there, and the graphs are known and watched."""
        return (
            self._polling is not None
            and not self._polling.failing
            and self._dispatcher.broker_up
            and not self._persistence.problem
            and self._graphs.ready
            and all(self._dispatcher.workers(shard) for shard in range(self._dispatcher.shard_count))
        )

    def processes(self) -> Iterator[ProcessState]:
        """What a plan needs, and the partition service, which only loads need."""
        broker_up = self._dispatcher.broker_up
        yield ProcessState("redis", self._persistence.problem if broker_up else "does not answer")
        empty = [str(shard.number) for shard in self.shards() if not shard.workers]
        problem = f"no live worker for shard {', '.join(empty)}" if empty else ""
        yield ProcessState("workers", problem if broker_up else "unknown while Redis is away")
        yield ProcessState("partition", self._graphs.watch_problem)

    def shards(self) -> Iterator[ShardState]:
        """Every shard."""
        for number in range(self._dispatcher.shard_count):
            yield ShardState(
                number,
                self._dispatcher.workers(number),
                self._dispatcher.pending_items(number),
                self._dispatcher.oldest_wait_s(number),
            )

    async def _poll_forever(self, tell_ready: Callable[[bool], Awaitable[None]]) -> None:
        while True:
            try:
                async with asyncio.timeout(POLL_S_MAX):
                    live = await self._live_workers.poll()
                    await self._persistence.look()
                self._dispatcher.tell_workers(live, self._live_workers.missed)
            except (RedisError, OSError):
                self._dispatcher.tell_broker_down()
            if self._telemetry.measuring:
                self._measure()
            assert self._polling is not None, "it polls"
            self._polling.note_progress()
            await tell_ready(self.ready)
            await asyncio.sleep(POLL_INTERVAL_S)

    def _measure(self) -> None:
        instruments = self._telemetry.instruments
        for shard in self.shards():
            attributes = {names.SHARD: shard.number}
            instruments.queue_depth.set(shard.pending, attributes)
            instruments.queue_age.set(shard.oldest_wait_s, attributes)
            instruments.workers.set(shard.workers, attributes)
        for process in self.processes():
            instruments.process_up.set(0 if process.problem else 1, {names.PROCESS: process.name})
        for graph, version in self._graphs.versions().items():
            instruments.graph_version.set(version, {names.GRAPH: graph})
