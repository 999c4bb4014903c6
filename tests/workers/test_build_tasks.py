"""Build tasks: each partition gets a reply, also one that cannot be built."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import redis
from structlog.testing import capture_logs

from planmesh.dispatch.queues import REPLY_TTL_S
from planmesh.internal.v1 import task_pb2
from planmesh.snapshot.array_file import FileFacts, verify_file
from planmesh.snapshot.build_folder import BuildFolder
from planmesh.snapshot.manifest import FORMAT
from planmesh.telemetry.tracing import make_telemetry
from tests.snapshot.small_snapshot import random_graph, write_build_input
from workers.build_tasks import BuildTasks

REPLIES = "replies"


@pytest.fixture
def folder(tmp_path: Path) -> BuildFolder:
    made = BuildFolder(tmp_path)
    write_build_input(made, random_graph(60, 200), np.array([0, 30, 60], np.int32))
    return made


def run(connection: redis.Redis, task: bytes) -> list[task_pb2.BuildReply]:
    BuildTasks(connection, make_telemetry("test")).run(task)
    raw_replies = cast("list[bytes]", connection.lrange(REPLIES, 0, -1))
    return [task_pb2.BuildReply.FromString(raw) for raw in raw_replies]


def test_each_partition_has_a_reply_with_the_facts_of_its_file(redis_server: Any, folder: BuildFolder) -> None:
    task = task_pb2.BuildTask(reply_channel=REPLIES, build_path=str(folder.path), partitions=[1, 0])
    with redis.Redis.from_url(redis_server.url) as connection:
        built, other = run(connection, task.SerializeToString())
        assert 0 < connection.ttl(REPLIES) <= REPLY_TTL_S
    assert (built.build_path, built.partition, other.partition) == (str(folder.path), 1, 0)
    for reply in (built, other):
        assert (reply.failure, reply.format) == ("", FORMAT)
        assert reply.overlay_nodes > 0
        verify_file(folder.snapshot_path / reply.file, FileFacts(reply.bytes, reply.checksum), reply.file)


def test_a_partition_that_cannot_be_built_has_a_reply_with_the_reason(redis_server: Any, folder: BuildFolder) -> None:
    folder.input_path.unlink()
    task = task_pb2.BuildTask(reply_channel=REPLIES, build_path=str(folder.path), partitions=[0, 1])
    with redis.Redis.from_url(redis_server.url) as connection:
        replies = run(connection, task.SerializeToString())
    assert [(reply.partition, reply.file) for reply in replies] == [(0, ""), (1, "")]
    assert all(reply.failure.startswith("SnapshotDamaged: input") for reply in replies)


def test_bytes_that_are_not_a_task_are_dropped(redis_server: Any) -> None:
    with redis.Redis.from_url(redis_server.url) as connection, capture_logs() as logged:
        assert run(connection, b"\xff") == []
    assert [one["event"] for one in logged] == ["task dropped: it is not a BuildTask"]


def test_a_reply_that_redis_does_not_accept_is_logged(redis_server: Any, folder: BuildFolder) -> None:
    task = task_pb2.BuildTask(reply_channel=REPLIES, build_path=str(folder.path), partitions=[0])
    with redis.Redis.from_url(redis_server.url) as connection:
        redis_server.kill()
        with capture_logs() as logged:
            BuildTasks(connection, make_telemetry("test")).run(task.SerializeToString())
    assert [one["event"] for one in logged] == ["build reply not delivered"]
    assert folder.finished(0) is not None, "the repeated task finds the partition"
