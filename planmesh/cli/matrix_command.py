"""`planmesh matrix`: the costs from every source to every target."""

from __future__ import annotations

import sys
from math import inf
from pathlib import Path
from typing import Annotated, Final

import typer

from planmesh.cli.connection import connect
from planmesh.cli.json_objects import matrix_object
from planmesh.cli.options import Address, AtVersion, GraphName, Json, MinVersion, Timeout
from planmesh.cli.output import cost_text, print_json, print_table
from planmesh.defaults import ADDRESS_DEFAULT, GRAPH_DEFAULT

MATRIX_TIMEOUT_S_DEFAULT: Final = 120.0
"""Time limit of a matrix, unless --timeout sets another: the largest ones take seconds."""

FILE_MARK: Final = "@"
"""What the argument starts with when the ids are in a file."""


def matrix(
    sources: Annotated[
        str,
        typer.Argument(metavar="SOURCES", help="Ids separated by commas, or @FILE with one id per line; @- is stdin."),
    ],
    targets: Annotated[str, typer.Argument(metavar="TARGETS", help="As SOURCES.")],
    min_version: MinVersion = 0,
    at_version: AtVersion = None,
    graph: GraphName = GRAPH_DEFAULT,
    address: Address = ADDRESS_DEFAULT,
    timeout: Timeout = MATRIX_TIMEOUT_S_DEFAULT,
    as_json: Json = False,
) -> None:
    """Print the cost of the cheapest path from every source to every target: 1 to 1,000 of each.

    A row for each source and a column for each target; "-" where there is no path.

    Example: planmesh matrix Lisbon,Oslo Reykjavík,Wellington,Lima

    Example: planmesh matrix @depots.txt @customers.txt --json
    """
    if sources == targets == f"{FILE_MARK}-":
        raise typer.BadParameter("expected @- for one of SOURCES and TARGETS, got it for both", param_hint="TARGETS")
    starts, goals = _ids(sources, "SOURCES"), _ids(targets, "TARGETS")
    with connect(address) as client:
        found = client.plan_matrix(
            starts, goals, graph=graph, min_version=min_version, at_version=at_version, timeout_s=timeout
        )
    if as_json:
        print_json(matrix_object(found))
        return
    print_table(
        [("", False), *((target, True) for target in found.targets)],
        [
            (source, *("-" if cost == inf else cost_text(cost) for cost in row))
            for source, row in zip(found.sources, found.rows, strict=True)
        ],
        title=f"{len(found.sources):,} x {len(found.targets):,} costs (version {found.version})",
    )


def _ids(text: str, argument: str) -> list[str]:
    """Return the ids of an argument. Blank lines of a file are skipped."""
    if not text.startswith(FILE_MARK):
        return text.split(",")
    path = text.removeprefix(FILE_MARK)
    try:
        content = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"cannot read {path}: {error}", param_hint=argument) from error
    return [line for line in content.splitlines() if line.strip()]
