"""The client of planmesh, sync and async, on one core.

::

    with Client("127.0.0.1:50051") as client:
        plan = client.plan("web.frontend", "db.orders")
        print(plan.cost, [step.target for step in plan.steps])

Methods raise the errors of `planmesh.errors`: `NodeUnknown.near` has similar ids, `Overloaded.retry_after_s` the
seconds to wait before a retry, `error.metadata["trace_id"]` the trace of the failed call.
"""

from __future__ import annotations

from planmesh.client.asynchronous import AsyncClient
from planmesh.client.changes import (
    Change,
    DeleteEdge,
    DeleteNode,
    UpdateAnswer,
    UpdateBatch,
    UpdateResult,
    UpsertEdge,
    UpsertNode,
)
from planmesh.client.graph_results import (
    Graph,
    GraphState,
    LoadProgress,
    LoadReport,
    Node,
    NodeSample,
    Partition,
    PartitionNeighbor,
    PhaseTime,
    Strategy,
    Suspicion,
)
from planmesh.client.mesh_results import Counters, MeshStatus, ProcessStatus, ShardStatus
from planmesh.client.reach_results import Affected, BlastRadius, Hit, PartitionHits, Reachable
from planmesh.client.results import (
    Detail,
    Explanation,
    Matrix,
    Neighbor,
    Neighbors,
    PairAnswer,
    PartitionRun,
    PathKeywords,
    PatternRows,
    Phase,
    Plan,
    Step,
)
from planmesh.client.rows import EdgeRows, GraphRows, NodeRows, RowOrigin
from planmesh.client.synchronous import Client
from planmesh.defaults import ADDRESS_DEFAULT

PlanmeshClient = AsyncClient
"""The earlier name of AsyncClient."""

SyncPlanmeshClient = Client
"""The earlier name of Client."""

__all__ = [
    "ADDRESS_DEFAULT",
    "Affected",
    "AsyncClient",
    "BlastRadius",
    "Change",
    "Client",
    "Counters",
    "DeleteEdge",
    "DeleteNode",
    "Detail",
    "EdgeRows",
    "Explanation",
    "Graph",
    "GraphRows",
    "GraphState",
    "Hit",
    "LoadProgress",
    "LoadReport",
    "Matrix",
    "MeshStatus",
    "Neighbor",
    "Neighbors",
    "Node",
    "NodeRows",
    "NodeSample",
    "PairAnswer",
    "Partition",
    "PartitionHits",
    "PartitionNeighbor",
    "PartitionRun",
    "PathKeywords",
    "PatternRows",
    "Phase",
    "PhaseTime",
    "Plan",
    "PlanmeshClient",
    "ProcessStatus",
    "Reachable",
    "RowOrigin",
    "ShardStatus",
    "Step",
    "Strategy",
    "Suspicion",
    "SyncPlanmeshClient",
    "UpdateAnswer",
    "UpdateBatch",
    "UpdateResult",
    "UpsertEdge",
    "UpsertNode",
]
