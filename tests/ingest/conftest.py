"""Helpers that read a whole file."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from planmesh.errors import InvalidGraph
from planmesh.graph.rows import NodeRows
from planmesh.ingest import Columns, open_source
from planmesh.ingest.graph_source import ROWS_PER_BATCH_MAX


@dataclass
class ReadGraph:
    """All rows of a source, with the origin of each in `node_places` and `edge_places`."""

    undirected: bool
    implicit_nodes: bool
    ids: list[str] = field(default_factory=list)
    domains: list[str] = field(default_factory=list)
    regions: list[str] = field(default_factory=list)
    edges: list[tuple[str, str, float]] = field(default_factory=list)
    node_places: list[str] = field(default_factory=list)
    edge_places: list[str] = field(default_factory=list)


def read_graph(path: Path, nodes: Path | None = None, **columns: str) -> ReadGraph:
    source = open_source(path, nodes, Columns.named(**columns))
    read = ReadGraph(source.description.undirected, source.description.implicit_nodes)
    for rows in source.batches():
        assert 1 <= len(rows) <= ROWS_PER_BATCH_MAX
        places = [rows.origin.record(row) for row in range(len(rows))]
        if isinstance(rows, NodeRows):
            assert not read.edges, "nodes come first"
            read.ids += rows.ids
            read.domains += rows.domains
            read.regions += rows.regions
            read.node_places += places
        else:
            read.edges += zip(rows.sources, rows.targets, rows.costs.tolist(), strict=True)
            read.edge_places += places
    assert source.bytes_read == source.bytes_total
    return read


Read = Callable[..., ReadGraph]
Write = Callable[[str, str | bytes], Path]
Refusal = Callable[..., dict[str, str]]


@pytest.fixture
def read() -> Read:
    return read_graph


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file; compress it when its name ends in .gz."""

    def write_file(name: str, content: str | bytes) -> Path:
        data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        path = tmp_path / name
        path.write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
        return path

    return write_file


@pytest.fixture
def refusal() -> Refusal:
    """Read a file that must be refused; return the error's message and origin."""

    def refuse(path: Path, nodes: Path | None = None, **columns: str) -> dict[str, str]:
        with pytest.raises(InvalidGraph) as refused:
            read_graph(path, nodes, **columns)
        return {**refused.value.metadata, "message": refused.value.message}

    return refuse
