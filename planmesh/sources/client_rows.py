"""Converts the rows of a source to the client's batches."""

from __future__ import annotations

from collections.abc import Iterator

from planmesh import client
from planmesh.graph.rows import NodeRows
from planmesh.ingest import GraphSource


def rows_to_send(source: GraphSource) -> Iterator[client.GraphRows]:
    """Yield the rows of a source for `Client.load`, batch by batch. Raises what the source raises.

    A column in which no label is set, or every cost is 1, is left out, which means the same on the wire.
    """
    for rows in source.batches():
        origin = client.RowOrigin(rows.origin.source, rows.origin.unit, rows.origin.first)
        if isinstance(rows, NodeRows):
            domains, regions = (labels if any(labels) else () for labels in (rows.domains, rows.regions))
            yield client.NodeRows(rows.ids, domains, regions, origin)
        else:
            costs = () if (rows.costs == 1.0).all() else rows.costs.tolist()
            yield client.EdgeRows(rows.sources, rows.targets, costs, origin)
