"""A dispatcher over a real Redis. The test plays the worker, so that it decides what is answered, and when."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
import redis.asyncio
from pydantic import SecretStr

from planmesh.dispatch.broker_clock import BrokerClock
from planmesh.dispatch.celery_app import make_app
from planmesh.dispatch.checksum import open_sealed, seal
from planmesh.dispatch.connections import connect_async
from planmesh.dispatch.queues import query_queue
from planmesh.dispatch.reply_channel import ReplyChannel
from planmesh.dispatch.task_publisher import TaskPublisher
from planmesh.graph.model import Int32Array
from planmesh.internal.v1 import task_pb2
from planmesh.rpc.deadline import Deadline
from planmesh.settings import CoordinatorSettings
from planmesh.telemetry.tracing import make_telemetry
from services.coordinator.counters import Counters
from services.coordinator.dispatcher import Answer, Dispatcher

WORK = task_pb2.Operation(search=task_pb2.SearchOperation(partition=7, node=3))
BATCH_MAX = 4


class Small:
    """Sizes of a graph with ten nodes in each partition, one of them in the overlay."""

    node_count = 100

    def nodes_of(self, partition: int) -> int:
        return 10

    def overlay_nodes_of(self, partition: int) -> int:
        return 1

    def nodes_of_many(self, partitions: Int32Array) -> Int32Array:
        return np.full(len(partitions), 10, np.int32)

    def overlay_nodes_of_many(self, partitions: Int32Array) -> Int32Array:
        return np.full(len(partitions), 1, np.int32)


@dataclass
class Bench:
    """A dispatcher, and the worker's side of its queue and its replies."""

    dispatcher: Dispatcher
    counters: Counters
    publisher: TaskPublisher
    connection: redis.asyncio.Redis
    reply_key: str
    clock: BrokerClock

    def ask(self, shard: int = 0, deadline_s: float = 60.0) -> asyncio.Task[Answer]:
        return asyncio.create_task(
            self.dispatcher.ask(
                shard,
                [WORK],
                graph="g",
                version=1,
                snapshot_url="/s",
                snapshot_identity="s",
                sizes=Small(),
                deadline=Deadline.after(deadline_s),
            )
        )

    async def take(self, shard: int = 0) -> task_pb2.QueryTask:
        """Return the next task of a shard, as a worker receives it."""
        popped = await self.connection.brpop([query_queue(shard)], timeout=60)
        assert popped is not None, "no task came"
        arguments, _, _ = msgpack.unpackb(base64.b64decode(json.loads(popped[1])["body"]))
        return open_sealed(task_pb2.QueryTask, arguments[0])

    async def reply(self, task: task_pb2.QueryTask, **fields: Any) -> None:
        result = task_pb2.OperationResult(search=task_pb2.SearchResult(settled_nodes=5))
        made: list[dict[str, Any]] = [{"key": item.key, "results": [result], **fields} for item in task.items]
        items = [task_pb2.ItemReply(**one) for one in made]
        reply = task_pb2.QueryReply(batch=task.batch, items=items)
        await self.connection.rpush(self.reply_key, seal(reply))

    async def wait_until_queued(self, count: int, shard: int = 0) -> None:
        """Wait until a shard's queue has `count` tasks."""
        async with asyncio.timeout(60):
            while await self.queued(shard) != count:
                await asyncio.sleep(0)

    async def queued(self, shard: int = 0) -> int:
        return int(await self.connection.llen(query_queue(shard)))


@contextlib.asynccontextmanager
async def bench(redis_url: str, **overrides: Any) -> AsyncIterator[Bench]:
    settings = CoordinatorSettings(
        redis_url=SecretStr(redis_url),
        shards=2,
        coordinator_batch_items_max=BATCH_MAX,
        **{"coordinator_tasks_in_flight_max": 1, **overrides},
    )
    connection = connect_async(redis_url, socket_timeout_s=70.0)
    replies = ReplyChannel(redis_url, "bench")
    counters = Counters()
    clock = BrokerClock()
    publisher = TaskPublisher(make_app(redis_url), connection, clock)
    dispatcher = Dispatcher(publisher, replies.key, settings, make_telemetry("test"), counters, clock)
    await replies.start(dispatcher.receive)
    dispatcher.note_workers({0: 1, 1: 1})
    yield Bench(dispatcher, counters, publisher, connection, replies.key, clock)
    await dispatcher.close()
    await replies.close()
    await connection.aclose()
