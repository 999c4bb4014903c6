"""One of the Redis servers of a mesh: the queues of some shards, the replies to their tasks, and their live workers."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from redis.exceptions import RedisError

from planmesh.dispatch.broker_clock import BrokerClock
from planmesh.dispatch.celery_app import make_app
from planmesh.dispatch.connections import connect_async
from planmesh.dispatch.queues import server_name, server_of
from planmesh.dispatch.reply_channel import ReplyChannel
from planmesh.dispatch.task_publisher import TaskPublisher
from planmesh.dispatch.worker_registry import LiveWorkers
from planmesh.settings import CoordinatorSettings
from planmesh.telemetry.logs import get_logger
from planmesh.telemetry.tracing import Telemetry
from services.coordinator.counters import Counters
from services.coordinator.dispatcher import Dispatcher
from services.coordinator.redis_persistence import RedisPersistence

POLL_S_MAX: Final = 2.0
"""A Redis that takes longer for a poll counts as down. Its socket would only time out much later."""

log = get_logger(__name__)


class RedisServer:
    """Connections to one Redis server, and the dispatcher that sends its shards work. Servers do not share anything."""

    def __init__(
        self,
        number: int,
        url: str,
        coordinator: str,
        settings: CoordinatorSettings,
        telemetry: Telemetry,
        counters: Counters,
    ) -> None:
        count = len(settings.redis_servers)
        self.name = server_name(number)
        self.shards = [shard for shard in range(settings.shards) if server_of(shard, count) == number]
        """The shards whose queues are here."""
        self.connection = connect_async(url)
        clock = BrokerClock()
        self.publisher = TaskPublisher(make_app(url), self.connection, clock)
        self._replies = ReplyChannel(url, coordinator)
        self.dispatcher = Dispatcher(self.publisher, self._replies.key, settings, telemetry, counters, clock)
        self._live_workers = LiveWorkers(self.connection, clock)
        self._persistence = RedisPersistence(self.connection, settings.redis_persistence)
        self._misplaced: list[int] = []

    async def start(self) -> None:
        """Start to receive replies."""
        await self._replies.start(self.dispatcher.receive)

    async def close(self) -> None:
        """Cancel all work in progress, and stop receiving replies."""
        await self.dispatcher.close()
        await self._replies.close()

    @property
    def problem(self) -> str:
        """What is wrong with the server; empty when it is up."""
        return self._persistence.problem if self.dispatcher.broker_up else "does not answer"

    @property
    def misplaced(self) -> str:
        """Which workers take tasks from this server although their shards' tasks are sent to another; empty if none."""
        if not self._misplaced:
            return ""
        shards = ", ".join(map(str, self._misplaced))
        return (
            f"workers of shard {shards} take tasks from {self.name}, where this coordinator sends them none; expected "
            "the same PLANMESH_REDIS_URLS for all processes"
        )

    @property
    def would_lose_tasks(self) -> bool:
        """Whether the settings require an append-only file that the server lacked when it last answered."""
        return bool(self._persistence.problem)

    @property
    def serves_its_shards(self) -> bool:
        """Whether plans on all shards of this server can be answered."""
        return not self.problem and all(self.dispatcher.workers(shard) for shard in self.shards)

    async def poll(self) -> None:
        """Ask for live workers, and report them, or that the server is down, to the dispatcher."""
        try:
            async with asyncio.timeout(POLL_S_MAX):
                live = await self._live_workers.poll()
                await self._persistence.look()
        except (RedisError, OSError):
            self.dispatcher.note_broker_down()
            return
        self._note_misplaced(live)
        own = set(self.shards)
        self.dispatcher.note_workers(
            {shard: count for shard, count in live.items() if shard in own}, self._live_workers.missed
        )

    def _note_misplaced(self, live: Counter[int]) -> None:
        misplaced = sorted(live.keys() - set(self.shards))
        if misplaced != self._misplaced:
            self._misplaced = misplaced
            if misplaced:
                log.error("workers at the wrong Redis server", problem=self.misplaced)
