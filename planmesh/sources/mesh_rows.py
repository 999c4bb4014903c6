"""A graph that is read out of the mesh."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.graph.rules import Origin
from planmesh.ingest import GraphSource, SourceDescription
from planmesh.v1.graph_pb2 import ExportGraphResponse


class MeshSource(GraphSource):
    """The rows of an export. How much there is to read is not known before it ends."""

    def __init__(self, messages: Iterator[ExportGraphResponse]) -> None:
        self._messages = messages
        self._bytes_read = 0

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
        """Bytes of the messages that have come."""
        return self._bytes_read

    def batches(self) -> Iterator[NodeRows | EdgeRows]:
        """Return the rows, in the batches in which they came."""
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
