"""Processes that die in the middle of a load."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc.aio
import pytest

from planmesh.internal.v1 import partition_pb2 as pb
from planmesh.internal.v1 import partition_pb2_grpc
from planmesh.v1 import graph_pb2
from tests.conftest import RedisServer
from tests.services.partition.conftest import Builder, OpenService, Service, header, nodes, random_rows, until

pytestmark = [pytest.mark.mesh, pytest.mark.slow]

NODES = 40_000
PARTITIONS = 20


@pytest.fixture
def builders(redis_server: RedisServer, tmp_path: Path) -> Iterator[list[Builder]]:
    """Build workers that a test starts; those still there are stopped in the end."""
    started: list[Builder] = []
    yield started
    for builder in started:
        if builder.process.poll() is None:
            builder.stop()


async def in_the_index_phase(service: Service, graph: str = "g") -> bool:
    loading = (await service.describe(graph)).loading
    return loading.phase == "index" and 0 < loading.done < loading.total


def start_load(service: Service) -> asyncio.Task[graph_pb2.LoadReport]:
    rows = random_rows(NODES)
    messages = rows.messages(batch=8_192, strategy=graph_pb2.STRATEGY_MINCUT, partitions=PARTITIONS)
    return asyncio.create_task(service.load(messages))


async def begun(service: Service, loading: asyncio.Task[graph_pb2.LoadReport]) -> None:
    """Return when some partitions of the load are indexed and others are not."""

    async def reached() -> bool:
        if loading.done():
            await loading
            raise AssertionError("the load was over before it could be disturbed")
        graphs: pb.DescribeGraphsResponse = await service.call("DescribeGraphs", pb.DescribeGraphsRequest)
        return bool(graphs.graphs) and await in_the_index_phase(service)

    await until(reached)


async def test_a_builder_that_is_killed_is_replaced_by_another(
    open_service: OpenService, redis_server: RedisServer, builders: list[Builder], tmp_path: Path
) -> None:
    builders.append(Builder(redis_server.url, tmp_path / "builder.log"))
    async with open_service(redis_url=redis_server.url) as service:
        loading = start_load(service)
        await begun(service, loading)
        builders[0].stop(signal.SIGKILL)
        builders.append(Builder(redis_server.url, tmp_path / "builder.log"))
        report = await loading
        assert (report.nodes, report.partitions) == (NODES, PARTITIONS)
        assert (await service.describe()).state == graph_pb2.GRAPH_STATE_SERVING


async def test_a_redis_that_is_killed_and_forgets_the_queue_delays_a_load(
    open_service: OpenService, redis_server: RedisServer, builders: list[Builder], tmp_path: Path
) -> None:
    builders.append(Builder(redis_server.url, tmp_path / "builder.log"))
    async with open_service(redis_url=redis_server.url) as service:
        loading = start_load(service)
        await begun(service, loading)
        redis_server.kill()
        redis_server.start()
        report = await loading
        assert (report.nodes, report.partitions) == (NODES, PARTITIONS)


async def test_a_service_that_is_killed_serves_the_old_version_when_it_is_back(
    open_service: OpenService, redis_server: RedisServer, builders: list[Builder], tmp_path: Path
) -> None:
    builders.append(Builder(redis_server.url, tmp_path / "builder.log"))
    async with open_service(redis_url=redis_server.url) as service:
        await service.load([header(), nodes(["a", "b"])])
    socket = tmp_path / "s"
    environment = {
        "PLANMESH_DATA": str(tmp_path / "data"),
        "PLANMESH_REDIS_URL": redis_server.url,
        "PLANMESH_PARTITION_LISTEN": f"unix:{socket}",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.partition", env={**os.environ, **environment}, stderr=subprocess.DEVNULL
    )
    async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        await asyncio.wait_for(channel.channel_ready(), 60)
        outside = Service(service.running, partition_pb2_grpc.PartitionServiceStub(channel), service.data)
        loading = start_load(outside)
        await begun(outside, loading)
        process.kill()
        await process.wait()
        await asyncio.gather(loading, return_exceptions=True)
    assert list((service.data / "builds").iterdir())
    async with open_service(redis_url=redis_server.url) as service:
        assert not list((service.data / "builds").iterdir())
        assert not list((service.data / "store" / "writing").iterdir())
        graph = await service.describe()
        assert (graph.version, graph.nodes, graph.state) == (1, 2, graph_pb2.GRAPH_STATE_SERVING)
        # Tasks of the load that died are still in the queue; they harm nobody.
        assert (await service.load([header(), nodes(["a", "b", "c"])])).version == 2


async def test_a_service_that_is_told_to_stop_abandons_its_load(
    open_service: OpenService, redis_server: RedisServer, builders: list[Builder], tmp_path: Path
) -> None:
    builders.append(Builder(redis_server.url, tmp_path / "builder.log"))
    async with open_service(redis_url=redis_server.url) as service:
        loading = start_load(service)
        await begun(service, loading)
    await asyncio.gather(loading, return_exceptions=True)
    assert loading.cancelled() or loading.exception() is not None
    assert not list((service.data / "builds").iterdir())
    assert not list((service.data / "store" / "writing").iterdir())
    assert not list((service.data / "snapshots").iterdir())
