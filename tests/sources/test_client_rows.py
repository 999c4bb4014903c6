"""Rows between sources and the client, in both directions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from planmesh import client
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.graph.rules import Origin
from planmesh.ingest import GraphSource, SourceDescription
from planmesh.sources.client_rows import rows_to_send
from planmesh.sources.mesh_rows import MeshSource


class Rows(GraphSource):
    """A source of given batches."""

    def __init__(self, *batches: NodeRows | EdgeRows) -> None:
        self._batches = batches

    @property
    def description(self) -> SourceDescription:
        return SourceDescription()

    @property
    def bytes_total(self) -> int:
        return 0

    @property
    def bytes_read(self) -> int:
        return 0

    def batches(self) -> Iterator[NodeRows | EdgeRows]:
        yield from self._batches


def test_columns_without_content_are_not_sent() -> None:
    origin = Origin("e.csv", "line", 7)
    nodes, labelled, free, priced = rows_to_send(
        Rows(
            NodeRows.filled(["a", "b"], origin=origin),
            NodeRows(["c"], ["d"], [""]),
            EdgeRows.filled(["a"], ["b"]),
            EdgeRows(["a", "b"], ["b", "c"], np.array([1.0, 0.5])),
        )
    )
    assert nodes == client.NodeRows(["a", "b"], (), (), client.RowOrigin("e.csv", "line", 7))
    assert labelled == client.NodeRows(["c"], ["d"], ())
    assert free == client.EdgeRows(["a"], ["b"], ())
    assert priced == client.EdgeRows(["a", "b"], ["b", "c"], [1.0, 0.5])


def test_an_export_is_filled_and_numbered() -> None:
    source = MeshSource(
        iter(
            [
                client.NodeRows(["a", "b"], (), ["eu", ""]),
                client.NodeRows(["c"]),
                client.EdgeRows(["a"], ["b"]),
                client.EdgeRows(["b"], ["c"], [2.5]),
            ]
        )
    )
    first, second, free, priced = source.batches()
    assert isinstance(first, NodeRows)
    assert isinstance(second, NodeRows)
    assert (first.domains, first.regions, second.regions) == (["", ""], ["eu", ""], [""])
    assert (first.origin, second.origin) == (Origin("the mesh", "node", 1), Origin("the mesh", "node", 3))
    assert isinstance(free, EdgeRows)
    assert isinstance(priced, EdgeRows)
    assert (free.costs.tolist(), priced.costs.tolist()) == ([1.0], [2.5])
    assert priced.origin.record(0) == "edge 2"
    assert (source.bytes_read, source.bytes_total, source.description.implicit_nodes) == (5, 0, True)
