"""A graph that is read out of the mesh."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from planmesh import client
from planmesh.ingest import EdgeRows, GraphSource, NodeRows, SourceDescription


class MeshSource(GraphSource):
    """The rows of an export; they stand for bytes in progress reports. Their number is not known before the end."""

    def __init__(self, exported: Iterator[client.GraphRows]) -> None:
        self._exported = exported
        self._rows_read = 0

    @property
    def description(self) -> SourceDescription:
        """Edges come in the directions that they have; ends that no row declares are nodes."""
        return SourceDescription(implicit_nodes=True)

    @property
    def bytes_total(self) -> int:
        """0: not known."""
        return 0

    @property
    def bytes_read(self) -> int:
        """Rows that have come."""
        return self._rows_read

    def batches(self) -> Iterator[NodeRows | EdgeRows]:
        """Return the rows, in the batches in which they came."""
        nodes = edges = 1
        for rows in self._exported:
            self._rows_read += len(rows)
            if isinstance(rows, client.NodeRows):
                yield NodeRows("the mesh", "node", nodes, list(rows.ids), list(rows.domains), list(rows.regions))
                nodes += len(rows)
            else:
                costs = np.array(rows.costs, np.float64) if rows.costs else None
                yield EdgeRows("the mesh", "edge", edges, list(rows.sources), list(rows.targets), costs)
                edges += len(rows)
