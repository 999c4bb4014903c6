"""Exports of stored rows: their order, their labels, and both directions of undirected edges."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.versions.embedded import EmbeddedVersions
from services.partition.catalog.export import export_graph
from services.partition.ingest.options import LoadOptions

EDGES = [("a", "b", 1.5), ("b", "b", 2.0)]


@pytest.mark.parametrize("undirected", [False, True])
async def test_rows_are_streamed_as_they_were_loaded(tmp_path: Path, undirected: bool) -> None:
    store = EmbeddedVersions(tmp_path)
    async with store.write("g") as writer:
        await writer.add_nodes(NodeRows(["a", "b"], ["x", ""], ["", ""]))
        await writer.add_edges(EdgeRows(["a", "b"], ["b", "b"], np.array([1.5, 2.0])))
        stored = await writer.commit(4, "")
    options = LoadOptions(graph="g", undirected=undirected)
    known: Any = SimpleNamespace(stored=stored, description=SimpleNamespace(options=options))
    responses = [response async for response in export_graph(store, cast("Any", known))]
    await store.close()
    assert {response.version for response in responses} == {4}
    nodes = responses[0].nodes
    assert (list(nodes.ids), list(nodes.domains), list(nodes.regions)) == (["a", "b"], ["x", ""], [])
    found = [
        edge
        for response in responses[1:]
        for edge in zip(response.edges.sources, response.edges.targets, response.edges.costs, strict=True)
    ]
    assert found == (EDGES if not undirected else [*EDGES, ("b", "a", 1.5), ("b", "b", 2.0)])
