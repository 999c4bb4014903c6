"""A task with one item that cannot be answered, in a real worker. All other items get their results."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from planmesh.dispatch.broker_clock import BrokerClock
from planmesh.dispatch.celery_app import make_app
from planmesh.dispatch.checksum import open_sealed, seal
from planmesh.dispatch.connections import connect, connect_async
from planmesh.dispatch.queues import WORKERS_KEY, reply_list
from planmesh.dispatch.task_publisher import TaskPublisher
from planmesh.internal.v1 import task_pb2
from planmesh.local.ports import free_port
from tests.conftest import RedisServer
from tests.mesh.polling import WITHIN_S, eventually
from tests.snapshot.small_snapshot import SmallSnapshot, make_snapshot
from workers.query_items import OpenSnapshots, QueryItems
from workers.query_tasks import seal_within

pytestmark = pytest.mark.mesh

ITEMS = 64
POISON = 17
REPLY_KEY = reply_list("poison-test")

SPARE_BYTES = 512 * 2**20
"""Memory that the worker may allocate in addition: plenty for all items but one."""

POISON_NODES = 2_000_000
"""The poisonous expansion lists a node with some twenty edges this often. At 28 bytes per edge it needs 1 GB."""


@dataclass(frozen=True)
class Worker:
    """A query worker process of shard 0, and its broker."""

    process: subprocess.Popen[bytes]
    redis_url: str

    async def answer(self, task: task_pb2.QueryTask) -> task_pb2.QueryReply:
        """Send a task, and return its reply. Raises AssertionError when none comes."""
        connection = connect_async(self.redis_url, socket_timeout_s=WITHIN_S + 10)
        try:
            publisher = TaskPublisher(make_app(self.redis_url), connection, BrokerClock())
            await publisher.publish_query(0, seal(task), expires_s=600)
            popped = await connection.blpop([task.reply_channel], timeout=WITHIN_S)
        finally:
            await connection.aclose()
        assert popped is not None, "the task was lost"
        assert isinstance(popped[1], bytes), "the connection decodes nothing"
        return open_sealed(task_pb2.QueryReply, popped[1])


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> SmallSnapshot:
    return make_snapshot(tmp_path_factory.mktemp("snapshot"), edges=4_000)


@pytest.fixture(params=[False, True], ids=["plain", "traced"])
def worker(redis_server: RedisServer, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Worker]:
    environment = {**os.environ, "PLANMESH_REDIS_URL": redis_server.url, "PLANMESH_DATA": str(tmp_path)}
    if request.param:
        # Spans are recorded. No collector needs to receive them.
        environment |= {
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        }
    command = [sys.executable, "-m", "workers", "--role", "query", "--shard", "0"]
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    connection = connect(redis_server.url)
    try:
        eventually(lambda: connection.hlen(WORKERS_KEY), "a worker that is registered")
        yield Worker(process, redis_server.url)
    finally:
        connection.close()
        process.terminate()
        process.wait(30)


def task_of(snapshot: SmallSnapshot, operations: list[task_pb2.Operation]) -> task_pb2.QueryTask:
    """Return a task with one item for each operation."""
    items = [
        task_pb2.QueryItem(
            key=key,
            graph="g",
            version=1,
            snapshot_url=str(snapshot.folder),
            snapshot_identity=snapshot.manifest.identity,
            deadline_unix_s=time.time() + 3_600,
            operations=[operation],
        )
        for key, operation in enumerate(operations)
    ]
    return task_pb2.QueryTask(batch=1, reply_channel=REPLY_KEY, items=items)


def searches(snapshot: SmallSnapshot) -> list[task_pb2.Operation]:
    """Return a local search for each item of a task."""
    return [
        task_pb2.Operation(
            search=task_pb2.SearchOperation(
                partition=number % snapshot.partitions, node=number // snapshot.partitions, backward=bool(number % 2)
            )
        )
        for number in range(ITEMS)
    ]


def expansion(snapshot: SmallSnapshot, count: int) -> task_pb2.Operation:
    """Return an expansion that lists the node with the most edges of partition 0 `count` times."""
    degrees = np.diff(snapshot.graph.first_out)[: snapshot.partition_first[1]]
    nodes = np.full(count, int(degrees.argmax()), np.int32)
    return task_pb2.Operation(expand=task_pb2.ExpandOperation(partition=0, nodes=nodes.tobytes(), outgoing=True))


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on another process's memory")
async def test_an_item_without_enough_memory_fails_alone(
    worker: Worker, snapshot: SmallSnapshot, tmp_path: Path
) -> None:
    operations = searches(snapshot)
    whole = task_of(snapshot, operations)
    in_this_process = QueryItems(OpenSnapshots(16), BrokerClock())
    expected = [in_this_process.answer(item).results for item in whole.items]
    assert [item.results for item in (await worker.answer(whole)).items] == expected

    limited = psutil.Process(worker.process.pid)
    limit = limited.memory_info().vms + SPARE_BYTES
    limited.rlimit(resource.RLIMIT_AS, (limit, limit))
    operations[POISON] = expansion(snapshot, POISON_NODES)
    reply = await worker.answer(task_of(snapshot, operations))
    assert [item.key for item in reply.items] == list(range(ITEMS))
    failed = reply.items[POISON]
    assert failed.error.kind == task_pb2.ITEM_ERROR_KIND_OUT_OF_MEMORY
    assert "memory" in failed.error.message
    assert not failed.results
    for item, results in zip(reply.items, expected, strict=True):
        if item.key != POISON:
            assert (item.HasField("error"), item.results) == (False, results)
    # The worker continues, and answers as before.
    assert [item.results for item in (await worker.answer(whole)).items] == expected
    assert worker.process.poll() is None


async def test_an_item_of_an_unknown_kind_fails_alone(worker: Worker, snapshot: SmallSnapshot) -> None:
    operations = searches(snapshot)
    operations[POISON] = task_pb2.Operation()
    reply = await worker.answer(task_of(snapshot, operations))
    assert [item.key for item in reply.items if item.HasField("error")] == [POISON]
    assert reply.items[POISON].error.kind == task_pb2.ITEM_ERROR_KIND_INTERNAL


def test_a_result_too_large_for_a_reply_fails_alone(snapshot: SmallSnapshot, tmp_path: Path) -> None:
    operations = [*searches(snapshot)[:3], expansion(snapshot, 1_000), expansion(snapshot, 2_000)]
    items = QueryItems(OpenSnapshots(16), BrokerClock())
    reply = task_pb2.QueryReply(batch=1, items=[items.answer(item) for item in task_of(snapshot, operations).items])
    assert open_sealed(task_pb2.QueryReply, seal_within(reply, 10**9)).items == reply.items
    bytes_max = reply.ByteSize() - 1
    fitted = open_sealed(task_pb2.QueryReply, seal_within(reply, bytes_max))
    assert [item.HasField("error") for item in fitted.items] == [False, False, False, False, True]
    assert fitted.items[4].error.kind == task_pb2.ITEM_ERROR_KIND_OUT_OF_MEMORY
    assert f"{bytes_max:,} bytes" in fitted.items[4].error.message
