"""What mypy infers for users of the client. `make lint` checks this module; no test runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import assert_type

import planmesh
from planmesh import (
    AsyncClient,
    Client,
    DeleteEdge,
    DeleteNode,
    Detail,
    EdgeRows,
    Explanation,
    Graph,
    GraphRows,
    GraphState,
    LoadProgress,
    LoadReport,
    Matrix,
    MeshStatus,
    Neighbor,
    Node,
    NodeRows,
    NodeSample,
    NodeUnknown,
    Partition,
    PartitionRun,
    PatternRows,
    Plan,
    PlanmeshError,
    ProcessStatus,
    RowOrigin,
    Step,
    Strategy,
    Suspicion,
    UpdateAnswer,
    UpdateBatch,
    UpdateResult,
    UpsertEdge,
    UpsertNode,
)
from planmesh.client import PlanmeshClient, SyncPlanmeshClient
from planmesh.testing import local_mesh, local_mesh_async


def plans(client: Client) -> None:
    """Plans and their parts."""
    plan = client.plan("a", "b", explain=True, timeout_s=1.5)
    assert_type(plan, Plan)
    assert_type(plan.cost, float)
    assert_type(plan.steps, tuple[Step, ...])
    assert_type(plan.steps[0].target, str)
    assert_type(plan.partitions, tuple[str, ...])
    assert_type(plan.detail, Detail)
    assert_type(client.plan("a", "b", detail="nodes").nodes, tuple[str, ...])
    assert_type(client.plan("a", "b", detail=Detail.NODES).step_costs, tuple[float, ...])
    assert_type(plan.partition_runs, tuple[PartitionRun, ...])
    client.plan("a", "b", detail=1)  # type: ignore[arg-type]
    assert_type(plan.explanation, Explanation | None)
    for answer in client.plan_many([("a", "b")]):
        assert_type(answer.plan, Plan | None)
        assert_type(answer.error, PlanmeshError | None)
        assert_type(answer.result(), Plan)
    matrix = client.plan_matrix(["a"], ("b", "c"))
    assert_type(matrix, Matrix)
    assert_type(matrix.rows[0][1], float)
    assert_type(matrix.cost("a", "b"), float)
    assert_type(client.neighbors("a", depth=2, direction="both").neighbors, tuple[Neighbor, ...])
    client.neighbors("a", direction="up")  # type: ignore[arg-type]
    assert_type(client.match_pattern("RETURN $x", {"x": 1}), PatternRows)


def loads(client: Client) -> None:
    """Loads take tuples or batches of rows, and no messages."""
    report = client.load(edges=[("a", "b", 1.0)], nodes=["a", ("b", "domain")], strategy=Strategy.DOMAIN)
    assert_type(report, LoadReport)
    assert_type(report.strategy, Strategy | None)
    assert_type(report.phases[0].seconds, float)
    rows: list[GraphRows] = [NodeRows(["a", "b"]), EdgeRows(["a"], ["b"], [1.0], RowOrigin("edges.tsv", "line", 2))]
    client.load(rows, strategy="mincut")
    client.load([b"a message"])  # type: ignore[list-item]
    client.load(edges=[("a",)])  # type: ignore[list-item]
    client.load(edges=[("a", "b", "c")])  # type: ignore[list-item]


def updates(client: Client) -> None:
    """Changes are values of their own types, and batches are sequences of them."""
    result = client.update_graph([UpsertNode("a", state="down"), UpsertEdge("a", "b", cost=1.0)], if_version=3)
    assert_type(result, UpdateResult)
    assert_type(result.version, int)
    client.update_graph([("a", "b")])  # type: ignore[list-item]
    for answer in client.update_graph_stream([[DeleteNode("a")], UpdateBatch([DeleteEdge("a", "b")], key="k")]):
        assert_type(answer, UpdateAnswer)
        assert_type(answer.result(), UpdateResult)
    client.plan("a", "b", min_version=result.version, avoid_nodes=["x"], avoid_edges=[("x", "y")])


def descriptions(client: Client) -> None:
    """Graphs, nodes, partitions, exports and the status are values, too."""
    graph = client.graph()
    assert_type(graph, Graph)
    assert_type(graph.state, GraphState)
    assert_type(graph.loaded_at, datetime | None)
    assert_type(graph.loading, LoadProgress | None)
    assert_type(graph.suspicion, Suspicion | None)
    assert_type(graph.region_stores, Mapping[str, str])
    graph.nodes = 1  # type: ignore[misc]
    assert_type(client.graphs(), list[Graph])
    assert_type(client.node("a"), Node)
    assert_type(client.partitions(), list[Partition])
    assert_type(client.sample_nodes(3), NodeSample)
    for rows in client.export():
        assert_type(rows, NodeRows | EdgeRows)
    status = client.status()
    assert_type(status, MeshStatus)
    assert_type(status.processes, tuple[ProcessStatus, ...])
    assert_type(status.counters.plans, int)
    assert_type(client.unload(graph="g"), None)
    assert_type(client.ping(), None)


async def asynchronous(client: AsyncClient, rows: AsyncIterator[NodeRows | EdgeRows]) -> None:
    """The async client has the same types."""
    assert_type(await client.plan("a", "b"), Plan)
    async for answer in client.plan_many([("a", "b")]):
        assert_type(answer.result(), Plan)
    assert_type(await client.load(rows), LoadReport)
    assert_type(await client.load(edges=[("a", "b")]), LoadReport)
    async for batch in client.export():
        assert_type(batch, NodeRows | EdgeRows)
    assert_type(await client.status(), MeshStatus)
    assert_type(await client.partitions(), list[Partition])
    async with AsyncClient() as connected:
        assert_type(connected, AsyncClient)


def names(error: NodeUnknown) -> None:
    """Names of the package itself, and the earlier names of the clients."""
    assert_type(planmesh.__version__, str)
    assert_type(error.near, list[str])
    with SyncPlanmeshClient("127.0.0.1:50051", token="t") as client:
        assert_type(client, Client)
    assert_type(PlanmeshClient(), AsyncClient)


async def testing() -> None:
    """A mesh for tests gives a client."""
    with local_mesh(edges=[("a", "b", 1.0)]) as client:
        assert_type(client, Client)
    async with local_mesh_async(file="edges.tsv") as other:
        assert_type(other, AsyncClient)
