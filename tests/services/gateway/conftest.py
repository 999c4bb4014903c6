"""A gateway between a real client and real servers whose answers the test decides."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from planmesh.errors import GraphUnknown, PatternRefused, PlanmeshError
from planmesh.internal.v1 import coordinator_pb2, coordinator_pb2_grpc, partition_pb2, partition_pb2_grpc
from planmesh.rpc.server import Server, Service, make_server
from planmesh.rpc.status import to_status
from planmesh.settings import GatewaySettings
from planmesh.telemetry.tracing import Telemetry, make_telemetry
from planmesh.v1 import graph_pb2, mesh_pb2, plan_pb2
from services.gateway.main import gateway


class Coordinator(coordinator_pb2_grpc.CoordinatorServiceServicer):
    """Answers every plan. `on_plan` is called before, and may raise or wait."""

    def __init__(self) -> None:
        self.on_plan: Callable[[Any, Any], Any] | None = None
        self.on_describe: Callable[[], Any] | None = None
        self.requests: list[Any] = []
        self.remaining_s: list[float] = []

    async def ComputePlan(self, request: Any, context: Any) -> coordinator_pb2.ComputePlanResponse:  # noqa: N802
        self.requests.append(request)
        self.remaining_s.append(context.time_remaining())
        if self.on_plan is not None:
            await self.on_plan(request, context)
        steps = [plan_pb2.Step(source=request.start, target=request.goal, cost=1.5)]
        plan = plan_pb2.Plan(graph=request.graph, version=3, start=request.start, goal=request.goal, steps=steps)
        return coordinator_pb2.ComputePlanResponse(plan=plan.SerializeToString())

    async def ComputePlans(  # noqa: N802
        self, request: Any, context: Any
    ) -> AsyncIterator[coordinator_pb2.ComputePlansResponse]:
        self.requests.append(request)
        for index, pair in reversed(list(enumerate(request.pairs))):
            if self.on_plan is not None:
                await self.on_plan(pair, context)
            plan = plan_pb2.Plan(start=pair.start)
            yield coordinator_pb2.ComputePlansResponse(index=index, plan=plan.SerializeToString())

    async def ComputeMatrix(  # noqa: N802
        self, request: Any, context: Any
    ) -> AsyncIterator[coordinator_pb2.ComputeMatrixResponse]:
        self.requests.append(request)
        for row in range(len(request.sources)):
            yield coordinator_pb2.ComputeMatrixResponse(
                graph=request.graph, first_row=row, costs=[math.inf] * len(request.targets)
            )

    async def ComputeNeighbors(  # noqa: N802
        self, request: Any, context: Any
    ) -> coordinator_pb2.ComputeNeighborsResponse:
        self.requests.append(request)
        return coordinator_pb2.ComputeNeighborsResponse(graph=request.graph, node=request.node)

    async def ComputeReachable(  # noqa: N802
        self, request: Any, context: Any
    ) -> AsyncIterator[coordinator_pb2.ComputeReachableResponse]:
        self.requests.append(request)
        yield coordinator_pb2.ComputeReachableResponse(graph=request.graph, node=request.node)

    async def ComputeBlastRadius(  # noqa: N802
        self, request: Any, context: Any
    ) -> AsyncIterator[coordinator_pb2.ComputeBlastRadiusResponse]:
        self.requests.append(request)
        yield coordinator_pb2.ComputeBlastRadiusResponse(graph=request.graph)

    async def Echo(self, request: Any, context: Any) -> coordinator_pb2.EchoResponse:  # noqa: N802
        return coordinator_pb2.EchoResponse()

    async def DescribeCoordinator(  # noqa: N802
        self, request: Any, context: Any
    ) -> coordinator_pb2.DescribeCoordinatorResponse:
        if self.on_describe is not None:
            await self.on_describe()
        return coordinator_pb2.DescribeCoordinatorResponse(
            ready=True,
            processes=[mesh_pb2.Process(name="redis", up=True), mesh_pb2.Process(name="workers", up=True)],
            shards=[mesh_pb2.Shard(number=0, workers=2)],
            counters=mesh_pb2.Counters(plans=7),
        )


class Partition(partition_pb2_grpc.PartitionServiceServicer):
    """Knows one graph, and records what it receives."""

    def __init__(self) -> None:
        self.received: list[partition_pb2.IngestGraphRequest] = []
        self.on_change: Callable[[Any], Any] | None = None
        self.requests: list[Any] = []

    async def IngestGraph(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
        async for message in request_iterator:
            self.received.append(message)
        return partition_pb2.IngestGraphResponse(report=graph_pb2.LoadReport(version=4))

    async def ChangeGraph(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.requests.append(request)
        if self.on_change is not None:
            await self.on_change(request)
        return partition_pb2.ChangeGraphResponse(graph=request.graph, version=5, applied=len(request.changes))

    async def ChangeGraphStream(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
        async for message in request_iterator:
            try:
                yield partition_pb2.ChangeGraphStreamResponse(response=await self.ChangeGraph(message.update, context))
            except PlanmeshError as error:
                yield partition_pb2.ChangeGraphStreamResponse(status=to_status(error))

    async def RemoveGraph(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.requests.append(request)
        return partition_pb2.RemoveGraphResponse()

    async def DescribeGraph(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.graph != "default":
            raise GraphUnknown(request.graph)
        return partition_pb2.DescribeGraphResponse(graph=graph_pb2.Graph(name=request.graph, version=3))

    async def DescribeGraphs(self, request: Any, context: Any) -> Any:  # noqa: N802
        return partition_pb2.DescribeGraphsResponse(graphs=[graph_pb2.Graph(name="default", version=3)])

    async def DescribeNode(self, request: Any, context: Any) -> Any:  # noqa: N802
        return partition_pb2.DescribeNodeResponse(node=graph_pb2.Node(id=request.node))

    async def DescribePartitions(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.requests.append(request)
        return partition_pb2.DescribePartitionsResponse(total_size=1, version=3)

    async def DrawNodes(self, request: Any, context: Any) -> Any:  # noqa: N802
        return partition_pb2.DrawNodesResponse(ids=["a"] * request.count)

    async def AskStore(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.requests.append(request)
        if request.query.startswith("CREATE"):
            raise PatternRefused("the database refused the pattern: no writing here")
        return partition_pb2.AskStoreResponse(graph=request.graph, columns=["n"], rows_json=["[1]"])

    async def ReadGraph(self, request: Any, context: Any) -> Any:  # noqa: N802
        yield partition_pb2.ReadGraphResponse(version=3, nodes=graph_pb2.NodeBatch(ids=["a", "b"]))
        yield partition_pb2.ReadGraphResponse(version=3, edges=graph_pb2.EdgeBatch(sources=["a"], targets=["b"]))


@dataclass
class Mesh:
    """The gateway under test, and the services around it."""

    folder: Path
    stack: contextlib.AsyncExitStack
    coordinator: Coordinator = field(default_factory=Coordinator)
    partition: Partition = field(default_factory=Partition)
    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    servers: dict[str, Server] = field(default_factory=dict)
    recording: bool = False

    def telemetry(self, service: str) -> Telemetry:
        processors = [SimpleSpanProcessor(self.exporter)] if self.recording else []
        return make_telemetry(service, span_processors=processors)

    async def serve(self, name: str) -> None:
        """Start the coordinator or the partition service."""
        if name == "coordinator":
            service = Service.of(coordinator_pb2_grpc.add_CoordinatorServiceServicer_to_server, self.coordinator)
        else:
            service = Service.of(partition_pb2_grpc.add_PartitionServiceServicer_to_server, self.partition)
        server = make_server([service], [f"unix:{self.folder}/{name[0]}"], self.telemetry(name))
        await server.start()
        await server.set_ready(True)
        self.stack.push_async_callback(server.stop, 0)
        self.servers[name] = server

    async def start(self, **settings: Any) -> Any:
        """Start all services. Return a plain gRPC channel to the gateway, as a client without our code uses."""
        for name in ("coordinator", "partition"):
            await self.serve(name)
        return await self.start_gateway(**settings)

    async def start_gateway(self, **settings: Any) -> Any:
        """Start only the gateway, and return a channel to it."""
        all_settings = GatewaySettings(
            **{
                "gateway_listen": f"unix:{self.folder}/g",
                "coordinator_address": f"unix:{self.folder}/c",
                "partition_address": f"unix:{self.folder}/p",
                "gateway_readiness_interval_s": 0.02,
                **settings,
            }
        )
        server = await self.stack.enter_async_context(gateway(all_settings, self.telemetry("gateway")))
        self.servers["gateway"] = server
        channel = grpc.aio.insecure_channel(server.addresses[0])
        self.stack.push_async_callback(channel.close, None)
        return channel


@pytest.fixture
async def mesh_processes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with contextlib.AsyncExitStack() as stack:
        # Not tmp_path: the name of a unix socket has at most 107 bytes.
        yield Mesh(tmp_path_factory.mktemp("g"), stack)
