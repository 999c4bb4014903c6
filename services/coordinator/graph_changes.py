"""The changes of one graph since its base, as a coordinator holds them in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from planmesh.errors import InternalError
from planmesh.internal.v1 import partition_pb2
from planmesh.search.delta import CAPACITY_DEFAULT, DOWN, GONE, UP, Delta, DeltaFull, DeltaView
from planmesh.search.mixed_graph import MixedBase, make_mixed_base, overlay_numbers
from planmesh.v1 import graph_pb2
from services.coordinator.versioned_graph import VersionedGraph

DOWN_TEXT: Final = "down"
"""The state of a node that is on no plan. Other states change no plan."""


@dataclass(frozen=True, slots=True)
class ChangesView:
    """The changes up to one version."""

    changes: GraphChanges
    delta: DeltaView
    count: int
    """Changes since the base."""

    @property
    def base(self) -> MixedBase:
        """The arrays for searches."""
        return self.changes.base

    def find(self, node_id: str) -> int:
        """Return the number of the node that has an id at this version, -1 if none has."""
        return self.changes.find(node_id, self.delta)

    def name(self, node: int) -> str:
        """Return the id of a node that is new since the base."""
        return self.changes.new_ids[node - self.changes.base_nodes]


class GraphChanges:
    """Applies batches of changes to the delta of a base. Blocks for files; one thread at a time may apply."""

    def __init__(self, graph: VersionedGraph, capacity: int = CAPACITY_DEFAULT) -> None:
        """Prepare the base for searches: some milliseconds for a million nodes."""
        opened = graph.overlay
        self._graph = graph
        self.base_nodes = graph.node_count
        overlay_of = overlay_numbers(opened.overlay_global, self.base_nodes)
        self.base = make_mixed_base(
            graph.partition_first, opened.overlay, opened.overlay_first, opened.overlay_global, overlay_of
        )
        self._delta = Delta(graph.partition_first, overlay_of, capacity)
        self.new_ids: list[str] = []
        """The ids of the new nodes, by number from `base_nodes` on."""
        self._numbers: dict[str, list[int]] = {}
        """The numbers of the new nodes that had an id, in their order."""
        self._down: set[str] = set()
        """The ids of the nodes that are down at the newest version."""
        self._states: list[tuple[int, str, bool]] = []
        """Every change of these: the version, the id, and whether the node went down."""
        self._count = 0
        self.version = graph.base_version

    @classmethod
    def of(
        cls, graph: VersionedGraph, batches: Sequence[partition_pb2.ChangeBatch], capacity: int = CAPACITY_DEFAULT
    ) -> GraphChanges:
        """Return the changes after batches that follow the base in order, with as much room as they need."""
        while True:
            changes = cls(graph, capacity)
            try:
                for batch in batches:
                    changes.apply(batch)
            except DeltaFull:
                capacity *= 2
            else:
                return changes

    @property
    def capacity(self) -> int:
        """The changes for which there is room."""
        return self._delta.capacity

    def view(self) -> ChangesView:
        """Return the changes up to the newest version."""
        return self.view_at(self.version)

    def view_at(self, version: int) -> ChangesView:
        """Return the changes up to a version from that of the base to the newest."""
        return ChangesView(self, self._delta.view(version), self._count)

    def down_at(self, version: int) -> list[str]:
        """Return the ids of the nodes that are down at a version."""
        states = {node_id: is_down for since, node_id, is_down in self._states if since <= version}
        return [node_id for node_id, is_down in states.items() if is_down]

    def apply(self, batch: partition_pb2.ChangeBatch) -> None:
        """Add a batch. Raises DeltaFull when there is no room, and what SnapshotReader does.

        After an error the batch may be half added: the changes have to be made again from their base.
        """
        for change in batch.changes:
            op = change.WhichOneof("op")
            if op == "upsert_edge":
                self._upsert_edge(change.upsert_edge, batch.version)
            elif op == "delete_edge":
                edge = change.delete_edge
                self._set_cost(edge.source, edge.target, np.inf, batch.version)
            elif op == "upsert_node":
                self._upsert_node(change.upsert_node, batch.version)
            elif op == "delete_node":
                self._note_state(change.delete_node.id, batch.version, is_down=False)
                self._delta.set_state(self._known(change.delete_node.id), GONE, batch.version)
            else:
                raise InternalError(f"version {batch.version} has a change of an unknown kind; upgrade the coordinator")
        self.version = max(self.version, batch.version)
        self._count += len(batch.changes)

    def find(self, node_id: str, view: DeltaView) -> int:
        """Return the number of the node that has an id at a version, -1 if none has."""
        for node in reversed(self._numbers.get(node_id, ())):
            if view.state(node) != GONE:
                return node
        node = self._graph.directory.find(node_id)
        return node if node >= 0 and view.state(node) != GONE else -1

    def _upsert_edge(self, edge: graph_pb2.UpsertEdge, version: int) -> None:
        if edge.WhichOneof("price") == "cost":
            self._set_cost(edge.source, edge.target, edge.cost, version)

    def _upsert_node(self, node: graph_pb2.UpsertNode, version: int) -> None:
        number = self.find(node.id, self._newest())
        if number < 0:
            number = self._delta.add_node(version)
            self.new_ids.append(node.id)
            self._numbers.setdefault(node.id, []).append(number)
        if node.HasField("state"):
            is_down = node.state == DOWN_TEXT
            if is_down != (node.id in self._down):
                self._delta.set_state(number, DOWN if is_down else UP, version)
                self._note_state(node.id, version, is_down=is_down)

    def _note_state(self, node_id: str, version: int, *, is_down: bool) -> None:
        if is_down == (node_id in self._down):
            return
        self._states.append((version, node_id, is_down))
        if is_down:
            self._down.add(node_id)
        else:
            self._down.discard(node_id)

    def _set_cost(self, source: str, target: str, cost: float, version: int) -> None:
        tail, head = self._known(source), self._known(target)
        self._delta.set_cost(tail, head, self._base_cost(tail, head), cost, version)

    def _known(self, node_id: str) -> int:
        number = self.find(node_id, self._newest())
        if number < 0:
            raise InternalError(f"graph {self._graph.name!r}: a change names {node_id!r}, which is not in the graph")
        return number

    def _newest(self) -> DeltaView:
        return self._delta.newest_view()

    def _base_cost(self, tail: int, head: int) -> float:
        """Return the cost of an edge in the base, infinite if the base does not have it."""
        if tail >= self.base_nodes or head >= self.base_nodes:
            return float("inf")
        assert self._graph.mapped is not None, "graphs that change are opened with their files"
        number = self._graph.directory.partition_of(tail)
        partition = self._graph.mapped.partition(number)
        local = tail - partition.partition_first
        begin, end = int(partition.out_first[local]), int(partition.out_first[local + 1])
        places = np.flatnonzero(partition.out_head[begin:end] == head)
        return float(partition.out_cost[begin + places[0]]) if len(places) else float("inf")


def states_of(node_ids: Iterable[str], version: int) -> partition_pb2.ChangeBatch:
    """Return a batch that takes nodes down."""
    return partition_pb2.ChangeBatch(
        version=version,
        changes=[
            graph_pb2.Change(upsert_node=graph_pb2.UpsertNode(id=node_id, state=DOWN_TEXT)) for node_id in node_ids
        ],
    )
