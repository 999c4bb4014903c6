"""Builds whose callers leave, and callers that send the same rows again."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from planmesh.errors import Conflict, GraphUnknown, ServiceUnavailable, WorkerUnavailable
from planmesh.internal.v1 import partition_pb2 as pb
from planmesh.v1 import graph_pb2
from tests.services.partition.conftest import Builder, OpenService, Service, header, nodes, random_rows, until

pytestmark = pytest.mark.mesh

ROWS = random_rows(2_000)
OPTIONS: dict[str, Any] = {"strategy": graph_pb2.STRATEGY_MINCUT, "partitions": 5}


class Mesh:
    """A service whose builder is stopped until the test calls `build`, so that no build ends before."""

    def __init__(self, service: Service, builder: Builder) -> None:
        self.service = service
        self._builder = builder

    def build(self) -> None:
        self._builder.process.send_signal(signal.SIGCONT)

    def load(self, batch: int = 100) -> asyncio.Task[graph_pb2.LoadReport]:
        return asyncio.create_task(self.service.load(ROWS.messages(batch=batch, **OPTIONS)))

    async def outlives_callers(self) -> None:
        await until(lambda: self.service.running.loads.outlives_callers("g"))

    async def leave(self, loading: asyncio.Task[graph_pb2.LoadReport], left: int = 0) -> None:
        """Cancel a caller after its build can continue without it, and wait until the service has noticed."""
        await self.outlives_callers()
        with capture_logs() as logged:
            loading.cancel()
            await until(lambda: any(one["event"] == "caller left; the build continues" for one in logged))
        assert [one["callers"] for one in logged if one["event"] == "caller left; the build continues"] == [left]


@asynccontextmanager
async def mesh_of(open_service: OpenService, builder: Builder, **options: float) -> AsyncIterator[Mesh]:
    builder.process.send_signal(signal.SIGSTOP)
    try:
        async with open_service(**options) as service:
            yield Mesh(service, builder)
    finally:
        builder.process.send_signal(signal.SIGCONT)


@pytest.fixture
async def mesh(open_service: OpenService, builder: Builder) -> AsyncIterator[Mesh]:
    async with mesh_of(open_service, builder) as made:
        yield made


async def test_a_sealed_build_continues_without_its_caller(mesh: Mesh) -> None:
    await mesh.leave(mesh.load())
    graph = await mesh.service.describe()
    assert (graph.loading.phase, graph.loading.total) == ("index", 5)
    mesh.build()
    await until(mesh.service.is_idle)
    graph = await mesh.service.describe()
    assert (graph.version, graph.nodes, graph.state) == (1, 2_000, graph_pb2.GRAPH_STATE_SERVING)
    assert not list((mesh.service.data / "builds").iterdir())


async def test_a_caller_with_the_same_rows_waits_for_the_build_in_progress(mesh: Mesh) -> None:
    first = mesh.load()
    await mesh.outlives_callers()
    with capture_logs() as logged:
        second = mesh.load(batch=333)  # the same rows in other batches
        await until(lambda: any(one["event"] == "caller joins a build" for one in logged))
    await mesh.leave(first, left=1)
    mesh.build()
    assert (await second).version == 1
    assert (await mesh.service.describe()).version == 1


async def test_the_report_of_a_build_without_callers_is_given_once(mesh: Mesh) -> None:
    await mesh.leave(mesh.load())
    mesh.build()
    await until(mesh.service.is_idle)
    report = await mesh.load(batch=333)
    assert (report.version, report.nodes, report.partitions) == (1, 2_000, 5)
    assert not list((mesh.service.data / "builds").iterdir())
    assert (await mesh.load()).version == 2, "the report was given already, so this is another load"


async def test_other_rows_after_the_build_ended_are_another_load(mesh: Mesh) -> None:
    await mesh.leave(mesh.load())
    mesh.build()
    await until(mesh.service.is_idle)
    report = await mesh.service.load([*ROWS.messages(**OPTIONS), nodes(["one more"])])
    assert (report.version, report.nodes) == (2, 2_001)


async def test_other_rows_or_options_conflict_with_the_build_in_progress(mesh: Mesh) -> None:
    await mesh.leave(mesh.load())
    with pytest.raises(Conflict, match="other rows"):
        await mesh.service.load([*ROWS.messages(**OPTIONS), nodes(["one more"])])
    with pytest.raises(Conflict, match="with all rows received"):
        await mesh.service.load(ROWS.messages(strategy=graph_pb2.STRATEGY_MINCUT, partitions=6))
    assert mesh.service.running.loads.outlives_callers("g")


async def test_a_build_without_callers_is_dropped_by_removing_the_graph(mesh: Mesh) -> None:
    loading = mesh.load()
    await mesh.outlives_callers()
    with pytest.raises(Conflict):
        await mesh.service.call("RemoveGraph", pb.RemoveGraphRequest, graph="g")
    await mesh.leave(loading)
    await mesh.service.call("RemoveGraph", pb.RemoveGraphRequest, graph="g")
    with pytest.raises(GraphUnknown):
        await mesh.service.describe()
    assert not list((mesh.service.data / "builds").iterdir())
    assert not list((mesh.service.data / "store" / "writing").iterdir())
    mesh.build()
    assert (await mesh.service.load([header(), nodes(["a"])])).version == 1


async def test_a_graph_is_not_removed_while_the_process_is_being_stopped(
    open_service: OpenService, builder: Builder
) -> None:
    async with mesh_of(open_service, builder) as mesh:
        await mesh.leave(mesh.load())
        load = mesh.service.running.loads._under_way["g"].task
        assert load is not None
        removing = asyncio.create_task(mesh.service.call("RemoveGraph", pb.RemoveGraphRequest, graph="g"))
        await until(lambda: load.cancelling() > 0)
        mesh.service.running.resources.shutdown.begin()  # during the second in which the build is still resumable
        with pytest.raises(ServiceUnavailable, match="remove graph 'g' again"):
            await removing
    async with open_service() as service:
        builder.process.send_signal(signal.SIGCONT)
        await until(service.is_idle)
        await service.call("RemoveGraph", pb.RemoveGraphRequest, graph="g")


async def test_a_build_that_waits_to_be_published_is_kept_at_a_shutdown(
    open_service: OpenService, builder: Builder
) -> None:
    async with open_service() as service:
        async with service.running.resources.locks.hold("g"):  # as the removal of a large version does for minutes
            loading = asyncio.create_task(service.load(ROWS.messages(**OPTIONS)))

            async def waits() -> bool:
                listed = (await service.call("DescribeGraphs", pb.DescribeGraphsRequest)).graphs
                return any(graph.loading.phase == "publish" for graph in listed)

            await until(waits)
            service.running.resources.shutdown.begin()
            await service.running.loads.close()
        with pytest.raises(ServiceUnavailable, match="it will resume the load"):
            await loading
    async with open_service() as service:
        await until(service.is_idle)
        assert (await service.describe()).version == 1


async def test_the_same_rows_loaded_again_because_the_version_is_suspect_are_built_again(mesh: Mesh) -> None:
    await mesh.leave(mesh.load())
    mesh.build()
    await until(mesh.service.is_idle)
    mesh.service.running.resources.graphs.served("g").suspicion = graph_pb2.Suspicion(version=1)
    assert (await mesh.load()).version == 2


async def test_without_builders_a_build_is_retried_only_when_it_has_no_caller(
    open_service: OpenService, builder: Builder
) -> None:
    async with mesh_of(open_service, builder, partition_build_stall_s=3.0) as mesh:
        with pytest.raises(WorkerUnavailable):
            await mesh.load()
        with capture_logs() as logged:
            await mesh.leave(mesh.load())
            await until(lambda: any(one["event"] == "build retried" for one in logged))
        mesh.build()
        await until(mesh.service.is_idle)
        assert (await mesh.service.describe()).version == 1


async def test_a_build_that_was_resumed_is_found_by_its_caller(open_service: OpenService, builder: Builder) -> None:
    async with mesh_of(open_service, builder) as mesh:
        await mesh.leave(mesh.load())
    async with mesh_of(open_service, builder) as mesh:
        assert (await mesh.service.describe()).loading.resumed
        with capture_logs() as logged:
            again = mesh.load()
            await until(lambda: any(one["event"] == "caller joins a build" for one in logged))
        mesh.build()
        assert (await again).version == 1


async def test_a_caller_that_leaves_before_its_rows_are_sealed_cancels_the_load(mesh: Mesh) -> None:
    sent = asyncio.Event()

    async def some() -> AsyncIterator[pb.IngestGraphRequest]:
        for message in ROWS.messages(**OPTIONS)[:10]:
            yield message
        sent.set()
        await asyncio.Event().wait()

    async def begun() -> bool:
        return not await mesh.service.is_idle()

    loading = asyncio.create_task(mesh.service.load(some()))
    await sent.wait()
    await until(begun)
    loading.cancel()
    await until(mesh.service.is_idle)
    with pytest.raises(GraphUnknown):
        await mesh.service.describe()
    assert not list((mesh.service.data / "builds").iterdir())
    assert not list((mesh.service.data / "store" / "writing").iterdir())
