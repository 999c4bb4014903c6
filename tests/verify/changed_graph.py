"""Updates of a stored graph, by the code that the partition service applies them with, and damage to its catalog."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np

from planmesh.errors import PlanmeshError
from planmesh.internal.v1 import partition_pb2
from planmesh.v1 import graph_pb2
from planmesh.verify import Verification, find_snapshot
from planmesh.verify.changes import check_changes
from planmesh.versions.embedded import CATALOG_NAME, EmbeddedVersions
from services.partition.catalog.served import KnownVersion
from services.partition.changes.resolution import Room, work_of
from services.partition.changes.rules import CHANGES_MAX, check_request
from services.partition.ingest.options import VersionDescription
from tests.verify.stored_graph import StoredGraph

Change = graph_pb2.Change


def node(node_id: str, **fields: Any) -> Change:
    """Return the creation or change of a node."""
    return Change(upsert_node=graph_pb2.UpsertNode(id=node_id, **fields))


def edge(source: str, target: str, **fields: Any) -> Change:
    """Return the creation or change of an edge."""
    return Change(upsert_edge=graph_pb2.UpsertEdge(source=source, target=target, **fields))


def without_node(node_id: str) -> Change:
    """Return the removal of a node."""
    return Change(delete_node=graph_pb2.DeleteNode(id=node_id))


def without_edge(source: str, target: str) -> Change:
    """Return the removal of an edge."""
    return Change(delete_edge=graph_pb2.DeleteEdge(source=source, target=target))


def random_batches(count: int, seed: int, *, nodes: int = 120) -> list[list[Change]]:
    """Draw batches of changes, of which some name what does not exist and are refused."""
    draw = np.random.default_rng(seed)
    ids = [f"n{number:03}" for number in range(nodes)] + [f"new{number}" for number in range(8)]

    def one() -> Change:
        tail, head = (ids[number] for number in draw.choice(len(ids), 2, replace=False))
        choices = [
            node(tail, state=str(draw.choice(["up", "down", "degraded"]))),
            node(tail, domain="elsewhere", attributes={"team": str(draw.choice(["", "a", "b"]))}),
            edge(tail, head, cost=float(draw.integers(0, 50))),
            edge(tail, head, cost_factor=float(draw.integers(0, 4))),
            edge(tail, head, attributes={"kind": str(draw.choice(["", "x", "y"]))}),
            without_edge(tail, head),
            without_node(tail),
        ]
        return choices[int(draw.choice(len(choices), p=[0.1, 0.1, 0.35, 0.15, 0.1, 0.15, 0.05]))]

    return [[one() for _ in range(draw.integers(1, 4))] for _ in range(count)]


async def update(stored: StoredGraph, batches: Sequence[Sequence[Change]], *, ignore_missing: bool = True) -> int:
    """Apply batches, each in a transaction; return how many were not refused."""
    found = find_snapshot(stored.data, stored.graph)
    description = VersionDescription.model_validate_json(found.stored.description)
    base = KnownVersion(found.stored, description, found.manifest, str(found.snapshot))
    store = EmbeddedVersions(stored.data / "store")
    applied = 0
    for changes in batches:
        request = partition_pb2.ChangeGraphRequest(graph="g", changes=changes, ignore_missing=ignore_missing)
        check_request(request)
        (result,) = await store.change(stored.graph, [work_of(request, base, Room("g", CHANGES_MAX))])
        applied += not isinstance(result, PlanmeshError)
    await store.close()
    return applied


def damage(stored: StoredGraph, statement: str, *values: Any) -> None:
    """Change rows of the catalog behind the store's back."""
    with closing(sqlite3.connect(stored.data / "store" / CATALOG_NAME)) as catalog, catalog:
        assert catalog.execute(statement, values).rowcount > 0
        catalog.commit()


def changes_outcome(stored: StoredGraph) -> Verification:
    """Check only the log of changes and the changed state."""
    found = find_snapshot(stored.data, stored.graph)
    outcome = Verification(stored.graph, found.stored.version, "", "", None, 0, 1)
    check_changes(found, outcome, lambda *_: None, outcome.skipped.append)
    return outcome


def places_of(outcome: Verification) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return the check and the nodes of each finding, with the record that it names."""
    return [(finding.check, finding.expected.partition(" of graph ")[0], finding.nodes) for finding in outcome.findings]
