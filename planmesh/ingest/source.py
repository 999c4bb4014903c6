"""Opens graph files with the reader for their suffix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from planmesh.errors import InvalidGraph
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.ingest import delimited, dimacs, parquet
from planmesh.ingest.gml import GmlSource
from planmesh.ingest.graph_source import Columns, GraphSource, SourceDescription
from planmesh.ingest.graphml import GraphmlSource
from planmesh.ingest.input_file import GZIP_SUFFIX, InputFile, format_suffix
from planmesh.ingest.node_link import NodeLinkSource

DELIMITERS: Final = {".csv": ",", ".tsv": "\t"}
WHOLE_GRAPHS: Final[dict[str, Callable[[InputFile, Columns], GraphSource]]] = {
    ".json": NodeLinkSource,
    ".graphml": GraphmlSource,
    ".gml": GmlSource,
}
"""Formats that hold nodes and edges in one file."""

EDGE_SUFFIXES: Final = (*DELIMITERS, ".parquet", ".gr")
NODE_SUFFIXES: Final = (*DELIMITERS, ".parquet", ".co")


class EdgeListSource(GraphSource):
    """A file of edges, with or without a file of nodes."""

    def __init__(self, edges: Path, nodes: Path | None, columns: Columns) -> None:
        self._columns = columns
        self._suffix = format_suffix(edges)
        self._edges = InputFile(edges)
        self._nodes = InputFile(nodes) if nodes else None
        self._node_suffix = format_suffix(nodes) if nodes else ""

    @property
    def description(self) -> SourceDescription:
        """The graph is directed. Without a node file, nodes are implicit unless the edge file counts them (DIMACS)."""
        return SourceDescription(implicit_nodes=self._nodes is None and self._suffix != ".gr")

    @property
    def bytes_total(self) -> int:
        """The bytes of both files."""
        return self._edges.bytes_total + (self._nodes.bytes_total if self._nodes else 0)

    @property
    def bytes_read(self) -> int:
        """The bytes read from both files."""
        return self._edges.bytes_read + (self._nodes.bytes_read if self._nodes else 0)

    def batches(self) -> Iterator[NodeRows | EdgeRows]:
        """See GraphSource."""
        if self._nodes:
            with self._nodes:
                yield from self._node_rows(self._nodes)
        elif self._suffix == ".gr":
            with InputFile(self._edges.path) as counted:
                yield from dimacs.read_stated_nodes(counted)
        with self._edges:
            yield from self._edge_rows()

    def _node_rows(self, file: InputFile) -> Iterator[NodeRows]:
        if self._node_suffix == ".co":
            return dimacs.read_vertices(file)
        if self._node_suffix == ".parquet":
            return parquet.read_nodes(file, self._columns)
        return delimited.read_nodes(file, DELIMITERS[self._node_suffix], self._columns)

    def _edge_rows(self) -> Iterator[EdgeRows]:
        if self._suffix == ".gr":
            return dimacs.read_arcs(self._edges)
        if self._suffix == ".parquet":
            return parquet.read_edges(self._edges, self._columns)
        return delimited.read_edges(self._edges, DELIMITERS[self._suffix], self._columns)


def open_source(path: Path, nodes: Path | None = None, columns: Columns | None = None) -> GraphSource:
    """Open a graph: node-link JSON, GraphML or GML, or a file of edges with or without a file of nodes.

    The suffix determines the format (`.json`, `.graphml`, `.gml`, `.csv`, `.tsv`, `.parquet`, `.gr`, `.co`; all but
    Parquet also with `.gz`). Formats that are read as a whole are parsed here. Raises InvalidGraph.
    """
    wanted = columns or Columns()
    suffix = format_suffix(path)
    _check_suffix(path, suffix, (*WHOLE_GRAPHS, *EDGE_SUFFIXES))
    if suffix in WHOLE_GRAPHS:
        if nodes:
            raise InvalidGraph(f"a {suffix} file contains its nodes; --nodes is for files of edges", source=path.name)
        _check_named(path, {"source", "target"} & wanted.explicit, wanted)
        with InputFile(path) as file:
            return WHOLE_GRAPHS[suffix](file, wanted)
    if nodes:
        _check_suffix(nodes, format_suffix(nodes), NODE_SUFFIXES)
        _check_named(nodes, {"id", "domain", "region"} & wanted.explicit, wanted)
    else:
        for field in sorted({"id", "domain", "region"} & wanted.explicit):
            raise InvalidGraph(
                f"a column for the {field} of nodes was named, but there is no file of nodes: add it with --nodes",
                source=path.name,
                field=getattr(wanted, field),
            )
    _check_named(path, {"source", "target", "cost"} & wanted.explicit, wanted)
    return EdgeListSource(path, nodes, wanted)


def _check_named(path: Path, fields: set[str] | frozenset[str], columns: Columns) -> None:
    """Refuse names that a format does not allow: all for DIMACS, the ends of edges for GraphML and GML."""
    if format_suffix(path) in (".gr", ".co", ".graphml", ".gml"):
        for field in sorted(fields):
            raise InvalidGraph(
                f"a column for the {field} was named, but the format prescribes it",
                source=path.name,
                field=getattr(columns, field),
            )


def _check_suffix(path: Path, suffix: str, known: tuple[str, ...]) -> None:
    packed_parquet = suffix == ".parquet" and path.name.lower().endswith(GZIP_SUFFIX)
    if suffix in known and not packed_parquet:
        return
    if path.is_dir() or not path.exists():
        InputFile(path)  # raises an error that names the problem
    raise InvalidGraph(
        f"expected a file of one of the formats {', '.join(known)} (also with {GZIP_SUFFIX}, except Parquet), "
        f"got {''.join(path.suffixes) or 'no suffix'}",
        source=path.name,
    )
