"""Reads a graph from the mesh."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.graph.rules import Origin
from planmesh.ingest import GraphSource, SourceDescription
from planmesh.v1.graph_pb2 import ExportGraphResponse


class MeshSource(GraphSource):
    """The rows of an export. Their number is unknown until it ends."""

    def __init__(self, messages: Iterator[ExportGraphResponse]) -> None:
        self._messages = messages
        self._bytes_read = 0

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
        """The bytes of the messages received so far."""
        return self._bytes_read

    def batches(self) -> Iterator[NodeRows | EdgeRows]:
        """Yield the rows, in the batches in which they arrived."""
        nodes = edges = 1
        for message in self._messages:
            self._bytes_read += message.ByteSize()
            if message.WhichOneof("content") == "nodes":
                rows = message.nodes
                yield NodeRows.filled(list(rows.ids), rows.domains, rows.regions, Origin("the mesh", "node", nodes))
                nodes += len(rows.ids)
            else:
                sent = message.edges
                costs = np.array(sent.costs, np.float64) if sent.costs else None
                origin = Origin("the mesh", "edge", edges)
                yield EdgeRows.filled(list(sent.sources), list(sent.targets), costs, origin)
                edges += len(sent.sources)
