"""`planmesh match`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planmesh.cli.connection import connect
from planmesh.cli.json_objects import match_object
from planmesh.cli.options import QUERY_TIMEOUT_S_DEFAULT, Address, GraphName, Json, Timeout
from planmesh.cli.output import print_json, print_table
from planmesh.defaults import ADDRESS_DEFAULT, GRAPH_DEFAULT

if TYPE_CHECKING:
    from planmesh.client import PatternRows


def match(
    query: Annotated[
        str,
        typer.Argument(metavar="QUERY", help="The pattern, in the store's language; - reads it from standard input."),
    ],
    texts: Annotated[
        list[str] | None, typer.Option("--arg", metavar="NAME=TEXT", help="A string parameter; repeatable.")
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option("--argjson", metavar="NAME=JSON", help="A parameter of any other JSON type; repeatable."),
    ] = None,
    max_rows: Annotated[
        int, typer.Option("--max", min=1, max=10_000, metavar="N", help="Refuse to print more rows than this.")
    ] = 1_000,
    graph: GraphName = GRAPH_DEFAULT,
    address: Address = ADDRESS_DEFAULT,
    timeout: Timeout = QUERY_TIMEOUT_S_DEFAULT,
    as_json: Json = False,
) -> None:
    """Run a pattern query in the database that holds a graph: Cypher for Neo4j. The database enforces read-only.

    The setting PLANMESH_STORES names the database. Pass values as parameters ($name), never as part of QUERY.

    Example: planmesh match 'MATCH (n:Node {id: $id})-[:EDGE]->(m) RETURN m.id' --arg id=web.frontend

    Example: planmesh match 'MATCH ()-[e:EDGE]->() WHERE e.cost > $least RETURN count(e)' --argjson least=10 --json
    """
    parameters = {**dict(_named(text, "--arg") for text in texts or ()), **dict(_parsed(text) for text in values or ())}
    if len(parameters) < len(texts or ()) + len(values or ()):
        raise typer.BadParameter("expected each name once", param_hint="--arg, --argjson")
    asked = sys.stdin.read() if query == "-" else query
    with connect(address) as client:
        found = client.match_pattern(asked, parameters, max_rows=max_rows, graph=graph, timeout_s=timeout)
    if as_json:
        print_json(match_object(found))
    else:
        _print_rows(found)


def _named(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"expected NAME=…, got {text[:40]!r}", param_hint=option)
    return name, value


def _parsed(text: str) -> tuple[str, Any]:
    name, value = _named(text, "--argjson")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(
            f"{name}: expected JSON, got {value[:40]!r} ({error}); use --arg for strings", param_hint="--argjson"
        ) from error


def _print_rows(found: PatternRows) -> None:
    print_table(
        [(column, False) for column in found.columns],
        [[_cell(value) for value in row] for row in found.rows],
        title=f"{len(found.rows):,} rows of {found.graph}, from {found.store}",
    )


def _cell(value: object) -> str:
    """A text on one line as it is, anything else as JSON, so that a cell stays a cell."""
    if isinstance(value, str) and value.isprintable():
        return value
    return json.dumps(value, ensure_ascii=False)
