"""`planmesh partition improve`: a graph that is served and cuts much is tried otherwise, and loaded anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planmesh.cli.connection import connect
from planmesh.cli.json_objects import load_object, strategy_name
from planmesh.cli.load_command import LOAD_TIMEOUT_S_DEFAULT
from planmesh.cli.options import Address, GraphName, Json, Timeout
from planmesh.cli.output import error_console, escape_markup, out_console, print_json
from planmesh.defaults import ADDRESS_DEFAULT, GRAPH_DEFAULT

if TYPE_CHECKING:
    from planmesh.client import Client, Graph, GraphRows, LoadReport
    from planmesh.partition.report import Trial


def improve(
    apply: Annotated[bool, typer.Option("--apply", help="Load the graph again with the proposed strategy.")] = False,
    graph: GraphName = GRAPH_DEFAULT,
    address: Address = ADDRESS_DEFAULT,
    timeout: Timeout = LOAD_TIMEOUT_S_DEFAULT,
    as_json: Json = False,
) -> None:
    """Propose another strategy for a graph with more than 20 % of its edges between partitions.

    The command reads the graph from the mesh and tries the strategies stream and, on up to a million edges, mincut,
    with the same number of partitions. It proposes a strategy that cuts at most 0.8 of the edges cut now. With --apply
    it loads the same version again with that strategy; the mesh answers plans on the old version until then.

    Example: planmesh partition improve --graph packages --apply
    """
    from planmesh.partition.report import CROSS_EDGE_SHARE_POOR, TRIAL_BETTER_SHARE

    with connect(address) as client:
        served = client.graph(graph=graph)
        share = served.cross_edges / served.edges if served.edges else 0.0
        tried = _try_others(client, served, timeout) if share > CROSS_EDGE_SHARE_POOR else []
        best = tried[0] if tried and tried[0].cross_edge_share <= TRIAL_BETTER_SHARE * share else None
        report = _load_again(client, served, best.strategy, timeout) if apply and best is not None else None
    if as_json:
        print_json(_object(served, share, tried, best, report))
    else:
        _print(served, share, best, report)


def _try_others(client: Client, served: Graph, timeout_s: float) -> list[Trial]:
    """Read the graph from the mesh, and cut it otherwise."""
    from planmesh.measure.graph_file import read_graph
    from planmesh.partition.strategies import Strategy
    from planmesh.partition.trials import try_strategies
    from planmesh.sources.mesh_rows import MeshSource

    source = MeshSource(client.export(graph=served.name, version=served.version, timeout_s=timeout_s))
    whole = read_graph(source, undirected=False, advance=lambda _done, _total: None)
    taken = next((strategy for strategy in Strategy if strategy == strategy_name(served)), None)
    return try_strategies(whole.graph, served.partitions, taken)


def _load_again(client: Client, served: Graph, strategy: str, timeout_s: float) -> LoadReport:
    """Load the version that was tried with another strategy; Conflict when a newer one is served by then."""
    error_console().print(f"loading {escape_markup(served.name)} again, by {strategy}")
    return client.load(
        _rows(client, served, timeout_s),
        graph=served.name,
        strategy=strategy,
        partitions=served.partitions,
        implicit_nodes=True,  # ends that no row declared are nodes already
        region_stores=served.region_stores,
        domain_stores=served.domain_stores,
        timeout_s=timeout_s,
    )


def _rows(client: Client, served: Graph, timeout_s: float) -> Iterator[GraphRows]:
    from planmesh.errors import Conflict

    yield from client.export(graph=served.name, version=served.version, timeout_s=timeout_s)
    # Asked last: what is raised here ends the load, and nothing newer is overwritten.
    now = client.graph(graph=served.name).version
    if now != served.version:
        raise Conflict(
            f"graph {served.name!r} was loaded meanwhile: version {now} is served, and {served.version} was tried; "
            "improve it again",
            graph=served.name,
        )


def _object(
    served: Graph, share: float, tried: list[Trial], best: Trial | None, report: LoadReport | None
) -> dict[str, Any]:
    return {
        "graph": served.name,
        "version": served.version,
        "strategy": strategy_name(served),
        "partitions": served.partitions,
        "cross_edge_share": share,
        "tried": [
            {"strategy": one.strategy, "cross_edge_share": one.cross_edge_share, "boundary_nodes": one.boundary_nodes}
            for one in tried
        ],
        "proposed": best.strategy if best is not None else None,
        "loaded": load_object(report) if report is not None else None,
    }


def _print(served: Graph, share: float, best: Trial | None, report: LoadReport | None) -> None:
    console = out_console()
    name, now = escape_markup(served.name), f"{share:.1%} of its edges lie between partitions ({strategy_name(served)})"
    if best is None:
        console.print(f"{name}: {now}; nothing better is proposed")
    elif report is None:
        console.print(f"{name}: {now}; proposed: {best.strategy}, {best.cross_edge_share:.1%} (--apply loads it so)")
    else:
        console.print(
            f"{name}: {now}; loaded again by {best.strategy} as version {report.version}: {report.cross_edge_share:.1%}"
        )
