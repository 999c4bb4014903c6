from __future__ import annotations

import planmesh.client


def test_the_public_names_are_these() -> None:
    assert planmesh.client.__all__ == [
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
    assert all(hasattr(planmesh.client, name) for name in planmesh.client.__all__)
