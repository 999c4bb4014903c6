"""The state of a graph at one version, to build the next base from, while updates go on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from planmesh.errors import PlanmeshError
from planmesh.graph.rows import ROWS_PER_BATCH, EdgeRows, NodeRows
from planmesh.internal.v1 import partition_pb2
from planmesh.versions.change_log import ChangeTransaction, EdgeState, NodeState
from planmesh.versions.protocol import StoredVersion, VersionStore
from services.partition.build.resources import BuildResources

DOWN: Final = "down"
"""The state of a node that is on no plan."""

LOG_RECORDS: Final = 256
"""Records of a log that are read at once."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """What updates had changed at `version`, of all nodes and edges that they have touched since the last load."""

    version: int
    nodes: dict[str, NodeState]
    edges: dict[tuple[str, str], EdgeState]

    @property
    def down_nodes(self) -> list[str]:
        """The ids of the nodes that are down."""
        return sorted(node for node, state in self.nodes.items() if state.present and state.state == DOWN)

    async def rows(
        self, store: VersionStore, stored: StoredVersion, *, undirected: bool
    ) -> AsyncIterator[NodeRows | EdgeRows]:
        """Yield the rows of the graph: those of a stored version, with the changes; nodes first.

        If the stored edges are `undirected`, each is yielded in both directions.
        """
        new = {node for node, state in self.nodes.items() if state.present}
        async for nodes in store.read_nodes(stored.graph, stored.version):
            yield self._changed_nodes(nodes, new)
        for rows in _node_batches(sorted(new), self.nodes):
            yield rows
        gone = {node for node, state in self.nodes.items() if not state.present}
        ends = {source for source, _ in self.edges} | gone
        async for edges in store.read_edges(stored.graph, stored.version):
            yield self._unchanged_edges(edges, ends, gone)
            if undirected:
                yield self._unchanged_edges(EdgeRows(edges.targets, edges.sources, edges.costs), ends, gone)
        for found in _edge_batches(self.edges):
            yield found

    def _changed_nodes(self, rows: NodeRows, new: set[str]) -> NodeRows:
        """Return rows with the changes. Takes the ids of the rows out of `new`."""
        if self.nodes.keys().isdisjoint(rows.ids):
            return rows
        kept = NodeRows([], [], [])
        for node, domain, region in zip(rows.ids, rows.domains, rows.regions, strict=True):
            state = self.nodes.get(node, NodeState(True, domain, region))
            if state.present:
                kept.ids.append(node)
                kept.domains.append(state.domain)
                kept.regions.append(state.region)
            new.discard(node)
        return kept

    def _unchanged_edges(self, rows: EdgeRows, ends: set[str], gone: set[str]) -> EdgeRows:
        """Return the rows without those of touched edges, which come later, and of the nodes that are `gone`.

        `ends` are the sources of touched edges and the nodes that are gone. Their edges are touched, except those from
        a node to itself, which are in the rows and in no graph.
        """
        if ends.isdisjoint(rows.sources) and gone.isdisjoint(rows.targets):
            return rows
        kept = [
            position
            for position, pair in enumerate(zip(rows.sources, rows.targets, strict=True))
            if pair not in self.edges and pair[0] not in gone and pair[1] not in gone
        ]
        return EdgeRows(
            [rows.sources[position] for position in kept],
            [rows.targets[position] for position in kept],
            rows.costs[kept],
        )


async def freeze(resources: BuildResources, graph: str) -> Frozen:
    """Return the state of a graph at a new version, which changes nothing. It is announced like any other version."""
    batch = partition_pb2.ChangeBatch()

    def encode(version: int) -> bytes:
        batch.version = version
        return batch.SerializeToString()

    def read(changed: ChangeTransaction) -> Frozen:
        return _frozen(changed, changed.append(0, encode))

    async with resources.numbering.hold(graph):
        known = resources.graphs.get(graph)
        (frozen,) = await resources.store.change(graph, [read])
        if isinstance(frozen, PlanmeshError):
            raise frozen
        known.changed_version = frozen.version
        resources.hub.changed(partition_pb2.ChangedGraph(graph=graph, batches=[batch]))
    return frozen


async def frozen_now(store: VersionStore, graph: str) -> Frozen:
    """Return the state of a graph at its newest version."""
    (frozen,) = await store.change(graph, [lambda changed: _frozen(changed, changed.version)])
    if isinstance(frozen, PlanmeshError):
        raise frozen
    return frozen


def _frozen(changed: ChangeTransaction, version: int) -> Frozen:
    edges = {(source, target): edge for source, target, edge in changed.edges()}
    return Frozen(version, dict(changed.nodes()), edges)


async def changes_since(store: VersionStore, graph: str, version: int) -> tuple[int, int]:
    """Read the log of a graph after a version; return its last version, 0 if it is empty, and the number of changes."""
    last, changes = 0, 0
    while records := await store.log(graph, max(version, last), LOG_RECORDS):
        last = records[-1].version
        changes += sum(record.changes for record in records)
    return last, changes


def _node_batches(ids: list[str], states: dict[str, NodeState]) -> Iterator[NodeRows]:
    for begin in range(0, len(ids), ROWS_PER_BATCH):
        some = ids[begin : begin + ROWS_PER_BATCH]
        yield NodeRows(some, [states[node].domain for node in some], [states[node].region for node in some])


def _edge_batches(edges: dict[tuple[str, str], EdgeState]) -> Iterator[EdgeRows]:
    existing = sorted((pair, edge.cost) for pair, edge in edges.items() if edge.cost is not None)
    for begin in range(0, len(existing), ROWS_PER_BATCH):
        some = existing[begin : begin + ROWS_PER_BATCH]
        yield EdgeRows(
            [source for (source, _), _ in some],
            [target for (_, target), _ in some],
            np.array([cost for _, cost in some], np.float64),
        )
