"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
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


class DetailOption(StrEnum):
    """How much of a plan is asked for, as planmesh.client.Detail."""

    COST = "cost"
    NODES = "nodes"
    STEPS = "steps"


Detail = Annotated[
    DetailOption,
    typer.Option(
        "--detail",
        help="How much of a plan to ask for: its cost only, which takes the mesh the least work; its nodes, with the "
        "costs and partitions in a short form; or its steps.",
    ),
]

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
