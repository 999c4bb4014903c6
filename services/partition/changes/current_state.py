"""The current state of a graph: its base, and what updates have changed since it was loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from planmesh.errors import NodeUnknown
from planmesh.v1 import graph_pb2
from planmesh.versions.change_log import ChangeTransaction, EdgeState, NodeState
from services.partition.catalog.describe import SUGGESTIONS_MAX
from services.partition.catalog.served import KnownVersion

UP: Final = "up"
"""The state of a node for which no update has set one."""


class CurrentState:
    """Looks up nodes and edges in the changed state, else in the snapshot of the base.

    Every value that an update has changed since the load is in the changed state, so it does not matter which of the
    bases since then is read. Its methods block, and raise what SnapshotReader does.
    """

    def __init__(self, base: KnownVersion, changed: ChangeTransaction) -> None:
        self._reader = base.open()
        self._directory = self._reader.directory()
        self.changed = changed

    def node(self, node: str) -> NodeState:
        """Return a node; `present` is False for one that does not exist."""
        found = self.changed.node(node)
        if found is not None:
            return found
        number = self._directory.find(node)
        if number < 0:
            return NodeState(present=False)
        return NodeState(True, self._directory.domains.label(number), self._directory.regions.label(number))

    def partition_of(self, node: str) -> str:
        """Return the name of a node's partition, "" for one that the base does not have."""
        number = self._directory.find(node)
        return self._directory.partition_names[self._directory.partition_of(number)] if number >= 0 else ""

    def near(self, node: str) -> list[str]:
        """Return ids of the base that are similar to an unknown one."""
        return self._directory.ids.near(node, SUGGESTIONS_MAX)

    def edge(self, source: str, target: str) -> EdgeState | None:
        """Return an edge, None for one that neither exists nor ever did since the load."""
        found = self.changed.edge(source, target)
        if found is not None:
            return found
        tail, head = self._directory.find(source), self._directory.find(target)
        if tail < 0 or head < 0:
            return None
        for end, cost in self._base_edges(tail, forward=True):
            if end == head:
                return EdgeState(cost, cost)
        return None

    def edges_at(self, node: str) -> Iterator[tuple[str, str, EdgeState]]:
        """Yield the existing edges from and to a node."""
        seen: set[tuple[str, str]] = set()
        for source, target, edge in self.changed.edges(node):
            if (source, target) not in seen:
                seen.add((source, target))
                if edge.cost is not None:
                    yield source, target, edge
        number = self._directory.find(node)
        if number < 0:
            return
        for forward in (True, False):
            found = list(self._base_edges(number, forward=forward))
            names = self._directory.names(np.array([end for end, _ in found], np.int32))
            for (_, cost), other in zip(found, names, strict=True):
                pair = (node, other) if forward else (other, node)
                if pair not in seen:
                    yield *pair, EdgeState(cost, cost)

    def _base_edges(self, node: int, *, forward: bool) -> Iterator[tuple[int, float]]:
        number = self._directory.partition_of(node)
        partition = self._reader.partition(number)
        local = node - partition.partition_first
        first, ends, costs = (
            (partition.out_first, partition.out_head, partition.out_cost)
            if forward
            else (partition.in_first, partition.in_tail, partition.in_cost)
        )
        some = slice(int(first[local]), int(first[local + 1]))
        yield from zip(ends[some].tolist(), costs[some].tolist(), strict=True)


def describe_changed_node(state: CurrentState, node_id: str) -> graph_pb2.Node:
    """Return the description of a node for GetNode. Raises NodeUnknown with similar ids."""
    node = state.node(node_id)
    if not node.present:
        raise NodeUnknown(node_id, state.near(node_id))
    name = state.partition_of(node_id)
    described = graph_pb2.Node(
        id=node_id,
        version=state.changed.version,
        domain=node.domain,
        region=node.region,
        partition=name,
        state=node.state or UP,
        attributes=node.attributes,
    )
    for source, target, _ in state.edges_at(node_id):
        leaves = source == node_id
        described.out_degree += leaves
        described.in_degree += not leaves
        described.boundary |= state.partition_of(target if leaves else source) != name
    return described
