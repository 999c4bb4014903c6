"""Processes that die in the middle of a load, and what becomes of its build."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import grpc.aio
import pytest
from structlog.testing import capture_logs

from planmesh.errors import Conflict, GraphUnknown, Unavailable
from planmesh.internal.v1 import partition_pb2 as pb
from planmesh.internal.v1 import partition_pb2_grpc
from planmesh.snapshot.array_file import verify_file
from planmesh.snapshot.manifest import FORMAT, read_manifest
from planmesh.v1 import graph_pb2
from services.partition.main import RunningService
from tests.conftest import RedisServer
from tests.services.partition.conftest import (
    WAIT_S_MAX,
    Builder,
    OpenService,
    Service,
    header,
    nodes,
    random_rows,
    until,
)
from tests.snapshot.damage import flip_a_bit

pytestmark = [pytest.mark.mesh, pytest.mark.slow]

NODES = 20_000
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


def finished_partitions(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of writing of every partition of a build, or of a version, that is finished."""
    facts = {path.name for path in folder.glob("facts/*") if not path.name.startswith(".")}
    files = (folder / "snapshot" if facts else folder).glob("partitions/*")
    found = {path.name: path.stat() for path in files}
    return {name: (one.st_ino, one.st_mtime_ns) for name, one in found.items() if name in facts or not facts}


def only_build(service: Service) -> Path:
    (build,) = (service.data / "builds").iterdir()
    return build


@asynccontextmanager
async def outside(
    data: Path, redis_url: str, socket: Path
) -> AsyncIterator[tuple[Service, asyncio.subprocess.Process]]:
    """The service as a process of its own."""
    environment = {
        "PLANMESH_DATA": str(data),
        "PLANMESH_REDIS_URL": redis_url,
        "PLANMESH_PARTITION_LISTEN": f"unix:{socket}",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.partition", env={**os.environ, **environment}, stderr=subprocess.DEVNULL
    )
    try:
        async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
            await asyncio.wait_for(channel.channel_ready(), WAIT_S_MAX)
            stub = partition_pb2_grpc.PartitionServiceStub(channel)
            yield Service(cast("RunningService", None), stub, data), process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def leave_half_a_build(
    data: Path, redis_url: str, socket: Path, builder: Builder, stop: signal.Signals
) -> dict[str, tuple[int, int]]:
    """Begin a load, end its builder and its service in the middle, and return what was finished."""
    async with outside(data, redis_url, socket) as (service, process):
        loading = start_load(service)
        await begun(service, loading)
        builder.stop(signal.SIGKILL)
        process.send_signal(stop)
        await process.wait()
        with pytest.raises(Unavailable):
            await loading
        finished = finished_partitions(only_build(service))
        assert 0 < len(finished) < PARTITIONS
        return finished


async def test_a_builder_that_is_killed_is_replaced_by_another(
    open_service: OpenService, redis_server: RedisServer, builders: list[Builder], tmp_path: Path
) -> None:
    builders.append(Builder(redis_server.url, tmp_path / "builder.log"))
    async with open_service(redis_url=redis_server.url) as service:
        loading = start_load(service)
        await begun(service, loading)
        builders[0].stop(signal.SIGKILL)
        finished = finished_partitions(only_build(service))
        builders.append(Builder(redis_server.url, tmp_path / "builder.log"))
        report = await loading
        assert finished
        assert finished.items() <= finished_partitions(service.snapshot(1)).items(), "none was built twice"
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


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM])
async def test_a_build_whose_service_ends_is_resumed_by_the_next_one(
    open_service: OpenService, redis_server: RedisServer, builders: list[Builder], tmp_path: Path, stop: signal.Signals
) -> None:
    builders.append(Builder(redis_server.url, tmp_path / "builder.log"))
    async with open_service(redis_url=redis_server.url) as service:
        await service.load([header(), nodes(["a", "b"])])
    finished = await leave_half_a_build(service.data, redis_server.url, tmp_path / "s", builders[0], stop)
    redis_server.kill()  # the tasks in the queue are lost too, as when a whole mesh is killed
    redis_server.start()
    async with open_service(redis_url=redis_server.url) as service:
        graph = await service.describe()
        assert (graph.version, graph.nodes, graph.state) == (1, 2, graph_pb2.GRAPH_STATE_SERVING)
        assert graph.loading.resumed
        await until(lambda: in_the_index_phase(service))
        loading = (await service.describe()).loading
        assert (loading.done, loading.total) == (len(finished), PARTITIONS)
        with pytest.raises(Conflict, match=rf"is being resumed \(index, {len(finished)} of {PARTITIONS}\)"):
            await service.load([header(), nodes(["a"])])
        builders.append(Builder(redis_server.url, tmp_path / "builder.log"))
        await until(service.is_idle)
        graph = await service.describe()
        assert (graph.version, graph.nodes, graph.partitions) == (2, NODES, PARTITIONS)
        assert finished.items() <= finished_partitions(service.snapshot(2)).items(), "none was built twice"
        ids = [one async for part in service.stub.ReadGraph(pb.ReadGraphRequest(graph="g")) for one in part.nodes.ids]
        assert ids == random_rows(NODES).ids
        assert not list((service.data / "builds").iterdir())
        assert not list((service.data / "store" / "writing").iterdir())
        # Nothing of the interrupted load stands in the way of the next one, and it is made again to the same bytes.
        assert (await start_load(service)).version == 2, "the report of the resumed build waited for its caller"
        await start_load(service)
        resumed, again = (read_manifest(service.snapshot(version) / "manifest.json") for version in (2, 3))
        assert [entry.checksum for entry in resumed.files()] == [entry.checksum for entry in again.files()]


async def test_what_is_damaged_of_an_interrupted_build_is_made_again(
    open_service: OpenService, redis_server: RedisServer, builders: list[Builder], tmp_path: Path
) -> None:
    builders.append(Builder(redis_server.url, tmp_path / "builder.log"))
    data = tmp_path / "data"
    finished = await leave_half_a_build(data, redis_server.url, tmp_path / "s", builders[0], signal.SIGKILL)
    (build,) = (data / "builds").iterdir()
    broken, *whole = sorted(finished)
    flip_a_bit(build / "snapshot" / "partitions" / broken)
    builders.append(Builder(redis_server.url, tmp_path / "builder.log"))
    async with open_service(redis_url=redis_server.url) as service:
        await until(service.is_idle)
        now = finished_partitions(service.snapshot(1))
        assert now[broken] != finished[broken]
        assert all(now[name] == finished[name] for name in whole)
        manifest = read_manifest(service.snapshot(1) / "manifest.json")
        for entry in manifest.files():
            verify_file(service.snapshot(1) / entry.file, entry.facts)


async def test_no_partition_that_an_earlier_planmesh_finished_is_taken(
    open_service: OpenService, redis_server: RedisServer, builders: list[Builder], tmp_path: Path
) -> None:
    builders.append(Builder(redis_server.url, tmp_path / "builder.log"))
    data = tmp_path / "data"
    finished = await leave_half_a_build(data, redis_server.url, tmp_path / "s", builders[0], signal.SIGKILL)
    (build,) = (data / "builds").iterdir()
    for name in finished:
        facts = json.loads((build / "facts" / name).read_text())
        assert facts.pop("format") == FORMAT
        (build / "facts" / name).write_text(json.dumps(facts))
    builders.append(Builder(redis_server.url, tmp_path / "builder.log"))
    async with open_service(redis_url=redis_server.url) as service:
        await until(service.is_idle)
        now = finished_partitions(service.snapshot(1))
        assert all(now[name] != finished[name] for name in finished)
        graph = await service.describe()
        assert (graph.version, graph.nodes, graph.state) == (1, NODES, graph_pb2.GRAPH_STATE_SERVING)


@pytest.mark.parametrize(
    "damage",
    [lambda build: flip_a_bit(build / "input"), lambda build: flip_a_bit(build / "journal.json")],
    ids=["input", "journal"],
)
async def test_a_build_whose_input_is_damaged_is_removed(
    open_service: OpenService,
    redis_server: RedisServer,
    builders: list[Builder],
    tmp_path: Path,
    damage: Callable[[Path], None],
) -> None:
    builders.append(Builder(redis_server.url, tmp_path / "builder.log"))
    data = tmp_path / "data"
    await leave_half_a_build(data, redis_server.url, tmp_path / "s", builders[0], signal.SIGKILL)
    (build,) = (data / "builds").iterdir()
    damage(build)
    async with open_service(redis_url=redis_server.url) as service:
        await until(service.is_idle)
        with pytest.raises(GraphUnknown):
            await service.describe()
        assert not list((data / "builds").iterdir())
        assert not list((data / "store" / "writing").iterdir())


async def test_a_resumed_build_is_dropped_by_removing_the_graph(
    open_service: OpenService, redis_server: RedisServer, builders: list[Builder], tmp_path: Path
) -> None:
    builders.append(Builder(redis_server.url, tmp_path / "builder.log"))
    data = tmp_path / "data"
    await leave_half_a_build(data, redis_server.url, tmp_path / "s", builders[0], signal.SIGKILL)
    # Nobody builds, so the resumed build lasts.
    async with open_service(redis_url=redis_server.url, partition_build_stall_s=0.3) as service:
        assert (await service.describe()).state == graph_pb2.GRAPH_STATE_LOADING
        await service.call("RemoveGraph", pb.RemoveGraphRequest, graph="g")
        with pytest.raises(GraphUnknown):
            await service.describe()
        assert not list((data / "builds").iterdir())
        assert not list((data / "store" / "writing").iterdir())
    async with open_service(redis_url=redis_server.url) as service:
        builders.append(Builder(redis_server.url, tmp_path / "builder.log"))
        assert (await service.load([header(), nodes(["a", "b"])])).version == 1


async def test_a_resumed_build_waits_for_builders_longer_than_a_load_does(
    open_service: OpenService, redis_server: RedisServer, builders: list[Builder], tmp_path: Path
) -> None:
    builders.append(Builder(redis_server.url, tmp_path / "builder.log"))
    data = tmp_path / "data"
    await leave_half_a_build(data, redis_server.url, tmp_path / "s", builders[0], signal.SIGKILL)
    async with open_service(redis_url=redis_server.url, partition_build_stall_s=0.1) as service:
        with capture_logs() as told:
            await until(lambda: sum(one["event"] == "build tried again" for one in told) > 2)
        assert (await service.describe()).loading.resumed
    async with open_service(redis_url=redis_server.url) as service:
        builders.append(Builder(redis_server.url, tmp_path / "builder.log"))
        await until(service.is_idle)
        assert (await service.describe()).version == 1
