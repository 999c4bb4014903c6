"""Arguments of commands that read a graph from files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def _column(of_what: str, default: str) -> Any:
    """An option that names a column; a column named on the command line must be there, a default one may be missing."""
    return typer.Option(metavar="C", help=f"Column of {of_what}.", show_default=default)


SourceFile = Annotated[
    Path,
    typer.Argument(
        metavar="SOURCE",
        exists=True,
        dir_okay=False,
        readable=True,
        help="Edges, or a whole graph: .json (node-link), .csv, .tsv, .parquet, .graphml, .gml, .gr; also .gz.",
    ),
]

SourceOrStore = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="Edges, or a whole graph: .json (node-link), .csv, .tsv, .parquet, .graphml, .gml, .gr; also .gz. "
        "Or the URL of a store: sqlite:///, neo4j://, redis://, hybrid://, gremlin://; or a .toml that names several.",
    ),
]

NodesFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", exists=True, dir_okay=False, readable=True, help="Nodes, where SOURCE is edges."),
]

StoreUrlOption = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="Write the graph into this store, in the place of what it has."),
]

AcceptChanges = Annotated[
    bool,
    typer.Option("--accept-changes", help="Take the graph of a store though it was written to while it was read."),
]


def is_store(source: str) -> bool:
    """Tell the URL of a store from the path of a file."""
    return "://" in source


def is_parts(source: str) -> bool:
    """Tell the file that names the stores of a graph's parts."""
    return not is_store(source) and source.endswith(".toml")


def existing_file(source: str) -> Path:
    """The path of a file that can be read; otherwise the command was called wrongly."""
    path = Path(source)
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise typer.BadParameter(f"File {source!r} {what}.", param_hint="'SOURCE'")
    return path


Undirected = Annotated[bool, typer.Option("--undirected", help="Every edge leads both ways.")]

SourceColumn = Annotated[str | None, _column("an edge's start", "source")]
TargetColumn = Annotated[str | None, _column("an edge's end", "target")]
CostColumn = Annotated[str | None, _column("an edge's cost; without one it is 1", "cost")]
IdColumn = Annotated[str | None, _column("a node's id", "id")]
DomainColumn = Annotated[str | None, _column("a node's domain", "domain")]
RegionColumn = Annotated[str | None, _column("a node's region", "region")]
