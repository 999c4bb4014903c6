"""A hash of a graph's content that does not depend on the order of its rows."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import xxhash

from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.store.protocol import GraphReading

_MODULUS: Final = 1 << 128
_COST: Final = struct.Struct("<d")


@dataclass(slots=True)
class ContentHash:
    """Counts of rows, and sums of the rows' 128-bit hashes (xxh3) modulo 2**128.

    It detects accidents, not attacks. The texts of a row are joined by line breaks, which no text contains. A cost
    enters as its eight bytes, with -0.0 as 0.0. A row that comes twice counts twice.
    """

    nodes: int = 0
    edges: int = 0
    node_sum: int = 0
    edge_sum: int = 0

    def add_nodes(self, rows: NodeRows) -> None:
        """Count a batch of nodes and add its hashes."""
        total = 0
        for node, domain, region in zip(rows.ids, rows.domains, rows.regions, strict=True):
            total += xxhash.xxh3_128_intdigest(f"{node}\n{domain}\n{region}".encode())
        self.node_sum = (self.node_sum + total) % _MODULUS
        self.nodes += len(rows)

    def add_edges(self, rows: EdgeRows) -> None:
        """Count a batch of edges and add its hashes."""
        total = 0
        pack = _COST.pack
        for source, target, cost in zip(rows.sources, rows.targets, (rows.costs + 0.0).tolist(), strict=True):
            total += xxhash.xxh3_128_intdigest(f"{source}\n{target}\n".encode() + pack(cost))
        self.edge_sum = (self.edge_sum + total) % _MODULUS
        self.edges += len(rows)

    def text(self) -> str:
        """Return the hash of both counts and both sums, as 32 hexadecimal digits."""
        facts = f"{self.nodes} {self.edges} {self.node_sum:032x} {self.edge_sum:032x}"
        return xxhash.xxh3_128_hexdigest(facts.encode())


async def hash_of(reading: GraphReading) -> ContentHash:
    """Read a whole graph, batch by batch, and return its hash. Raises what the reading raises."""
    found = ContentHash()
    async for nodes in reading.nodes():
        found.add_nodes(nodes)
    async for edges in reading.edges():
        found.add_edges(edges)
    return found
