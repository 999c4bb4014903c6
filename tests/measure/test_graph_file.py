"""A graph read from files without a mesh equals the graph that a load would make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from planmesh.errors import InvalidGraph
from planmesh.graph.adjacency import edge_tails
from planmesh.ingest import Columns, open_source
from planmesh.measure.graph_file import FileGraph, read_graph

NODES = "id\tdomain\tregion\nb\tred\t\na\t\tnorth\nc\tred\tsouth\n"
EDGES = "source\ttarget\tcost\na\tb\t2\na\tb\t1.5\nb\tc\t3\nc\tc\t1\n"


def read(folder: Path, edges: str, nodes: str | None = None, *, undirected: bool = False) -> FileGraph:
    (folder / "edges.tsv").write_text(edges)
    if nodes is not None:
        (folder / "nodes.tsv").write_text(nodes)
    beside = folder / "nodes.tsv" if nodes is not None else None
    source = open_source(folder / "edges.tsv", beside, Columns())
    return read_graph(source, undirected=undirected, advance=lambda done, total: None)


def edges_of(file_graph: FileGraph) -> set[tuple[str, str, float]]:
    names = file_graph.ids.names(np.arange(file_graph.graph.node_count, dtype=np.int32))
    tails = edge_tails(file_graph.graph.first_out).tolist()
    rows = zip(tails, file_graph.graph.head.tolist(), file_graph.graph.weight.tolist(), strict=True)
    return {(names[tail], names[head], cost) for tail, head, cost in rows}


def test_rows_become_a_graph_with_labels(tmp_path: Path) -> None:
    file_graph = read(tmp_path, EDGES, NODES)
    assert file_graph.ids.names(np.arange(3, dtype=np.int32)) == ["b", "a", "c"]
    assert edges_of(file_graph) == {("a", "b", 1.5), ("b", "c", 3.0)}
    assert file_graph.domains is not None
    assert file_graph.regions is not None
    assert (file_graph.domains.code.tolist(), file_graph.domains.names) == ([0, -1, 0], ["red"])
    assert (file_graph.regions.code.tolist(), file_graph.regions.names) == ([-1, 0, 1], ["north", "south"])


def test_edges_alone_declare_their_ends_and_may_be_undirected(tmp_path: Path) -> None:
    file_graph = read(tmp_path, "source\ttarget\na\tb\n", undirected=True)
    assert edges_of(file_graph) == {("a", "b", 1.0), ("b", "a", 1.0)}
    assert file_graph.domains is None
    assert file_graph.regions is None


@pytest.mark.parametrize(
    ("edges", "nodes", "record", "field"),
    [
        ("source\ttarget\na\tb\nb\tx\n", "id\na\nb\n", "line 3", "target"),
        ("source\ttarget\nx\tb\n", "id\na\nb\n", "line 2", "source"),
        ("source\ttarget\na\tb\n", "id\na\nb\na\n", "line 4", "id"),
        ("source\ttarget\tcost\na\tb\t-1\n", "id\na\nb\n", "line 2", "cost"),
    ],
)
def test_what_a_load_refuses_is_refused_here(tmp_path: Path, edges: str, nodes: str, record: str, field: str) -> None:
    with pytest.raises(InvalidGraph) as refused:
        read(tmp_path, edges, nodes)
    assert refused.value.metadata["record"] == record
    assert refused.value.metadata["field"] == field
