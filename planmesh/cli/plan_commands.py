"""`planmesh plan` and `planmesh neighbors`."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planmesh.cli.connection import connect
from planmesh.cli.json_objects import neighbors_object
from planmesh.cli.options import (
    QUERY_TIMEOUT_S_DEFAULT,
    Address,
    Alternatives,
    AtVersion,
    AvoidEdges,
    AvoidNodes,
    AvoidPartitions,
    Detail,
    DetailOption,
    GraphName,
    Json,
    MaxCost,
    MaxOverlap,
    MinVersion,
    Timeout,
    Via,
    edges_of,
)
from planmesh.cli.output import cost_text, print_json, print_table
from planmesh.defaults import ADDRESS_DEFAULT, GRAPH_DEFAULT

if TYPE_CHECKING:
    from planmesh.client import Neighbors


class DirectionOption(StrEnum):
    """Directions in which edges are followed."""

    OUT = "out"
    IN = "in"
    BOTH = "both"


def plan(
    start: Annotated[str | None, typer.Argument(metavar="START", help="Id of the node to start from.")] = None,
    goal: Annotated[str | None, typer.Argument(metavar="GOAL", help="Id of the node to reach.")] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Answer every pair of this file instead: START, a tab and GOAL per line; - is standard input.",
            show_default=False,
        ),
    ] = None,
    detail: Detail = DetailOption.STEPS,
    explain: Annotated[bool, typer.Option("--explain", help="Show how the answer was found.")] = False,
    cache: Annotated[bool, typer.Option("--cache/--no-cache", help="Whether answers may come from caches.")] = True,
    min_version: MinVersion = 0,
    at_version: AtVersion = None,
    avoid_node: AvoidNodes = None,
    avoid_edge: AvoidEdges = None,
    avoid_partition: AvoidPartitions = None,
    via: Via = None,
    max_cost: MaxCost = None,
    alternatives: Alternatives = 0,
    max_overlap: MaxOverlap = None,
    graph: GraphName = GRAPH_DEFAULT,
    address: Address = ADDRESS_DEFAULT,
    timeout: Timeout = QUERY_TIMEOUT_S_DEFAULT,
    as_json: Json = False,
) -> None:
    r"""Print the cheapest path from START to GOAL, or one JSON line for each pair of a file, in order.

    A batch exits with 1 if a pair failed; "no path" is an answer, not a failure.

    Example: planmesh plan Reykjavík Wellington --explain

    Example: planmesh plan Reykjavík Wellington --detail cost --avoid-node Oslo --avoid-edge London:Paris

    Example: planmesh plan Reykjavík Wellington --alternatives 3 --max-overlap 0

    Example: printf 'a\tb\nb\ta\n' | planmesh plan --pairs -
    """
    options: dict[str, Any] = {
        "detail": detail.value,
        "explain": explain,
        "bypass_cache": not cache,
        "min_version": min_version,
        "at_version": at_version,
        "avoid_nodes": avoid_node or [],
        "avoid_edges": edges_of(avoid_edge or []),
        "avoid_partitions": avoid_partition or [],
        "via": via or [],
        "max_cost": max_cost,
        "alternatives": alternatives,
        "max_overlap": max_overlap,
    }
    if pairs is not None:
        if start is not None or goal is not None:
            raise typer.BadParameter("expected either START and GOAL, or --pairs FILE", param_hint="--pairs")
        from planmesh.cli.plan_batch import print_plans

        with _open_pairs(pairs) as lines:
            answered = asyncio.run(print_plans(lines, str(pairs), address, graph, timeout, options))
        raise typer.Exit(0 if answered else 1)
    if start is None or goal is None:
        raise typer.BadParameter("expected START and GOAL, or --pairs FILE", param_hint="START GOAL")
    from planmesh.cli.json_objects import plan_object
    from planmesh.cli.plan_text import print_explanation, print_plan

    with connect(address) as client:
        found = client.plan(start, goal, graph=graph, timeout_s=timeout, **options)
    if as_json:
        print_json(plan_object(found))
        return
    print_plan(found)
    if found.explanation is not None:
        print_explanation(found.explanation)


def neighbors(
    node: Annotated[str, typer.Argument(metavar="NODE", help="Id of the node.")],
    depth: Annotated[int, typer.Option(min=1, max=5, metavar="N", help="Number of edges to follow, 1 to 5.")] = 1,
    direction: Annotated[
        DirectionOption, typer.Option(help="Direction in which edges are followed.")
    ] = DirectionOption.OUT,
    max_neighbors: Annotated[
        int, typer.Option("--max", min=1, max=100_000, metavar="N", help="Refuse to list more than this.")
    ] = 10_000,
    min_version: MinVersion = 0,
    at_version: AtVersion = None,
    graph: GraphName = GRAPH_DEFAULT,
    address: Address = ADDRESS_DEFAULT,
    timeout: Timeout = QUERY_TIMEOUT_S_DEFAULT,
    as_json: Json = False,
) -> None:
    """List every node within --depth edges of NODE, with the fewest hops and the cheapest cost to each.

    Example: planmesh neighbors Lisbon --depth 2 --direction both
    """
    with connect(address) as client:
        found = client.neighbors(
            node,
            depth=depth,
            direction=direction.value,
            max_neighbors=max_neighbors,
            graph=graph,
            min_version=min_version,
            at_version=at_version,
            timeout_s=timeout,
        )
    if as_json:
        print_json(neighbors_object(found, depth, direction.value))
    else:
        _print_neighbors(found)


def _print_neighbors(found: Neighbors) -> None:
    print_table(
        [("hops", True), ("cost", True), ("node", False), ("partition", False)],
        [(str(other.hops), cost_text(other.cost), other.node, other.partition) for other in found.neighbors],
        title=f"{len(found.neighbors):,} neighbours of {found.node} (version {found.version})",
    )


@contextlib.contextmanager
def _open_pairs(path: Path) -> Iterator[Iterator[str]]:
    if str(path) == "-":
        yield iter(sys.stdin)
        return
    try:
        file = path.open(encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"cannot read {path}: {error.strerror}", param_hint="--pairs") from error
    with file:
        yield iter(file)
