"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

QUERY_TIMEOUT_S_DEFAULT: Final = 10.0
"""Time limit of a query, unless --timeout sets another."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs, not text: docs/reference/cli-json.md.")]

Address = Annotated[
    str,
    typer.Option("--address", envvar="PLANMESH_ADDRESS", metavar="HOST:PORT", help="Address of the mesh's gateway."),
]

GraphName = Annotated[str, typer.Option("--graph", metavar="NAME", help="Name of the graph.")]

Timeout = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0.001, max=86_400, help="Give up after this time.")
]

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        envvar="PLANMESH_DATA",
        help="Folder of graphs, logs and state.  [default: .planmesh]",
        file_okay=False,
    ),
]
