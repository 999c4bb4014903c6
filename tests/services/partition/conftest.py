"""The partition service as it runs, with a real Redis and real build workers."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import pytest

from planmesh.internal.v1 import partition_pb2 as pb
from planmesh.internal.v1 import partition_pb2_grpc
from planmesh.rpc.status import from_rpc_error
from planmesh.settings import PartitionSettings
from planmesh.telemetry.tracing import make_telemetry
from planmesh.v1 import graph_pb2
from services.partition.main import RunningService, running_service
from tests.conftest import RedisServer

WAIT_S_MAX = 90

Message = pb.IngestGraphRequest
Messages = Iterable[Message] | AsyncIterator[Message]


class Builder:
    """A build worker process."""

    def __init__(self, redis_url: str, log: Path) -> None:
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "workers", "--role", "build"],
                env={**os.environ, "PLANMESH_REDIS_URL": redis_url, "PLANMESH_DATA": str(log.parent)},
                stdout=output,
                stderr=output,
            )

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(30)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that no test breaks."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def builder(broker: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    """A build worker that no test breaks."""
    running = Builder(broker.url, tmp_path_factory.mktemp("builder") / "log")
    yield running
    running.stop()


@dataclass(frozen=True)
class Service:
    """A running service and a caller of it, who gets planmesh's errors."""

    running: RunningService
    stub: Any
    data: Path

    async def call(self, method: str, request: Any, **fields: Any) -> Any:
        try:
            return await getattr(self.stub, method)(request(**fields))
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    async def load(self, messages: Messages) -> graph_pb2.LoadReport:
        try:
            response: pb.IngestGraphResponse = await self.stub.IngestGraph(messages)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return response.report

    async def describe(self, graph: str = "g") -> graph_pb2.Graph:
        response: pb.DescribeGraphResponse = await self.call("DescribeGraph", pb.DescribeGraphRequest, graph=graph)
        return response.graph

    async def is_idle(self) -> bool:
        """No load is under way."""
        listed: pb.DescribeGraphsResponse = await self.call("DescribeGraphs", pb.DescribeGraphsRequest)
        return not any(graph.HasField("loading") for graph in listed.graphs)

    def snapshot(self, version: int, graph: str = "g") -> Path:
        return self.data / "snapshots" / graph / str(version)


OpenService = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture
def open_service(tmp_path: Path, broker: RedisServer) -> OpenService:
    """Opens the service on the test's data folder; keyword arguments are settings."""

    @asynccontextmanager
    async def opened(**options: Any) -> AsyncIterator[Service]:
        settings = PartitionSettings(
            **{
                "data": tmp_path / "data",
                "redis_url": broker.url,
                "partition_listen": "127.0.0.1:0",
                "partition_adoption_wait_s": 0.0,
                **options,
            }
        )
        async with (
            running_service(settings, make_telemetry("test")) as running,
            grpc.aio.insecure_channel(running.server.addresses[0]) as channel,
        ):
            yield Service(running, partition_pb2_grpc.PartitionServiceStub(channel), tmp_path / "data")

    return opened


@pytest.fixture
async def service(open_service: OpenService, builder: Builder) -> AsyncIterator[Service]:
    """The service, with a builder."""
    async with open_service() as running:
        yield running


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Return when a condition outside of this process holds; fail when it does not for WAIT_S_MAX."""
    async with asyncio.timeout(WAIT_S_MAX):
        while True:
            found = condition()
            if found is True or (found is not False and await found):
                return
            await asyncio.sleep(0.01)


def header(graph: str = "g", **fields: Any) -> Message:
    return Message(header=graph_pb2.LoadGraphHeader(graph=graph, **fields))


def nodes(ids: Sequence[str], domains: Sequence[str] = (), regions: Sequence[str] = (), first: int = 2) -> Message:
    origin = graph_pb2.Origin(source="nodes.tsv", unit="line", first=first)
    return Message(nodes=graph_pb2.NodeBatch(origin=origin, ids=ids, domains=domains, regions=regions))


def edges(rows: Sequence[tuple[str, str, float]], first: int = 2) -> Message:
    origin = graph_pb2.Origin(source="edges.tsv", unit="line", first=first)
    sources, targets, costs = zip(*rows, strict=True) if rows else ((), (), ())
    return Message(edges=graph_pb2.EdgeBatch(origin=origin, sources=sources, targets=targets, costs=costs))


@dataclass(frozen=True)
class Rows:
    """A random graph of domains of 40 nodes whose edges mostly stay near."""

    ids: list[str]
    domains: list[str]
    edges: list[tuple[str, str, float]]

    def messages(self, graph: str = "g", batch: int = 100, **fields: Any) -> list[Message]:
        cuts = [slice(start, start + batch) for start in range(0, max(len(self.ids), len(self.edges)), batch)]
        of_nodes = [nodes(self.ids[cut], self.domains[cut], first=cut.start + 2) for cut in cuts if self.ids[cut]]
        of_edges = [edges(self.edges[cut], first=cut.start + 2) for cut in cuts if self.edges[cut]]
        return [header(graph, **fields), *of_nodes, *of_edges]


def random_rows(count: int = 200, seed: int = 1) -> Rows:
    draw = np.random.default_rng(seed)
    tails = draw.integers(0, count, 4 * count)
    heads = np.clip(tails + draw.integers(-15, 16, 4 * count), 0, count - 1)
    costs = draw.integers(1, 100, 4 * count)
    ids = [f"n{number}" for number in range(count)]
    rows = [(ids[t], ids[h], float(c)) for t, h, c in zip(tails, heads, costs, strict=True)]
    return Rows(ids, [f"d{number // 40}" for number in range(count)], rows)
