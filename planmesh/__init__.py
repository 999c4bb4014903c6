"""planmesh: exact cheapest paths over partitioned graphs, through a mesh of services.

::

    from planmesh import Client

    with Client("127.0.0.1:50051") as client:
        print(client.plan("web.frontend", "db.orders").cost)

The names below are the public Python API, together with `planmesh.errors` and `planmesh.testing`. They are imported
on first use: workers and the pure packages import `planmesh` too, and must not load gRPC with it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from planmesh.version import VERSION

if TYPE_CHECKING:
    from planmesh.client import (
        Affected,
        AsyncClient,
        BlastRadius,
        Change,
        Client,
        Counters,
        DeleteEdge,
        DeleteNode,
        Detail,
        EdgeRows,
        Explanation,
        Graph,
        GraphRows,
        GraphState,
        Hit,
        LoadProgress,
        LoadReport,
        Matrix,
        MeshStatus,
        Neighbor,
        Neighbors,
        Node,
        NodeRows,
        NodeSample,
        PairAnswer,
        Partition,
        PartitionHits,
        PartitionNeighbor,
        PartitionRun,
        PathKeywords,
        PatternRows,
        Phase,
        PhaseTime,
        Plan,
        ProcessStatus,
        Reachable,
        RowOrigin,
        ShardStatus,
        Step,
        Strategy,
        Suspicion,
        UpdateAnswer,
        UpdateBatch,
        UpdateResult,
        UpsertEdge,
        UpsertNode,
    )
    from planmesh.errors import (
        BrokerUnavailable,
        ChangeTargetUnknown,
        Conflict,
        DeadlineExceeded,
        GraphUnknown,
        InternalError,
        InvalidChange,
        InvalidGraph,
        InvalidRequest,
        KeyReused,
        LimitExceeded,
        MessageUndecodable,
        NodeDown,
        NodeUnknown,
        NoPath,
        NotFound,
        Overloaded,
        PatternRefused,
        PatternsUnsupported,
        PlanmeshError,
        ServiceUnavailable,
        SnapshotDamaged,
        SnapshotError,
        StoreCredentials,
        StoreError,
        StoreRefused,
        StoreUnavailable,
        Unauthenticated,
        Unavailable,
        VersionConflict,
        VersionGone,
        WorkerUnavailable,
    )

__version__ = VERSION

__all__ = [
    "Affected",
    "AsyncClient",
    "BlastRadius",
    "BrokerUnavailable",
    "Change",
    "ChangeTargetUnknown",
    "Client",
    "Conflict",
    "Counters",
    "DeadlineExceeded",
    "DeleteEdge",
    "DeleteNode",
    "Detail",
    "EdgeRows",
    "Explanation",
    "Graph",
    "GraphRows",
    "GraphState",
    "GraphUnknown",
    "Hit",
    "InternalError",
    "InvalidChange",
    "InvalidGraph",
    "InvalidRequest",
    "KeyReused",
    "LimitExceeded",
    "LoadProgress",
    "LoadReport",
    "Matrix",
    "MeshStatus",
    "MessageUndecodable",
    "Neighbor",
    "Neighbors",
    "NoPath",
    "Node",
    "NodeDown",
    "NodeRows",
    "NodeSample",
    "NodeUnknown",
    "NotFound",
    "Overloaded",
    "PairAnswer",
    "Partition",
    "PartitionHits",
    "PartitionNeighbor",
    "PartitionRun",
    "PathKeywords",
    "PatternRefused",
    "PatternRows",
    "PatternsUnsupported",
    "Phase",
    "PhaseTime",
    "Plan",
    "PlanmeshError",
    "ProcessStatus",
    "Reachable",
    "RowOrigin",
    "ServiceUnavailable",
    "ShardStatus",
    "SnapshotDamaged",
    "SnapshotError",
    "Step",
    "StoreCredentials",
    "StoreError",
    "StoreRefused",
    "StoreUnavailable",
    "Strategy",
    "Suspicion",
    "Unauthenticated",
    "Unavailable",
    "UpdateAnswer",
    "UpdateBatch",
    "UpdateResult",
    "UpsertEdge",
    "UpsertNode",
    "VersionConflict",
    "VersionGone",
    "WorkerUnavailable",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    errors = import_module("planmesh.errors")
    value: object = getattr(errors if hasattr(errors, name) else import_module("planmesh.client"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
