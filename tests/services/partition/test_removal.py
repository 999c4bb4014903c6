"""Removals that are cut short, and what becomes of the graph."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from planmesh.errors import GraphUnknown, SnapshotError
from planmesh.internal.v1 import partition_pb2 as pb
from planmesh.v1 import graph_pb2
from services.partition.catalog.graph_locks import GraphLocks
from tests.conftest import RedisServer
from tests.services.partition.conftest import Builder, OpenService, Service, header, nodes, random_rows, until
from tests.services.partition.test_disruption import outside

pytestmark = pytest.mark.mesh

AB = nodes(["a", "b"])
JUNK_FILES = 5_000
"""In a snapshot, so that its removal takes a while."""


@contextmanager
def held_catalog(service: Service) -> Iterator[None]:
    """The catalog's write lock, as a backup holds it: removals wait for it, reads do not."""
    with closing(sqlite3.connect(service.data / "store" / "catalog.sqlite", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


async def remove(service: Service, graph: str) -> None:
    await service.call("RemoveGraph", pb.RemoveGraphRequest, graph=graph)


async def test_a_removal_whose_caller_goes_away_is_finished(open_service: OpenService, builder: Builder) -> None:
    async with open_service() as service:
        for graph in ("g", "other"):
            await service.load([header(graph), AB])
        with held_catalog(service):
            first = asyncio.create_task(remove(service, "other"))
            await until(lambda: not service.running.resources.graphs.knows("other"))
            call = service.stub.RemoveGraph(pb.RemoveGraphRequest(graph="g"))
            await until(lambda: not service.running.resources.graphs.knows("g"))
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            # A further call is answered after the cancellation was heard.
            assert await service.is_idle()
        await first
        await until(lambda: not (service.data / "snapshots" / "g").exists())
        assert not (service.data / "store" / "rows" / "g").exists()
    async with open_service() as service:
        with pytest.raises(GraphUnknown):
            await service.describe("g")


async def test_a_load_that_is_begun_while_its_graph_is_removed_keeps_its_snapshot(
    open_service: OpenService, builder: Builder
) -> None:
    rows = random_rows()
    async with open_service() as service:
        await service.load(rows.messages())
        for version in range(2, 8):
            with held_catalog(service):
                removing = asyncio.create_task(remove(service, "g"))
                await until(lambda: not service.running.resources.graphs.knows("g"))
                loading = asyncio.create_task(service.load(rows.messages()))

                async def publishes() -> bool:
                    graphs = (await service.call("DescribeGraphs", pb.DescribeGraphsRequest)).graphs
                    return any(graph.loading.phase == "publish" for graph in graphs)

                await until(publishes)
            await removing
            assert (await loading).version == version
            assert service.snapshot(version).is_dir()
            node = await service.call("DescribeNode", pb.DescribeNodeRequest, graph="g", node="n7")
            assert node.node.version == version
    async with open_service() as service:
        assert (await service.describe()).version == version


async def test_a_graph_whose_removal_the_store_refuses_is_served_as_before(service: Service) -> None:
    await service.load(random_rows().messages())
    # For longer than the store waits for its lock.
    with held_catalog(service), pytest.raises(SnapshotError, match="could not be removed"):
        await remove(service, "g")
    graph = await service.describe()
    assert (graph.version, graph.state) == (1, graph_pb2.GRAPH_STATE_SERVING)
    assert (await service.call("DescribeNode", pb.DescribeNodeRequest, graph="g", node="n7")).node.version == 1
    await remove(service, "g")
    with pytest.raises(GraphUnknown):
        await service.describe()


def at_once(data: Path) -> bool:
    return True


def when_the_rows_are_gone(data: Path) -> bool:
    return not (data / "store" / "rows" / "g").exists()


def when_the_snapshot_is_put_aside(data: Path) -> bool:
    return any((data / "snapshots").glob(".removed-*"))


@pytest.mark.slow
@pytest.mark.parametrize("moment", [at_once, when_the_rows_are_gone, when_the_snapshot_is_put_aside])
async def test_a_service_that_is_killed_in_a_removal_leaves_the_graph_whole_or_removed(
    open_service: OpenService,
    broker: RedisServer,
    builder: Builder,
    tmp_path: Path,
    moment: Callable[[Path], bool],
) -> None:
    rows = random_rows()
    async with open_service() as service:
        await service.load(rows.messages())
        for number in range(JUNK_FILES):
            (service.snapshot(1) / "partitions" / f"junk-{number}").touch()
    async with outside(service.data, broker.url, tmp_path / "s") as (running, process):
        await running.describe()
        removing = asyncio.create_task(remove(running, "g"))
        await until(lambda: moment(service.data))
        process.kill()
        await process.wait()
        await asyncio.gather(removing, return_exceptions=True)
    async with open_service() as service:
        try:
            graph = await service.describe()
        except GraphUnknown:
            assert not list((service.data / "snapshots").iterdir())
            assert not list((service.data / "store" / "rows").glob("*/*"))
            assert not list((service.data / "store" / "writing").iterdir())
        else:
            assert moment is at_once
            assert (graph.version, graph.nodes) == (1, 200)
            node = await service.call("DescribeNode", pb.DescribeNodeRequest, graph="g", node="n7")
            assert node.node.version == 1
        assert (await service.load(rows.messages())).version == 2


async def test_locks_exclude_by_name_and_are_forgotten() -> None:
    locks = GraphLocks()
    inside: list[str] = []

    async def use(graph: str, name: str) -> None:
        async with locks.hold(graph):
            inside.append(name)
            await release.wait()

    release = asyncio.Event()
    tasks = [asyncio.create_task(use(graph, f"{graph}{number}")) for graph in "gh" for number in range(2)]
    while len(inside) < 2:
        await asyncio.sleep(0)
    assert inside == ["g0", "h0"]
    tasks[1].cancel()
    await asyncio.gather(tasks[1], return_exceptions=True)
    release.set()
    await asyncio.gather(tasks[0], *tasks[2:])
    assert inside == ["g0", "h0", "h1"]
    assert not locks._locks
