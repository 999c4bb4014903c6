from __future__ import annotations

import asyncio
import base64
import json

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planmesh.dispatch.connections import connect_async
from planmesh.dispatch.queues import BUILD_QUEUE
from planmesh.errors import SnapshotError
from planmesh.internal.v1 import task_pb2
from planmesh.snapshot.manifest import FORMAT
from services.partition.build.index_build import CHUNK_NODES, CHUNK_PARTITIONS_MAX, plan_chunks
from tests.conftest import RedisServer
from tests.services.partition.conftest import OpenService, header, nodes


@given(st.dictionaries(st.integers(0, 1_000), st.integers(1, 3 * CHUNK_NODES), max_size=200))
def test_chunks_hold_every_partition_once_within_their_bounds(nodes: dict[int, int]) -> None:
    chunks = plan_chunks(nodes)
    assert sorted(partition for chunk in chunks for partition in chunk) == sorted(nodes)
    for chunk in chunks:
        assert 1 <= len(chunk) <= CHUNK_PARTITIONS_MAX
        assert len(chunk) == 1 or sum(nodes[partition] for partition in chunk) <= CHUNK_NODES
    first_sizes = [nodes[chunk[0]] for chunk in chunks]
    assert first_sizes == sorted(first_sizes, reverse=True)


@pytest.mark.mesh
async def test_an_index_of_a_builder_of_an_earlier_planmesh_is_refused(
    open_service: OpenService, redis_server: RedisServer
) -> None:
    """It would be taken into a snapshot of today's format. Here the test is the builder."""
    connection = connect_async(redis_server.url, socket_timeout_s=70.0)
    async with open_service(redis_url=redis_server.url) as service:
        loading = asyncio.create_task(service.load([header(), nodes(["a", "b"])]))
        popped = await connection.brpop([BUILD_QUEUE], timeout=60)
        assert popped is not None, "no task came"
        (payload,), _, _ = msgpack.unpackb(base64.b64decode(json.loads(popped[1])["body"]))
        task = task_pb2.BuildTask.FromString(payload)
        reply = task_pb2.BuildReply(build_path=task.build_path, partition=task.partitions[0], file="partitions/00000")
        await connection.rpush(task.reply_channel, reply.SerializeToString())
        with pytest.raises(SnapshotError, match=f"format 0, expected {FORMAT}: a build worker is of another planmesh"):
            await loading
    await connection.aclose()
