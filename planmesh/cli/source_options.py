"""Arguments and options of commands that read a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def _column(of_what: str, default: str) -> Any:
    """Return an option that names a column. A named column must exist, a default one may be missing."""
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
    typer.Option(
        metavar="FILE", exists=True, dir_okay=False, readable=True, help="Nodes, if SOURCE contains edges only."
    ),
]

StoreUrlOption = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="Write the graph into this store and replace its content."),
]

AcceptChanges = Annotated[
    bool,
    typer.Option("--accept-changes", help="Accept a store's graph even if it was written to while it was read."),
]


def is_store(source: str) -> bool:
    """Whether the source is the URL of a store, not the path of a file."""
    return "://" in source


def names_several_stores(source: str) -> bool:
    """Whether the source is a file that names several stores."""
    return not is_store(source) and source.endswith(".toml")


def existing_file(source: str) -> Path:
    """Return the path of an existing file. Raises BadParameter for any other."""
    path = Path(source)
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise typer.BadParameter(f"File {source!r} {what}.", param_hint="'SOURCE'")
    return path


Undirected = Annotated[bool, typer.Option("--undirected", help="Every edge leads in both directions.")]

SourceColumn = Annotated[str | None, _column("an edge's start", "source")]
TargetColumn = Annotated[str | None, _column("an edge's end", "target")]
CostColumn = Annotated[str | None, _column("an edge's cost; without one it is 1", "cost")]
IdColumn = Annotated[str | None, _column("a node's id", "id")]
DomainColumn = Annotated[str | None, _column("a node's domain", "domain")]
RegionColumn = Annotated[str | None, _column("a node's region", "region")]
