"""Reads a graph from files into arrays, without a mesh. The graph equals the one that a load would make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from planmesh.errors import InvalidGraph
from planmesh.graph.adjacency import build_graph
from planmesh.graph.model import INVALID_ID, Float64Array, Graph, Int32Array
from planmesh.graph.node_ids import NodeIds, NodeIdsBuilder
from planmesh.graph.rules import shown
from planmesh.ingest import EdgeRows, GraphSource, NodeRows
from planmesh.partition.groups import Labels


@dataclass(frozen=True, slots=True)
class FileGraph:
    """A graph, the ids of its nodes in row order, and the labels; `domains` or `regions` is None if no node has one."""

    graph: Graph
    ids: NodeIds
    domains: Labels | None
    regions: Labels | None


def read_graph(source: GraphSource, *, undirected: bool, advance: Callable[[int, int], None]) -> FileGraph:
    """Read a whole graph. Calls `advance(bytes_read, bytes_total)` after each batch.

    Memory: 28 bytes per edge while the graph is built and 12 afterwards, 33 bytes per node plus its id. Raises
    InvalidGraph, with file, record and field, as a load does.
    """
    rows = _Rows(undirected or source.description.undirected, source.description.implicit_nodes)
    for batch in source.batches():
        if isinstance(batch, NodeRows):
            rows.add_nodes(batch)
        else:
            rows.add_edges(batch)
        advance(source.bytes_read, source.bytes_total)
    return rows.finish()


@dataclass(slots=True)
class _LabelColumn:
    """Collects a label code for every node read so far, -1 for no label."""

    names: NodeIdsBuilder = field(default_factory=NodeIdsBuilder)
    codes: list[Int32Array] = field(default_factory=list)

    def add(self, labels: Sequence[str]) -> None:
        codes = np.full(len(labels), INVALID_ID, np.int32)
        present = [row for row, label in enumerate(labels) if label]
        if present:
            codes[present] = self.names.lookup([labels[row] for row in present], insert=True)
        self.codes.append(codes)

    def finish(self, nodes: int) -> Labels | None:
        count = len(self.names)
        if count == 0:
            return None
        known = sum(map(len, self.codes))
        self.codes.append(np.full(nodes - known, INVALID_ID, np.int32))  # nodes without a row of their own
        return Labels(np.concatenate(self.codes), self.names.finish().names(np.arange(count, dtype=np.int32)))


class _Rows:
    """Collects the rows read so far, with ids replaced by numbers."""

    def __init__(self, undirected: bool, implicit_nodes: bool) -> None:
        self._undirected = undirected
        self._implicit_nodes = implicit_nodes
        self._ids = NodeIdsBuilder()
        self._domains, self._regions = _LabelColumn(), _LabelColumn()
        self._tails: list[Int32Array] = []
        self._heads: list[Int32Array] = []
        self._costs: list[Float64Array] = []

    def add_nodes(self, rows: NodeRows) -> None:
        self._ids.add(rows.ids, rows.origin)
        self._domains.add(rows.domains)
        self._regions.add(rows.regions)

    def add_edges(self, rows: EdgeRows) -> None:
        tails = self._ends(rows, rows.sources, "source")
        heads = self._ends(rows, rows.targets, "target")
        self._append(tails, heads, rows.costs)
        if self._undirected:
            self._append(heads, tails, rows.costs)

    def finish(self) -> FileGraph:
        nodes = len(self._ids)
        if nodes == 0:
            raise InvalidGraph("expected at least one node, got none")
        tails, heads = (np.concatenate([*ends, np.zeros(0, np.int32)]) for ends in (self._tails, self._heads))
        costs = np.concatenate([*self._costs, np.zeros(0)])
        self._tails, self._heads, self._costs = [], [], []
        graph, _, _ = build_graph(nodes, tails.astype(np.int32), heads.astype(np.int32), costs)
        return FileGraph(graph, self._ids.finish(), self._domains.finish(nodes), self._regions.finish(nodes))

    def _ends(self, rows: EdgeRows, names: list[str], column: str) -> Int32Array:
        numbers = self._ids.lookup(names, insert=self._implicit_nodes)
        if len(numbers) and int(numbers.min()) < 0:
            row = int(np.argmin(numbers))
            raise InvalidGraph(
                f"expected a node of the graph, got {shown(names[row])}, which no row of nodes declares",
                source=rows.origin.source,
                record=rows.origin.record(row),
                field=column,
            )
        return numbers

    def _append(self, tails: Int32Array, heads: Int32Array, costs: Float64Array) -> None:
        self._tails.append(tails)
        self._heads.append(heads)
        self._costs.append(costs)
