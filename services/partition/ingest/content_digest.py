"""A digest of the rows of a load, by which the same load is recognised when its caller sends it again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xxhash

from planmesh.internal.v1 import partition_pb2

SEPARATOR = "\0"
"""Behind every text: no text that a load accepts has a control character."""


class ContentDigest:
    """Hashes (xxh3, 128 bits) every column of nodes and of edges in the order of their rows.

    How rows are cut into messages, and how nodes and edges are mixed, does not matter. It tells accidents, not attacks.
    """

    def __init__(self) -> None:
        self._columns = {
            name: xxhash.xxh3_128() for name in ("ids", "domains", "regions", "sources", "targets", "costs")
        }
        self.rows = 0

    def add(self, request: partition_pb2.IngestGraphRequest) -> None:
        """Add the rows of one message."""
        nodes, edges = request.nodes, request.edges
        self.rows += len(nodes.ids) + len(edges.sources)
        self._texts("ids", nodes.ids, len(nodes.ids))
        self._texts("domains", nodes.domains, len(nodes.ids))
        self._texts("regions", nodes.regions, len(nodes.ids))
        self._texts("sources", edges.sources, len(edges.sources))
        self._texts("targets", edges.targets, len(edges.sources))
        costs = np.array(edges.costs, np.float64) if edges.costs else np.ones(len(edges.sources))
        self._columns["costs"].update(costs.tobytes())

    def text(self) -> str:
        """Return the digest of all rows, 32 hexadecimal digits."""
        whole = "".join(column.hexdigest() for column in self._columns.values())
        return xxhash.xxh3_128_hexdigest(whole.encode())

    def _texts(self, column: str, texts: Sequence[str], rows: int) -> None:
        """Add texts; a column that is left out is one of empty texts."""
        if rows:
            joined = SEPARATOR.join(texts) if texts else SEPARATOR * (rows - 1)
            self._columns[column].update((joined + SEPARATOR).encode())
