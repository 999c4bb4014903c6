"""A digest of a load's rows, by which the service recognises a load that its caller sends again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xxhash

from planmesh.internal.v1 import partition_pb2

SEPARATOR = "\0"
"""Follows every text. Loads accept no text with control characters, so it is unambiguous."""


class ContentDigest:
    """Hashes each column of nodes and of edges in the order of their rows (xxh3, 128 bits).

    The digest does not depend on how rows are split into messages or how nodes and edges are interleaved. It is not
    secure against deliberate collisions.
    """

    def __init__(self) -> None:
        self._columns = {
            name: xxhash.xxh3_128() for name in ("ids", "domains", "regions", "sources", "targets", "costs")
        }
        self.rows = 0

    def add(self, request: partition_pb2.IngestGraphRequest) -> None:
        """Add the rows of one message. Missing labels count as empty, missing costs as 1."""
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
        """Add a column of texts; an empty column counts as `rows` empty texts."""
        if rows:
            joined = SEPARATOR.join(texts) if texts else SEPARATOR * (rows - 1)
            self._columns[column].update((joined + SEPARATOR).encode())
