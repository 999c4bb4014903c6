"""Synthetic graphs that are written can be read again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

from planmesh.errors import InvalidRequest, LimitExceeded
from planmesh.graph.generate import GeneratedGraph, grid, service
from planmesh.ingest import write, write_generated

Read = Callable[..., Any]


def expected(graph: GeneratedGraph) -> tuple[list[str], list[tuple[str, str, float]]]:
    ids = [row.tobytes().decode() for row in graph.ids.packed(np.arange(graph.nodes))]
    edges = graph.edges()
    ends = zip(edges.tails.tolist(), edges.heads.tolist(), edges.costs.tolist(), strict=True)
    return ids, [(ids[tail], ids[head], cost) for tail, head, cost in ends]


@pytest.mark.parametrize("graph", [service(2_345, 5), service(1, 5), grid(1_234, 5), grid(1, 5), grid(40_000, 6)])
@pytest.mark.parametrize("name", ["g.csv", "g.csv.gz", "g.tsv", "g.tsv.gz", "g.parquet", "g.json", "g.json.gz"])
def test_a_graph_comes_back(read: Read, tmp_path: Path, graph: GeneratedGraph, name: str) -> None:
    written = write_generated(graph, tmp_path / name)
    ids, edges = expected(graph)
    got = read(*written.files)
    assert (got.ids, got.edges, written.edges) == (ids, edges, len(edges))
    if graph.domain_nodes:
        assert got.domains == [name.split("n")[0] for name in ids]
        assert set(got.regions) == {"region0"}
    else:
        assert set(got.domains) == {""}
    assert sorted(tmp_path.iterdir()) == sorted(written.files)


def test_nodes_are_written_beside_the_edges(tmp_path: Path) -> None:
    written = write_generated(grid(9), tmp_path / "a.b.csv.gz")
    assert [file.name for file in written.files] == ["a.b.csv.gz", "a.b.nodes.csv.gz"]


def test_the_same_graph_is_written_as_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.csv.gz", "b.csv.gz"):
        write_generated(service(3_000, 2), tmp_path / name)
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()


def test_networkx_reads_the_json(tmp_path: Path) -> None:
    written = write_generated(service(1_500, 2), tmp_path / "g.json")
    made = nx.node_link_graph(json.loads(written.files[0].read_text("utf-8")), edges="edges")
    assert (made.number_of_nodes(), made.number_of_edges()) == (1_500, written.edges)


@pytest.mark.parametrize("name", ["g.txt", "g", "g.parquet.gz", "g.gml"])
def test_an_unknown_suffix_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match=r"\.parquet or \.json"):
        write_generated(grid(9), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="expected an existing folder"):
        write_generated(grid(9), tmp_path / "none" / "g.csv")


def test_json_is_for_small_graphs(tmp_path: Path) -> None:
    with pytest.raises(LimitExceeded, match="200,000") as refused:
        write_generated(grid(write.JSON_NODES_MAX + 1), tmp_path / "g.json")
    assert refused.value.metadata["bound"] == "JSON_NODES_MAX"


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError("disk full")

    monkeypatch.setattr(write, "format_edges", fail)
    with pytest.raises(OSError, match="disk full"):
        write_generated(grid(9), tmp_path / "g.csv")
    assert [file.name for file in tmp_path.iterdir()] == ["g.nodes.csv"]
