from __future__ import annotations

import planmesh.client
from planmesh.client import AsyncClient, Client, PlanmeshClient, SyncPlanmeshClient

PUBLIC = """
ADDRESS_DEFAULT Affected AsyncClient BlastRadius Change Client Counters DeleteEdge DeleteNode Detail
EdgeRows Explanation Graph GraphRows GraphState Hit LoadProgress LoadReport Matrix MeshStatus
Neighbor Neighbors Node NodeRows NodeSample PairAnswer Partition PartitionHits PartitionNeighbor
PartitionRun PathKeywords PatternRows Phase PhaseTime Plan PlanmeshClient ProcessStatus Reachable
RowOrigin ShardStatus Step Strategy Suspicion SyncPlanmeshClient UpdateAnswer UpdateBatch
UpdateResult UpsertEdge UpsertNode
"""


def test_the_public_names_are_these() -> None:
    assert planmesh.client.__all__ == PUBLIC.split()
    assert all(hasattr(planmesh.client, name) for name in planmesh.client.__all__)


def test_the_earlier_names_of_the_clients_are_aliases() -> None:
    assert PlanmeshClient is AsyncClient
    assert SyncPlanmeshClient is Client
