"""Checks every POLL_INTERVAL_S whether all that plans need is up, for readiness, GetStatus and the metrics."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from planmesh.dispatch.queues import server_of
from planmesh.supervision import SupervisedTask
from planmesh.telemetry import names
from planmesh.telemetry.tracing import Telemetry
from services.coordinator.redis_server import RedisServer
from services.coordinator.served_graphs import ServedGraphs

POLL_INTERVAL_S: Final = 0.25
"""Half of a worker's heartbeat."""

POLL_RESTART_S_MAX: Final = 5.0
"""Longest back-off after a poll that failed unexpectedly. The coordinator is not ready until a poll succeeds."""


@dataclass(frozen=True, slots=True)
class ProcessState:
    """State of a process that plans or loads need."""

    name: str
    problem: str
    """What is wrong; empty when it is up."""


@dataclass(frozen=True, slots=True)
class ShardState:
    """State of one shard."""

    number: int
    workers: int
    """Live workers."""
    pending: int
    """Items that wait for a reply."""
    oldest_wait_s: float
    """How long the oldest of them has waited."""


class Availability:
    """Polls each Redis server for live workers, reports readiness, and records metrics."""

    def __init__(
        self, servers: Sequence[RedisServer], shard_count: int, graphs: ServedGraphs, telemetry: Telemetry
    ) -> None:
        self._servers = servers
        self._shard_count = shard_count
        self._graphs = graphs
        self._telemetry = telemetry
        self._polling: list[SupervisedTask] = []

    async def start(self, report_ready: Callable[[bool], Awaitable[None]]) -> None:
        """Start polling. `report_ready` is called with the readiness after each poll."""

        async def not_ready() -> None:
            await report_ready(False)

        for server in self._servers:
            polling = SupervisedTask(
                f"availability-{server.name}",
                functools.partial(self._poll_forever, server, report_ready),
                not_ready,
                restart_s_max=POLL_RESTART_S_MAX,
            )
            self._polling.append(polling)
            polling.start()

    async def close(self) -> None:
        """End the polling tasks."""
        for polling in self._polling:
            await polling.close()

    @property
    def ready(self) -> bool:
        """Whether plans can be answered.

        Graphs are known and watched, and a Redis server and a worker of each of its shards are up. With several
        servers, plans on the shards of another may fail meanwhile.
        """
        return (
            bool(self._polling)
            and not any(polling.failing for polling in self._polling)
            and self._graphs.ready
            and not any(server.would_lose_tasks for server in self._servers)
            and any(server.serves_its_shards for server in self._servers)
        )

    def processes(self) -> Iterator[ProcessState]:
        """Yield the state of Redis and the workers, which plans need, and of the partition service, for loads."""
        for server in self._servers:
            yield ProcessState(server.name, server.problem)
        problems = [server.misplaced for server in self._servers if server.misplaced]
        reachable = {shard for server in self._servers if server.dispatcher.broker_up for shard in server.shards}
        empty = [str(shard.number) for shard in self.shards() if shard.number in reachable and not shard.workers]
        if empty:
            problems.insert(0, f"no live worker for shard {', '.join(empty)}")
        if len(reachable) < self._shard_count:
            problems.append("unknown while Redis is down")
        yield ProcessState("workers", "; ".join(problems))
        yield ProcessState("partition", self._graphs.watch_problem)

    def shards(self) -> Iterator[ShardState]:
        """Yield the state of every shard, in order."""
        for number in range(self._shard_count):
            dispatcher = self._servers[server_of(number, len(self._servers))].dispatcher
            yield ShardState(
                number,
                dispatcher.workers(number),
                dispatcher.pending_items(number),
                dispatcher.oldest_wait_s(number),
            )

    async def _poll_forever(self, server: RedisServer, report_ready: Callable[[bool], Awaitable[None]]) -> None:
        polling = self._polling[self._servers.index(server)]
        while True:
            await server.poll()
            if self._telemetry.measuring:
                self._measure()
            polling.note_progress()
            await report_ready(self.ready)
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
