"""An item that kills every worker process that takes it. It fails, and the items of the same batches are answered."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from planmesh.dispatch.batching_ledger import ATTEMPTS_MAX
from planmesh.dispatch.broker_clock import BrokerClock
from planmesh.dispatch.celery_app import make_app
from planmesh.dispatch.connections import connect_async
from planmesh.dispatch.reply_channel import ReplyChannel
from planmesh.dispatch.task_publisher import TaskPublisher
from planmesh.dispatch.worker_registry import LiveWorkers
from planmesh.errors import InternalError
from planmesh.graph.model import Int32Array
from planmesh.internal.v1 import task_pb2
from planmesh.rpc.deadline import Deadline
from planmesh.settings import CoordinatorSettings
from planmesh.telemetry.tracing import make_telemetry
from services.coordinator.counters import Counters
from services.coordinator.dispatcher import Answer, Dispatcher
from tests.snapshot.small_snapshot import SmallSnapshot, make_snapshot

pytestmark = [pytest.mark.mesh, pytest.mark.slow, pytest.mark.timeout(900)]

ITEMS = 64
POISON = 17
WORKERS = 3
DEADLINE_S = 600.0

KILLED_BY_AN_ITEM = f"""
import os, signal, sys
from workers import main, query_items

operation = query_items.QueryItems._operation

def killing_operation(self, reader, one):
    if one.search.node == {POISON}:
        os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory runs out
    return operation(self, reader, one)

query_items.QueryItems._operation = killing_operation
sys.exit(main.main(["--role", "query", "--shard", "0"]))
"""


class Workers:
    """Worker processes of shard 0, each of which is restarted after its end."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        self._environment = {**os.environ, "PLANMESH_REDIS_URL": redis_url, "PLANMESH_DATA": str(folder)}
        self._folder = folder
        self.processes = [self._start() for _ in range(WORKERS)]
        self.deaths = 0

    def _start(self) -> subprocess.Popen[bytes]:
        with (self._folder / "workers.log").open("ab") as log:
            return subprocess.Popen([sys.executable, "-c", KILLED_BY_AN_ITEM], env=self._environment, stderr=log)

    def start_again(self) -> None:
        """Restart the processes that have ended."""
        for number, process in enumerate(self.processes):
            if process.poll() is not None:
                self.deaths += 1
                self.processes[number] = self._start()


@contextmanager
def running_workers(redis_url: str, folder: Path) -> Iterator[Workers]:
    workers = Workers(redis_url, folder)
    try:
        yield workers
    finally:
        for process in workers.processes:
            process.kill()
        for process in workers.processes:
            process.wait()


class Sizes:
    """Sizes of a snapshot's graph, as its coordinator knows them."""

    def __init__(self, snapshot: SmallSnapshot) -> None:
        self._partitions = snapshot.manifest.partitions
        self.node_count = snapshot.manifest.counts.nodes

    def nodes_of(self, partition: int) -> int:
        return self._partitions[partition].nodes

    def overlay_nodes_of(self, partition: int) -> int:
        return self._partitions[partition].overlay_nodes

    def nodes_of_many(self, partitions: Int32Array) -> Int32Array:
        return np.array([self.nodes_of(partition) for partition in partitions.tolist()], np.int32)

    def overlay_nodes_of_many(self, partitions: Int32Array) -> Int32Array:
        return np.array([self.overlay_nodes_of(partition) for partition in partitions.tolist()], np.int32)


def ask(dispatcher: Dispatcher, snapshot: SmallSnapshot, node: int) -> asyncio.Task[Answer]:
    operation = task_pb2.Operation(search=task_pb2.SearchOperation(partition=node % snapshot.partitions, node=node))
    return asyncio.create_task(
        dispatcher.ask(
            0,
            [operation],
            graph="g",
            version=1,
            snapshot_url=str(snapshot.folder),
            snapshot_identity=snapshot.manifest.identity,
            sizes=Sizes(snapshot),
            deadline=Deadline.after(DEADLINE_S),
        )
    )


async def test_an_item_that_kills_its_workers_fails_alone(redis_server: Any, tmp_path: Path) -> None:
    snapshot = make_snapshot(tmp_path / "snapshot", nodes=8 * ITEMS, edges=24 * ITEMS)
    settings = CoordinatorSettings(
        redis_url=SecretStr(redis_server.url),
        shards=1,
        coordinator_tasks_in_flight_max=1,
        coordinator_worker_grace_s=120,
    )
    connection = connect_async(redis_server.url)
    replies = ReplyChannel(redis_server.url, "caller")
    clock = BrokerClock()
    publisher = TaskPublisher(make_app(redis_server.url), connection, clock)
    dispatcher = Dispatcher(publisher, replies.key, settings, make_telemetry("test"), Counters(), clock)
    await replies.start(dispatcher.receive)
    live = LiveWorkers(connection, clock)
    with running_workers(redis_server.url, tmp_path) as workers:

        async def watch() -> None:
            while True:
                workers.start_again()
                dispatcher.note_workers(await live.poll(), live.missed)
                await asyncio.sleep(0.2)

        # They are asked for before there is a worker, so they travel together.
        asked = [ask(dispatcher, snapshot, node) for node in range(ITEMS)]
        watching = asyncio.create_task(watch())
        answers = await asyncio.gather(*asked, return_exceptions=True)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    poisoned = answers.pop(POISON)
    assert isinstance(poisoned, InternalError), poisoned
    assert f"each of {ATTEMPTS_MAX} workers" in poisoned.message
    assert all(isinstance(answer, Answer) for answer in answers), answers
    assert max(answer.batch_sizes[0] for answer in answers if isinstance(answer, Answer)) > 1
    assert 1 <= workers.deaths <= ATTEMPTS_MAX
    await dispatcher.close()
    await replies.close()
    await connection.aclose()
