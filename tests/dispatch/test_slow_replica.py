"""Two real workers pull from one shard's queue. One of them is stopped most of the time, and gets less work."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import SecretStr

from bench.slowing import SLOW_SHARE, slowed
from planmesh.dispatch.broker_clock import BrokerClock
from planmesh.dispatch.celery_app import make_app
from planmesh.dispatch.checksum import open_sealed
from planmesh.dispatch.connections import connect_async
from planmesh.dispatch.reply_channel import ReplyChannel
from planmesh.dispatch.task_publisher import TaskPublisher
from planmesh.dispatch.worker_registry import LiveWorkers
from planmesh.graph.model import Int32Array
from planmesh.internal.v1 import task_pb2
from planmesh.rpc.deadline import Deadline
from planmesh.settings import CoordinatorSettings
from planmesh.telemetry.tracing import make_telemetry
from services.coordinator.counters import Counters
from services.coordinator.dispatcher import Dispatcher
from tests.snapshot.small_snapshot import SmallSnapshot, make_snapshot

pytestmark = pytest.mark.mesh

REPLICAS = 2
CALLERS = 6
ANSWERS = 3_000
"""Enough for some tens of periods of the slow worker."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of a snapshot's graph. A partition has at most as many overlay nodes as nodes."""

    snapshot: SmallSnapshot

    @property
    def node_count(self) -> int:
        return self.snapshot.graph.node_count

    def nodes_of(self, partition: int) -> int:
        first = self.snapshot.partition_first
        return int(first[partition + 1] - first[partition])

    def nodes_of_many(self, partitions: Int32Array) -> Int32Array:
        first = self.snapshot.partition_first
        return first[partitions + 1] - first[partitions]

    overlay_nodes_of = nodes_of
    overlay_nodes_of_many = nodes_of_many


@contextmanager
def workers(redis_url: str, folder: Path) -> Iterator[list[int]]:
    """Run query workers of shard 0, and yield their pids."""
    environment = {**os.environ, "PLANMESH_REDIS_URL": redis_url, "PLANMESH_DATA": str(folder)}
    command = [sys.executable, "-m", "workers", "--role", "query", "--shard", "0"]
    started = []
    for number in range(REPLICAS):
        with (folder / f"worker-{number}.log").open("w") as log:
            started.append(subprocess.Popen(command, env=environment, stderr=log))
    try:
        yield [process.pid for process in started]
    finally:
        for process in started:
            psutil.Process(process.pid).resume()
            process.terminate()
        for process in started:
            process.wait()


@asynccontextmanager
async def dispatching(redis_url: str, answered: Counter[int]) -> AsyncIterator[Dispatcher]:
    """Run a dispatcher that knows both workers. `answered` counts the items that each worker answered, by pid."""
    settings = CoordinatorSettings(redis_url=SecretStr(redis_url), shards=1)
    connection = connect_async(redis_url)
    replies = ReplyChannel(redis_url, "caller")
    clock = BrokerClock()
    publisher = TaskPublisher(make_app(redis_url), connection, clock)
    dispatcher = Dispatcher(publisher, replies.key, settings, make_telemetry("test"), Counters(), clock)

    def receive(payload: bytes) -> None:
        reply = open_sealed(task_pb2.QueryReply, payload)
        assert not any(item.HasField("error") for item in reply.items), reply
        answered[int(reply.worker.split("-")[-2])] += len(reply.items)
        dispatcher.receive(payload)

    await replies.start(receive)
    live = LiveWorkers(connection, clock)
    async with asyncio.timeout(120):
        while (seen := await live.poll())[0] < REPLICAS:
            await asyncio.sleep(0.1)
    dispatcher.note_workers(dict(seen))
    try:
        yield dispatcher
    finally:
        await dispatcher.close()
        await replies.close()
        await connection.aclose()


async def ask(dispatcher: Dispatcher, snapshot: SmallSnapshot, count: int) -> None:
    """Ask for local searches without a pause, CALLERS at a time."""
    left = iter(range(count))

    async def caller() -> None:
        for number in left:
            operation = task_pb2.Operation(
                search=task_pb2.SearchOperation(partition=number % snapshot.partitions, node=number % 9)
            )
            await dispatcher.ask(
                0,
                [operation],
                graph="g",
                version=1,
                snapshot_url=str(snapshot.folder),
                snapshot_identity=snapshot.manifest.identity,
                sizes=Sizes(snapshot),
                deadline=Deadline.after(120),
            )

    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(caller())


async def test_a_slow_replica_gets_less_work(redis_server: Any, tmp_path: Path) -> None:
    snapshot = make_snapshot(tmp_path / "snapshot")
    answered: Counter[int] = Counter()
    with workers(redis_server.url, tmp_path) as pids:
        slow, quick = pids
        async with dispatching(redis_server.url, answered) as dispatcher:
            await ask(dispatcher, snapshot, 200)  # files are mapped
            answered.clear()
            with slowed([slow]):
                await ask(dispatcher, snapshot, ANSWERS)
    # It runs for 1 - SLOW_SHARE of the time and pulls what it can do. Half-way to an equal share is allowed.
    fair, pulled = 1 / REPLICAS, (1 - SLOW_SHARE) / (2 - SLOW_SHARE)
    assert 0 < answered[slow] < (fair + pulled) / 2 * answered.total(), answered
    assert answered[quick] > answered[slow]
