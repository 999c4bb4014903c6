"""`planmesh reach` and `planmesh blast`."""

from __future__ import annotations

from math import isinf
from typing import TYPE_CHECKING, Annotated, Final

import typer

from planmesh.cli.connection import connect
from planmesh.cli.json_objects import blast_object, reach_object
from planmesh.cli.options import (
    Address,
    AtVersion,
    AvoidEdges,
    AvoidNodes,
    AvoidPartitions,
    GraphName,
    Json,
    MinVersion,
    Timeout,
    edges_of,
)
from planmesh.cli.output import cost_text, print_json, print_table
from planmesh.defaults import ADDRESS_DEFAULT, GRAPH_DEFAULT

if TYPE_CHECKING:
    from planmesh.client import BlastRadius, Reachable

REACH_TIMEOUT_S_DEFAULT: Final = 60.0
"""Time limit, unless --timeout sets another."""

MaxHits = Annotated[
    int, typer.Option("--max", metavar="N", min=1, max=1_000_000, help="Refuse to list more nodes than this.")
]


def reach(
    node: Annotated[str, typer.Argument(metavar="NODE", help="Id of the node.")],
    within: Annotated[
        float | None,
        typer.Option("--within", metavar="COST", min=0, help="Greatest cost of a path.", show_default=False),
    ] = None,
    upstream: Annotated[
        bool, typer.Option("--upstream", help="Nodes from which paths lead to NODE, not those that it leads to.")
    ] = False,
    counts: Annotated[bool, typer.Option("--counts", help="Count the nodes of each partition.")] = False,
    paths: Annotated[bool, typer.Option("--paths", help="Show a cheapest path for each node.")] = False,
    max_hits: MaxHits = 10_000,
    min_version: MinVersion = 0,
    at_version: AtVersion = None,
    avoid_node: AvoidNodes = None,
    avoid_edge: AvoidEdges = None,
    avoid_partition: AvoidPartitions = None,
    graph: GraphName = GRAPH_DEFAULT,
    address: Address = ADDRESS_DEFAULT,
    timeout: Timeout = REACH_TIMEOUT_S_DEFAULT,
    as_json: Json = False,
) -> None:
    """List every node that NODE reaches, or that reaches it, with the cost of its cheapest path.

    Example: planmesh reach db.orders --upstream --within 20

    Example: planmesh reach web.frontend --counts
    """
    if counts and paths:
        raise typer.BadParameter("expected --counts or --paths, got both", param_hint="--paths")
    with connect(address) as client:
        found = client.reachable(
            node,
            direction="in" if upstream else "out",
            max_cost=within,
            max_hits=max_hits,
            counts_only=counts,
            graph=graph,
            min_version=min_version,
            at_version=at_version,
            avoid_nodes=avoid_node or [],
            avoid_edges=edges_of(avoid_edge or []),
            avoid_partitions=avoid_partition or [],
            timeout_s=timeout,
        )
    if as_json:
        print_json(reach_object(found))
    else:
        _print_reach(found, counts=counts, paths=paths, upstream=upstream)


def blast(
    nodes: Annotated[list[str] | None, typer.Argument(metavar="[NODE]...", help="Ids of the nodes that fail.")] = None,
    edge: Annotated[
        list[str] | None, typer.Option("--edge", metavar="A:B", help="An edge that fails; repeatable.")
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--source",
            metavar="ID",
            help="A node whose paths are judged; repeatable.  [default: the nodes with an edge to what fails]",
        ),
    ] = None,
    growth: Annotated[
        float | None,
        typer.Option(
            "--growth",
            metavar="FACTOR",
            min=1,
            help="List also nodes whose least cost grows by more than this factor.",
            show_default=False,
        ),
    ] = None,
    within: Annotated[
        float | None,
        typer.Option(
            "--within", metavar="COST", min=0, help="Judge only paths that cost at most this.", show_default=False
        ),
    ] = None,
    max_hits: MaxHits = 100_000,
    min_version: MinVersion = 0,
    at_version: AtVersion = None,
    graph: GraphName = GRAPH_DEFAULT,
    address: Address = ADDRESS_DEFAULT,
    timeout: Timeout = REACH_TIMEOUT_S_DEFAULT,
    as_json: Json = False,
) -> None:
    """List the nodes that lose all their paths when nodes and edges fail. Nothing is changed.

    Example: planmesh blast London Amsterdam --growth 1.5

    Example: planmesh blast --edge Lisbon:Madrid --source Porto
    """
    if not nodes and not edge:
        raise typer.BadParameter("expected a NODE or --edge A:B that fails, got neither", param_hint="NODE")
    with connect(address) as client:
        found = client.blast_radius(
            nodes or [],
            edges_of(edge or []),
            sources=source or [],
            min_growth=growth,
            max_cost=within,
            max_hits=max_hits,
            graph=graph,
            min_version=min_version,
            at_version=at_version,
            timeout_s=timeout,
        )
    if as_json:
        print_json(blast_object(found))
    else:
        _print_blast(found)


def _print_reach(found: Reachable, *, counts: bool, paths: bool, upstream: bool) -> None:
    what = "reach" if upstream else "are reached from"
    title = f"{found.total:,} nodes {what} {found.node} (version {found.version})"
    if counts:
        print_table(
            [("nodes", True), ("least cost", True), ("partition", False)],
            [(f"{one.hits:,}", cost_text(one.cost), one.partition) for one in found.partitions],
            title=title,
        )
        return
    columns = [("cost", True), ("node", False), ("partition", False)]
    rows: list[tuple[str, ...]] = [(cost_text(hit.cost), hit.node, hit.partition) for hit in found.hits]
    if paths:
        columns.append(("path", False))
        shown = [found.path(hit.node) for hit in found.hits]
        rows = [
            (*row, " → ".join(reversed(nodes) if upstream else nodes)) for row, nodes in zip(rows, shown, strict=True)
        ]
    print_table(columns, rows, title=title)


def _print_blast(found: BlastRadius) -> None:
    print_table(
        [("before", True), ("after", True), ("node", False), ("partition", False), ("from", False)],
        [
            (
                cost_text(one.cost_before),
                "lost" if isinf(one.cost_after) else cost_text(one.cost_after),
                one.node,
                one.partition,
                one.source,
            )
            for one in found.affected
        ],
        title=f"{found.lost:,} lost, {found.dearer:,} dearer, judged from {len(found.sources)} "
        f"node{'' if len(found.sources) == 1 else 's'} (version {found.version})",
    )
