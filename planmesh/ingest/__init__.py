"""Reads graphs from files as batches of rows for the wire, and writes synthetic graphs.

::

    source = open_source(Path("edges.csv"), nodes=Path("nodes.csv"), columns=Columns.named(cost="latency_ms"))
    for rows in source.batches():  # NodeRows first, then EdgeRows
        ...
"""

from __future__ import annotations

from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.ingest.graph_source import Columns, GraphSource, SourceDescription
from planmesh.ingest.source import open_source
from planmesh.ingest.write import WrittenGraph, write_generated

__all__ = [
    "Columns",
    "EdgeRows",
    "GraphSource",
    "NodeRows",
    "SourceDescription",
    "WrittenGraph",
    "open_source",
    "write_generated",
]
