"""What a request asks its path to avoid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from planmesh.errors import LimitExceeded
from planmesh.graph.model import Int64Array
from planmesh.search.delta import NOTHING_BLOCKED, Blocked, make_blocked
from planmesh.v1 import plan_pb2
from services.coordinator.versioned_graph import VersionedGraph

AVOIDED_PARTITION_NODES_MAX: Final = 1_000_000
"""Most nodes in the avoided partitions together: a plan then takes 16 to 32 MB for the set of them."""

Edge = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Avoided:
    """The numbers of avoided nodes (int64[k]) and edges on one version, to which a search may add others."""

    nodes: Int64Array
    edges: tuple[Edge, ...]

    def blocked(self, nodes: Int64Array | None = None, edges: tuple[Edge, ...] = ()) -> Blocked:
        """Return the sets of these and of further nodes and edges."""
        if not len(self.nodes) and not self.edges and nodes is None and not edges:
            return NOTHING_BLOCKED
        both = self.nodes if nodes is None else np.concatenate([self.nodes, nodes])
        return make_blocked(both, (*self.edges, *edges))


@dataclass(frozen=True, slots=True)
class AvoidSpec:
    """Ids of nodes, of the ends of edges, and names of partitions, that a path must not use."""

    nodes: tuple[str, ...] = ()
    edges: tuple[tuple[str, str], ...] = ()
    partitions: tuple[str, ...] = ()

    @classmethod
    def of(cls, avoid: plan_pb2.Avoid) -> AvoidSpec:
        """Return what a request has; NOTHING if it avoids nothing."""
        if not avoid.nodes and not avoid.edges and not avoid.partitions:
            return NOTHING
        edges = tuple((edge.start, edge.goal) for edge in avoid.edges)
        return cls(tuple(avoid.nodes), edges, tuple(avoid.partitions))

    def on(self, graph: VersionedGraph) -> Avoided:
        """Return the numbers of the nodes and edges on one version. Names that it does not have are left out.

        Raises LimitExceeded for more than AVOIDED_PARTITION_NODES_MAX nodes in the partitions.
        """
        find = graph.directory.find if graph.changes is None else graph.changes.find
        nodes = [find(node) for node in self.nodes]
        edges = [(find(tail), find(head)) for tail, head in self.edges]
        known = [node for node in nodes if node >= 0]
        within = self._nodes_of_partitions(graph)
        return Avoided(
            np.concatenate([np.array(known, np.int64), *within]), tuple(edge for edge in edges if min(edge) >= 0)
        )

    def _nodes_of_partitions(self, graph: VersionedGraph) -> list[Int64Array]:
        if not self.partitions:
            return []
        first, wanted = graph.partition_first, set(self.partitions)
        numbers = [number for number, name in enumerate(graph.directory.partition_names) if name in wanted]
        ranges = [np.arange(first[number], first[number + 1], dtype=np.int64) for number in numbers]
        count = sum(map(len, ranges))
        if count > AVOIDED_PARTITION_NODES_MAX:
            raise LimitExceeded(
                f"avoid.partitions: expected at most {AVOIDED_PARTITION_NODES_MAX:,} nodes in them, got {count:,}",
                bound="AVOIDED_PARTITION_NODES_MAX",
                field="avoid.partitions",
            )
        return ranges


NOTHING: Final = AvoidSpec()
"""Nothing is avoided."""
