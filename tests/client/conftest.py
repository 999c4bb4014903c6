"""A gateway's public services with answers of a test's choice, behind a real server, and both clients on it."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from planmesh import errors
from planmesh.client import AsyncClient, Client
from planmesh.rpc.server import Server, Service, make_server
from planmesh.rpc.status import to_status
from planmesh.telemetry.tracing import make_telemetry
from planmesh.v1 import graph_pb2, graph_pb2_grpc, mesh_pb2, mesh_pb2_grpc, plan_pb2, plan_pb2_grpc

PARTITIONS = 2_500


@dataclass
class Gateway(
    plan_pb2_grpc.PlanServiceServicer, graph_pb2_grpc.GraphServiceServicer, mesh_pb2_grpc.MeshServiceServicer
):
    """Answers everything, and keeps what it was asked."""

    requests: list[Any] = field(default_factory=list)
    metadata: list[dict[str, Any]] = field(default_factory=list)
    before: Callable[[Any], None] | None = None
    is_older: bool = False
    """Whether it knows neither batched answers nor details."""

    def note(self, request: Any, context: Any) -> None:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        if self.before is not None:
            self.before(request)

    async def Plan(self, request: Any, context: Any) -> plan_pb2.PlanResponse:  # noqa: N802
        self.note(request, context)
        if request.start == "slow":
            await asyncio.Event().wait()
        plan = plan_pb2.Plan(
            graph=request.graph,
            version=3,
            start=request.start,
            goal=request.goal,
            cost=3.5,
            steps=[
                plan_pb2.Step(source="a", target="b", cost=1.5, source_partition="p", target_partition="p"),
                plan_pb2.Step(source="b", target="c", cost=2.0, source_partition="p", target_partition="q"),
            ],
            partitions=["p", "q"],
            cached=True,
            trace_id="0af7651916cd43dd8448eb211c80319c",
        )
        if request.detail in (plan_pb2.DETAIL_COST, plan_pb2.DETAIL_NODES):
            plan.ClearField("steps")
            plan.detail = request.detail
        if request.detail == plan_pb2.DETAIL_NODES:
            plan.nodes.extend(["a", "b", "c"])
            plan.step_costs.extend([1.5, 2.0])
            plan.run_partitions.extend([0, 1])
            plan.run_lengths.extend([2, 1])
        if request.explain:
            plan.explanation.total_ms = 2.5
            plan.explanation.phases.add(name="overlay", duration_ms=1.5, settled_nodes=7, tasks=0)
            plan.explanation.tasks = 2
            plan.explanation.batch_sizes.extend([1, 4])
            plan.explanation.unmerged_changes = 12
            plan.explanation.opened_partitions = 2
        return plan_pb2.PlanResponse(plan=plan)

    async def PlanMany(self, request: Any, context: Any) -> AsyncIterator[plan_pb2.PlanManyResponse]:  # noqa: N802
        self.note(request, context)
        answers = []
        for index, pair in enumerate(request.pairs):
            if pair.goal == "unreachable":
                status = to_status(errors.NoPath(pair.start, pair.goal))
                answers.append(plan_pb2.PairAnswer(index=index, status=status))
            else:
                plan = plan_pb2.Plan(start=pair.start, goal=pair.goal)
                answers.append(plan_pb2.PairAnswer(index=index, plan=plan))
        if self.is_older:
            for one in answers:
                result = str(one.WhichOneof("result"))
                yield plan_pb2.PlanManyResponse(index=one.index, **{result: getattr(one, result)})
        else:
            assert request.batched
            for first in range(0, len(answers), 2):
                yield plan_pb2.PlanManyResponse(answers=answers[first : first + 2])

    async def PlanMatrix(self, request: Any, context: Any) -> AsyncIterator[plan_pb2.PlanMatrixResponse]:  # noqa: N802
        self.note(request, context)
        width = len(request.targets)
        for row in range(0, len(request.sources), 2):
            rows = request.sources[row : row + 2]
            costs = [math.inf if source == "unreachable" else 1.5 for source in rows for _ in range(width)]
            if request.sources[row] == "lost":
                continue
            version = 4 if request.sources[row] == "mixed" else 3
            yield plan_pb2.PlanMatrixResponse(graph=request.graph, version=version, first_row=row, costs=costs)

    async def GetNeighbors(self, request: Any, context: Any) -> plan_pb2.GetNeighborsResponse:  # noqa: N802
        self.note(request, context)
        neighbors = [plan_pb2.Neighbor(node="b", hops=1, cost=1.5, partition="p")]
        return plan_pb2.GetNeighborsResponse(graph=request.graph, version=3, node=request.node, neighbors=neighbors)

    async def GetReachable(  # noqa: N802
        self, request: Any, context: Any
    ) -> AsyncIterator[plan_pb2.GetReachableResponse]:
        self.note(request, context)
        first = plan_pb2.PartitionHits(partition="p", hits=2, cost=1.0)
        hit = plan_pb2.Hit(node="b", cost=1.0, partition="p", previous=request.node)
        yield plan_pb2.GetReachableResponse(
            graph=request.graph, version=3, node=request.node, hits=[hit], total=2, partitions=[first]
        )
        yield plan_pb2.GetReachableResponse(hits=[plan_pb2.Hit(node="c", cost=2.5, partition="p", previous="b")])

    async def GetBlastRadius(  # noqa: N802
        self, request: Any, context: Any
    ) -> AsyncIterator[plan_pb2.GetBlastRadiusResponse]:
        self.note(request, context)
        lost = plan_pb2.Affected(source="a", node="b", cost_before=1.0, cost_after=float("inf"), partition="p")
        dearer = plan_pb2.Affected(source="a", node="c", cost_before=1.0, cost_after=2.0, partition="p")
        yield plan_pb2.GetBlastRadiusResponse(
            graph=request.graph, version=3, sources=["a"], lost=1, dearer=1, affected=[lost]
        )
        yield plan_pb2.GetBlastRadiusResponse(affected=[dearer])

    async def MatchPattern(self, request: Any, context: Any) -> plan_pb2.MatchPatternResponse:  # noqa: N802
        self.note(request, context)
        return plan_pb2.MatchPatternResponse(
            graph=request.graph, store="neo4j", columns=["n", "cost"], rows_json=['[{"labels":[]},1.5]', "[null,7]"]
        )

    async def LoadGraph(self, request_iterator: Any, context: Any) -> graph_pb2.LoadGraphResponse:  # noqa: N802
        async for message in request_iterator:
            self.note(message, context)
        return graph_pb2.LoadGraphResponse(report=graph_pb2.LoadReport(version=4))

    async def UpdateGraph(self, request: Any, context: Any) -> graph_pb2.UpdateGraphResponse:  # noqa: N802
        self.note(request, context)
        return graph_pb2.UpdateGraphResponse(graph=request.graph, version=5, applied=len(request.changes))

    async def UpdateGraphStream(  # noqa: N802
        self, request_iterator: Any, context: Any
    ) -> AsyncIterator[graph_pb2.UpdateGraphStreamResponse]:
        async for message in request_iterator:
            if message.update.graph == "silent":
                return
            try:
                response = await self.UpdateGraph(message.update, context)
                yield graph_pb2.UpdateGraphStreamResponse(response=response)
            except errors.Conflict as error:
                yield graph_pb2.UpdateGraphStreamResponse(status=to_status(error))

    async def UnloadGraph(self, request: Any, context: Any) -> graph_pb2.UnloadGraphResponse:  # noqa: N802
        self.note(request, context)
        return graph_pb2.UnloadGraphResponse()

    async def GetGraph(self, request: Any, context: Any) -> graph_pb2.GetGraphResponse:  # noqa: N802
        self.note(request, context)
        return graph_pb2.GetGraphResponse(
            graph=graph_pb2.Graph(name=request.graph, base_version=3, unmerged_changes=12)
        )

    async def ListGraphs(self, request: Any, context: Any) -> graph_pb2.ListGraphsResponse:  # noqa: N802
        self.note(request, context)
        return graph_pb2.ListGraphsResponse(graphs=[graph_pb2.Graph(name="default")])

    async def GetNode(self, request: Any, context: Any) -> graph_pb2.GetNodeResponse:  # noqa: N802
        self.note(request, context)
        node = graph_pb2.Node(id=request.node)
        if request.node != "plain":
            node.state = "degraded"
            node.attributes["rack"] = "7"
        return graph_pb2.GetNodeResponse(node=node)

    async def ListPartitions(self, request: Any, context: Any) -> graph_pb2.ListPartitionsResponse:  # noqa: N802
        self.note(request, context)
        first = int(request.page_token or 0)
        last = min(first + request.page_size, PARTITIONS)
        return graph_pb2.ListPartitionsResponse(
            partitions=[graph_pb2.Partition(number=number) for number in range(first, last)],
            next_page_token=str(last) if last < PARTITIONS else "",
        )

    async def SampleNodes(self, request: Any, context: Any) -> graph_pb2.SampleNodesResponse:  # noqa: N802
        self.note(request, context)
        return graph_pb2.SampleNodesResponse(version=3, ids=["a"] * request.count)

    async def ExportGraph(  # noqa: N802
        self, request: Any, context: Any
    ) -> AsyncIterator[graph_pb2.ExportGraphResponse]:
        self.note(request, context)
        origin = graph_pb2.Origin(source="store", unit="node", first=1)
        nodes = graph_pb2.NodeBatch(origin=origin, ids=["a"], regions=["r"])
        edges = graph_pb2.EdgeBatch(sources=["a"], targets=["b"], costs=[2.0])
        yield graph_pb2.ExportGraphResponse(version=3, nodes=nodes)
        yield graph_pb2.ExportGraphResponse(version=3, edges=edges)

    async def Ping(self, request: Any, context: Any) -> mesh_pb2.PingResponse:  # noqa: N802
        self.note(request, context)
        return mesh_pb2.PingResponse()

    async def GetStatus(self, request: Any, context: Any) -> mesh_pb2.GetStatusResponse:  # noqa: N802
        self.note(request, context)
        graph = graph_pb2.Graph(name="default", version=5, base_version=3, unmerged_changes=1_200)
        return mesh_pb2.GetStatusResponse(ready=True, graphs=[graph])


@dataclass
class Caller:
    """One of the two clients, called the same way."""

    make: Callable[..., Any]
    is_async: bool

    async def __call__(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of a client of its own; what it yields is returned as a list."""
        given = options.pop("client", {})
        if self.is_async:
            async with self.make(**given) as client:
                result = getattr(client, method)(*arguments, **options)
                if hasattr(result, "__aiter__"):
                    return [item async for item in result]
                return await result

        def call() -> Any:
            with self.make(**given) as client:
                result = getattr(client, method)(*arguments, **options)
                return list(result) if hasattr(result, "__next__") else result

        return await asyncio.to_thread(call)


@dataclass
class Stage:
    gateway: Gateway
    server: Server

    @property
    def address(self) -> str:
        return self.server.addresses[0]

    def caller(self, kind: str) -> Caller:
        """The async or the sync client."""
        client: Any = AsyncClient if kind == "async" else Client
        return Caller(lambda **options: client(self.address, **options), kind == "async")


@pytest.fixture
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    gateway = Gateway()
    services = [
        Service.of(plan_pb2_grpc.add_PlanServiceServicer_to_server, gateway),
        Service.of(graph_pb2_grpc.add_GraphServiceServicer_to_server, gateway),
        Service.of(mesh_pb2_grpc.add_MeshServiceServicer_to_server, gateway),
    ]
    # Not tmp_path: the name of a unix socket has at most 107 bytes.
    folder = tmp_path_factory.mktemp("k")
    async with contextlib.AsyncExitStack() as stack:
        server = make_server(services, [f"unix:{folder}/g"], make_telemetry("gateway"))
        await server.start()
        stack.push_async_callback(server.stop, 0)
        yield Stage(gateway, server)


@pytest.fixture(params=["async", "sync"])
def call(request: pytest.FixtureRequest, stage: Stage) -> Caller:
    return stage.caller(request.param)


@pytest.fixture
def near() -> errors.NodeUnknown:
    return errors.NodeUnknown("x", ["xa", "xb"])
