"""Options that several commands share."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
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

MinVersion = Annotated[
    int,
    typer.Option(
        "--min-version",
        metavar="V",
        min=0,
        help="Wait until the graph has this version or a later one: that which an update printed.",
        show_default=False,
    ),
]

AtVersion = Annotated[
    int | None,
    typer.Option("--at-version", metavar="V", min=0, help="Answer on exactly this version.", show_default=False),
]

AvoidNodes = Annotated[
    list[str] | None,
    typer.Option("--avoid-node", metavar="ID", help="A node that the path must not use; repeatable."),
]

AvoidEdges = Annotated[
    list[str] | None,
    typer.Option(
        "--avoid-edge",
        metavar="A:B",
        help="An edge that the path must not use, from A to B; repeatable. "
        """Ids that contain a colon are written as JSON: '["a:1", "b"]'.""",
    ),
]

AvoidPartitions = Annotated[
    list[str] | None,
    typer.Option("--avoid-partition", metavar="NAME", help="A partition that the path must not enter; repeatable."),
]

Via = Annotated[
    list[str] | None,
    typer.Option("--via", metavar="ID", help="A node that the path must pass; repeatable, in this order."),
]

MaxCost = Annotated[
    float | None,
    typer.Option("--max-cost", metavar="COST", min=0, help="Take no path that costs more.", show_default=False),
]

Alternatives = Annotated[
    int, typer.Option("--alternatives", metavar="K", min=0, max=20, help="Show up to K further paths, cheapest first.")
]

MaxOverlap = Annotated[
    float | None,
    typer.Option(
        "--max-overlap",
        metavar="SHARE",
        min=0,
        max=1,
        help="Share of an alternative's cost, 0 to 1, that may lie on edges of any cheaper path; with 0, none.",
        show_default=False,
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


def edges_of(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Return the edges of --avoid-edge. Raises BadParameter for a text that names none."""
    return [_edge_of(text) for text in texts]


def _edge_of(text: str) -> tuple[str, str]:
    ends: object = text.split(":")
    if text.startswith("["):
        with contextlib.suppress(ValueError, RecursionError):  # an id may begin with a bracket
            ends = json.loads(text)
    if not isinstance(ends, list) or len(ends) != 2 or not all(isinstance(end, str) and end for end in ends):
        raise typer.BadParameter(
            f"""expected A:B, or '["A", "B"]' if an id contains a colon, got {text[:80]!r}""", param_hint="--avoid-edge"
        )
    return ends[0], ends[1]
