"""A coordinator's served graphs, with a real watch of a partition service's hub and with real snapshots."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from planmesh.internal.v1 import partition_pb2 as pb
from planmesh.internal.v1 import partition_pb2_grpc
from planmesh.rpc.channel import make_channel
from planmesh.rpc.server import Service, make_server
from planmesh.telemetry.tracing import make_telemetry
from services.coordinator.adoption import open_snapshot
from services.coordinator.served_graphs import ServedGraphs
from services.coordinator.versioned_graph import VersionedGraph
from services.partition.catalog.watch import Adoption, WatchHub
from tests.snapshot.small_snapshot import make_snapshot

WAIT_S_MAX = 60

Fault = Callable[[pb.ServedGraph], None]
"""Called before a version is opened; it may raise or block."""


class Partition(partition_pb2_grpc.PartitionServiceServicer):
    """The two rpcs that a coordinator's watch needs, over the partition service's own hub."""

    def __init__(self) -> None:
        self.hub = WatchHub()
        self.repair: Callable[[pb.ReportDamageRequest], bool] = lambda _: True
        self.reports: asyncio.Queue[pb.ReportDamageRequest] = asyncio.Queue()

    async def WatchGraphs(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.WatchGraphsRequest], context: Any
    ) -> AsyncIterator[pb.WatchGraphsResponse]:
        watcher = self.hub.join()
        self.hub.complete(watcher)

        async def listen() -> None:
            async for request in request_iterator:
                await self.hub.receive(watcher, request)

        listening = asyncio.create_task(listen())
        try:
            async for event in watcher.events():
                yield event
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await self.hub.leave(watcher)

    async def ReportDamage(  # noqa: N802
        self, request: pb.ReportDamageRequest, context: Any
    ) -> pb.ReportDamageResponse:
        self.reports.put_nowait(request)
        return pb.ReportDamageResponse(rebuilding=self.repair(request))


class Coordinator:
    """Served graphs. Opening a graph first calls its fault, if it has one."""

    def __init__(self, partition: Partition, stub: Any, folder: Path) -> None:
        self.partition = partition
        self.faults: dict[str, Fault] = {}
        self.folder = folder
        self.graphs = ServedGraphs("c", stub, self._open)

    def _open(self, served: pb.ServedGraph) -> VersionedGraph:
        fault = self.faults.get(served.graph)
        if fault is not None:
            fault(served)
        return open_snapshot(served, 1)

    def serve(self, graph: str, version: int = 1) -> Path:
        path = self.folder / graph / str(version)
        if not path.exists():
            built = self.folder / "built"
            if not built.exists():
                make_snapshot(built)
            shutil.copytree(built / "snapshot", path)
        self.partition.hub.serve(graph, version, str(path))
        return path

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S_MAX):
            while not condition():
                await asyncio.sleep(0.005)

    async def adopted(self, graph: str, version: int = 1) -> Adoption:
        adoption = await self.partition.hub.wait_for_adoption(graph, version, WAIT_S_MAX)
        assert adoption.serving == 1, adoption
        return adoption


@asynccontextmanager
async def running(folder: Path, wrap: Callable[[Any], Any] = lambda stub: stub) -> AsyncIterator[Coordinator]:
    partition = Partition()  # type: ignore[abstract]  # the other rpcs are UNIMPLEMENTED
    service = Service.of(partition_pb2_grpc.add_PartitionServiceServicer_to_server, partition)
    server = make_server([service], ["127.0.0.1:0"], make_telemetry("test"))
    await server.start()
    async with make_channel(server.addresses[0]) as channel:
        coordinator = Coordinator(partition, wrap(partition_pb2_grpc.PartitionServiceStub(channel)), folder)
        try:
            yield coordinator
        finally:
            await coordinator.graphs.close()
    partition.hub.close()
    await server.stop(0)


def raising(*errors: Exception) -> Fault:
    """Return a fault that raises these errors, one at each of the first openings."""
    left = list(errors)

    def fault(served: pb.ServedGraph) -> None:
        if left:
            raise left.pop(0)

    return fault


class HeldOpening:
    """A fault that blocks the openings until `release` is set."""

    def __init__(self) -> None:
        self.begun, self.release = threading.Event(), threading.Event()

    def __call__(self, served: pb.ServedGraph) -> None:
        self.begun.set()
        self.release.wait(WAIT_S_MAX)
