"""What a request asks its path to avoid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from planmesh.search.delta import NOTHING_BLOCKED, Blocked, make_blocked
from planmesh.v1 import plan_pb2
from services.coordinator.versioned_graph import VersionedGraph


@dataclass(frozen=True, slots=True)
class AvoidSpec:
    """Ids of nodes, and of the ends of edges, that a path must not use."""

    nodes: tuple[str, ...] = ()
    edges: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, avoid: plan_pb2.Avoid) -> AvoidSpec:
        """Return what a request has; NOTHING if it avoids nothing."""
        if not avoid.nodes and not avoid.edges:
            return NOTHING
        return cls(tuple(avoid.nodes), tuple((edge.start, edge.goal) for edge in avoid.edges))

    def blocked(self, graph: VersionedGraph) -> Blocked:
        """Return the numbers of the nodes and edges on one version. Ids that it does not have are left out."""
        if self is NOTHING:
            return NOTHING_BLOCKED
        find = graph.directory.find if graph.changes is None else graph.changes.find
        nodes = [find(node) for node in self.nodes]
        edges = [(find(tail), find(head)) for tail, head in self.edges]
        return make_blocked([node for node in nodes if node >= 0], [edge for edge in edges if min(edge) >= 0])


NOTHING: Final = AvoidSpec()
"""Nothing is avoided. It is compared by identity."""
