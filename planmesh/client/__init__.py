"""The client of planmesh, async and sync, on one core.

::

    async with PlanmeshClient("127.0.0.1:50051") as client:
        plan = await client.plan("web.frontend", "db.orders")
        print(plan.cost, [step.target for step in plan.steps])

Errors are those of `planmesh.errors`: `NodeUnknown.near` has the ids that come close, `Overloaded.retry_after_s` when
to come back, `error.metadata["trace_id"]` the trace of the failed call.
"""

from __future__ import annotations

from planmesh.client.asynchronous import PlanmeshClient
from planmesh.client.core import edge_batch, node_batch
from planmesh.client.results import (
    Explanation,
    Neighbor,
    Neighbors,
    NodeSample,
    PairAnswer,
    PatternRows,
    Phase,
    Plan,
    Step,
)
from planmesh.client.synchronous import SyncPlanmeshClient
from planmesh.defaults import ADDRESS_DEFAULT

__all__ = [
    "ADDRESS_DEFAULT",
    "Explanation",
    "Neighbor",
    "Neighbors",
    "NodeSample",
    "PairAnswer",
    "PatternRows",
    "Phase",
    "Plan",
    "PlanmeshClient",
    "Step",
    "SyncPlanmeshClient",
    "edge_batch",
    "node_batch",
]
