"""Data folders of a planmesh with another snapshot format."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from planmesh.errors import GraphUnknown, SnapshotError, Unavailable
from planmesh.internal.v1 import partition_pb2 as pb
from planmesh.snapshot.manifest import FORMAT, MANIFEST_NAME, read_manifest
from planmesh.snapshot.reader import SnapshotReader
from planmesh.v1 import graph_pb2
from tests.conftest import RedisServer
from tests.services.partition.conftest import Builder, OpenService, Service, random_rows, until
from tests.services.partition.format_number import rewrite_format
from tests.services.partition.test_removal import held_catalog
from tests.snapshot.damage import flip_a_bit

pytestmark = pytest.mark.mesh

EARLIER = FORMAT - 1
NEWER = FORMAT + 1


@pytest.fixture
def builders(redis_server: RedisServer, tmp_path: Path) -> Iterator[list[Builder]]:
    """Build workers that a test starts; those still there are stopped in the end."""
    started: list[Builder] = []
    yield started
    for builder in started:
        if builder.process.poll() is None:
            builder.stop()


async def draw(service: Service) -> pb.DrawNodesResponse:
    response: pb.DrawNodesResponse = await service.call("DrawNodes", pb.DrawNodesRequest, graph="g", count=3, seed=1)
    return response


async def first_served(service: Service) -> pb.ServedGraph:
    """What a coordinator that begins to watch is told of."""

    async def no_requests() -> AsyncIterator[pb.WatchGraphsRequest]:
        await asyncio.Event().wait()
        yield pb.WatchGraphsRequest()

    watch = service.stub.WatchGraphs(no_requests())
    event: pb.WatchGraphsResponse = await watch.read()
    watch.cancel()
    return event.served


async def serves(service: Service, version: int) -> bool:
    graph = await service.describe()
    return (graph.state, graph.version) == (graph_pb2.GRAPH_STATE_SERVING, version) and not graph.HasField("loading")


async def test_a_version_of_an_earlier_format_is_rebuilt_from_the_store_and_not_served_before(
    open_service: OpenService, redis_server: RedisServer, builders: list[Builder], tmp_path: Path
) -> None:
    rows = random_rows()
    builders.append(Builder(redis_server.url, tmp_path / "builder.log"))
    async with open_service(redis_url=redis_server.url) as service:
        await service.load(rows.messages())
        before = read_manifest(service.snapshot(1) / MANIFEST_NAME)
    builders[0].stop()  # so that the rebuild cannot end before it was looked at
    rewrite_format(service.data, EARLIER)
    with capture_logs() as told:
        async with open_service(redis_url=redis_server.url, partition_version_grace_s=0.0) as service:
            graph = await service.describe()
            assert (graph.state, graph.version, graph.nodes) == (graph_pb2.GRAPH_STATE_REBUILDING, 1, 200)
            with pytest.raises(Unavailable, match=rf"format {EARLIER}, expected {FORMAT}\).* rebuilt from the store"):
                await draw(service)
            served = await first_served(service)
            assert (served.graph, served.version) == ("g", 1)
            with pytest.raises(SnapshotError, match=rf"expected format {FORMAT}, found {EARLIER}.*rebuilds it"):
                SnapshotReader.open(served.snapshot_url)
            builders.append(Builder(redis_server.url, tmp_path / "builder.log"))
            await until(lambda: serves(service, 2))
            assert (await draw(service)).version == 2
            after = read_manifest(service.snapshot(2) / MANIFEST_NAME)
            assert [entry.checksum for entry in after.files()] == [entry.checksum for entry in before.files()]
            await until(lambda: not service.snapshot(1).exists())
            await until(lambda: not (service.data / "store" / "rows" / "g" / "1").exists())
    (line,) = [one for one in told if one["event"] == "rebuilt from the store"]
    assert (line["graph"], line["version"], line["found_format"], line["format"]) == ("g", 1, EARLIER, FORMAT)


async def test_a_rebuild_that_is_interrupted_is_gone_on_with(
    open_service: OpenService, redis_server: RedisServer, builders: list[Builder], tmp_path: Path
) -> None:
    builders.append(Builder(redis_server.url, tmp_path / "builder.log"))
    async with open_service(redis_url=redis_server.url) as service:
        await service.load(random_rows().messages())
    builders[0].stop()
    rewrite_format(service.data, EARLIER)

    async def in_the_index_phase() -> bool:
        return (await service.describe()).loading.phase == "index"

    async with open_service(redis_url=redis_server.url) as service:
        await until(in_the_index_phase)
    assert len(list((service.data / "builds").iterdir())) == 1
    async with open_service(redis_url=redis_server.url) as service:
        graph = await service.describe()
        assert (graph.state, graph.loading.resumed) == (graph_pb2.GRAPH_STATE_REBUILDING, True)
        builders.append(Builder(redis_server.url, tmp_path / "builder.log"))
        await until(lambda: serves(service, 2))
        assert not list((service.data / "builds").iterdir())
    async with open_service(redis_url=redis_server.url) as service:
        assert await serves(service, 2), "and it is done"


async def test_a_graph_that_is_being_rebuilt_can_be_removed(
    open_service: OpenService, redis_server: RedisServer, builders: list[Builder], tmp_path: Path
) -> None:
    builders.append(Builder(redis_server.url, tmp_path / "builder.log"))
    async with open_service(redis_url=redis_server.url) as service:
        await service.load(random_rows().messages())
    builders[0].stop()
    rewrite_format(service.data, EARLIER)
    async with open_service(redis_url=redis_server.url) as service:
        await service.call("RemoveGraph", pb.RemoveGraphRequest, graph="g")
        with pytest.raises(GraphUnknown):
            await service.describe()
        assert not service.snapshot(1).exists()
        assert not list((service.data / "builds").iterdir())
    async with open_service(redis_url=redis_server.url) as service:
        with pytest.raises(GraphUnknown):
            await service.describe()


async def test_a_removal_that_the_store_refuses_leaves_the_rebuild_going_on(
    open_service: OpenService, redis_server: RedisServer, builders: list[Builder], tmp_path: Path
) -> None:
    builders.append(Builder(redis_server.url, tmp_path / "builder.log"))
    async with open_service(redis_url=redis_server.url) as service:
        await service.load(random_rows().messages())
    builders[0].stop()
    rewrite_format(service.data, EARLIER)
    async with open_service(redis_url=redis_server.url) as service:
        with held_catalog(service), pytest.raises(SnapshotError, match="could not be removed"):
            await service.call("RemoveGraph", pb.RemoveGraphRequest, graph="g")
        graph = await service.describe()
        assert (graph.state, graph.version) == (graph_pb2.GRAPH_STATE_REBUILDING, 1)
        builders.append(Builder(redis_server.url, tmp_path / "builder.log"))
        await until(lambda: serves(service, 2))


async def test_rows_that_are_damaged_are_not_rebuilt_and_the_graph_can_be_loaded_again(
    open_service: OpenService, builder: Builder
) -> None:
    async with open_service() as service:
        await service.load(random_rows().messages())
    rewrite_format(service.data, EARLIER)
    flip_a_bit(service.data / "store" / "rows" / "g" / "1" / "edges.parquet")
    async with open_service() as service:

        async def is_given_up() -> bool:
            return (await service.describe()).state == graph_pb2.GRAPH_STATE_UNREADABLE

        await until(is_given_up)
        with pytest.raises(Unavailable, match=r"stored rows are damaged.*load the graph again"):
            await draw(service)
        assert (await service.load(random_rows().messages())).version == 2
        assert await serves(service, 2)


async def test_a_version_of_a_newer_format_is_kept_and_told(open_service: OpenService, builder: Builder) -> None:
    async with open_service() as service:
        await service.load(random_rows().messages())
    rewrite_format(service.data, NEWER)
    async with open_service() as service:
        assert (await service.describe()).state == graph_pb2.GRAPH_STATE_UNREADABLE
        with pytest.raises(Unavailable, match=f"at most format {FORMAT}, found {NEWER}.*newer planmesh"):
            await draw(service)
        with pytest.raises(SnapshotError, match="newer planmesh"):
            SnapshotReader.open((await first_served(service)).snapshot_url)
        assert await service.is_idle()
    assert service.snapshot(1).exists(), "a planmesh that can read it may come back"
    async with open_service() as service:
        assert (await service.load(random_rows(seed=2).messages())).version == 2
        assert await serves(service, 2)
