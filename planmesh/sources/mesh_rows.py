"""Reads a graph from the mesh."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from planmesh import client
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.graph.rules import Origin
from planmesh.ingest import GraphSource, SourceDescription


class MeshSource(GraphSource):
    """The rows of an export. Its progress counts rows instead of bytes, and their total is unknown until it ends."""

    def __init__(self, exported: Iterator[client.GraphRows]) -> None:
        self._exported = exported
        self._rows_read = 0

    @property
    def description(self) -> SourceDescription:
        """Edges are directed; ends that no row declares are nodes."""
        return SourceDescription(implicit_nodes=True)

    @property
    def bytes_total(self) -> int:
        """Always 0, because the size of an export is not known."""
        return 0

    @property
    def bytes_read(self) -> int:
        """The rows received so far."""
        return self._rows_read

    def batches(self) -> Iterator[NodeRows | EdgeRows]:
        """Yield the rows, in the batches in which they arrived."""
        nodes = edges = 1
        for rows in self._exported:
            self._rows_read += len(rows)
            if isinstance(rows, client.NodeRows):
                origin = Origin("the mesh", "node", nodes)
                yield NodeRows.filled(list(rows.ids), rows.domains, rows.regions, origin)
                nodes += len(rows)
            else:
                origin = Origin("the mesh", "edge", edges)
                costs = np.array(rows.costs, np.float64) if rows.costs else None
                yield EdgeRows.filled(list(rows.sources), list(rows.targets), costs, origin)
                edges += len(rows)
