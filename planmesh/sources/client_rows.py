"""The rows of a source as the client's batches."""

from __future__ import annotations

from collections.abc import Iterator

from planmesh.client import EdgeRows, GraphRows, NodeRows, RowOrigin
from planmesh.ingest import GraphSource
from planmesh.ingest import NodeRows as ReadNodes


def rows_to_send(source: GraphSource) -> Iterator[GraphRows]:
    """The rows of a source for `Client.load`, batch by batch. Raises what the source does."""
    for rows in source.batches():
        origin = RowOrigin(rows.origin_source, rows.origin_unit, rows.first)
        if isinstance(rows, ReadNodes):
            yield NodeRows(rows.ids, rows.domains or (), rows.regions or (), origin)
        else:
            yield EdgeRows(rows.sources, rows.targets, () if rows.costs is None else rows.costs.tolist(), origin)
