"""`planmesh load`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

from planmesh.cli.connection import connect
from planmesh.cli.json_objects import LOAD_PHASES, load_object, load_seconds
from planmesh.cli.options import Address, GraphName, Json, Timeout
from planmesh.cli.output import error_console, escape_markup, out_console, print_json, print_table
from planmesh.cli.source_options import (
    AcceptChanges,
    CostColumn,
    DomainColumn,
    IdColumn,
    NodesFile,
    RegionColumn,
    SourceColumn,
    SourceOrStore,
    StoreUrlOption,
    TargetColumn,
    Undirected,
    existing_file,
    is_store,
    names_several_stores,
)
from planmesh.cli.store_commands import load_into_store
from planmesh.defaults import ADDRESS_DEFAULT, GRAPH_DEFAULT
from planmesh.errors import PlanmeshError

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress, TaskID

    from planmesh.client import Client, LoadReport
    from planmesh.ingest import Columns, GraphSource

LOAD_TIMEOUT_S_DEFAULT: Final = 14_400.0
"""Four hours. Ten million nodes take minutes, and waiting for a load is better than abandoning it."""

POLL_EVERY_S: Final = 0.2
"""Interval of the progress queries."""


class StrategyOption(StrEnum):
    """The strategies for partitioning."""

    DOMAIN = "domain"
    REGION = "region"
    HYBRID = "hybrid"
    HASH = "hash"
    MINCUT = "mincut"
    STREAM = "stream"


def load(
    source: SourceOrStore,
    nodes: NodesFile = None,
    strategy: Annotated[
        StrategyOption | None,
        typer.Option(help="Partitioning strategy.", show_default="domain, else region, else mincut"),
    ] = None,
    partitions: Annotated[
        int, typer.Option(min=0, max=100_000, metavar="N", help="Number of partitions; 0 lets the strategy choose.")
    ] = 0,
    undirected: Undirected = False,
    source_column: SourceColumn = None,
    target_column: TargetColumn = None,
    cost_column: CostColumn = None,
    id_column: IdColumn = None,
    domain_column: DomainColumn = None,
    region_column: RegionColumn = None,
    store: StoreUrlOption = None,
    accept_changes: AcceptChanges = False,
    graph: GraphName = GRAPH_DEFAULT,
    address: Address = ADDRESS_DEFAULT,
    timeout: Timeout = LOAD_TIMEOUT_S_DEFAULT,
    as_json: Json = False,
) -> None:
    """Load a whole graph and return when the mesh answers plans on it. Until then it serves the previous version.

    Any error in the data refuses the load, naming file, line and field. --store writes the graph to a store instead.

    To load a graph from several stores, give a .toml file that names them (docs/guides/stores-by-region.md).

    Example: planmesh load edges.tsv.gz --nodes nodes.tsv.gz --undirected --strategy domain
    """
    from planmesh.ingest import Columns

    columns = Columns.named(
        source=source_column,
        target=target_column,
        cost=cost_column,
        id=id_column,
        domain=domain_column,
        region=region_column,
    )
    opened = _open(source, nodes, columns, accept_changes=accept_changes)
    if strategy is None and store is None and names_several_stores(source):
        strategy = _strategy_of_stores(opened)
    stores = _urls_of_stores(opened) if names_several_stores(source) else {}
    if store is not None:
        _check_for_store(source, partitioned=bool(strategy or partitions))
        load_into_store(opened, store, undirected=undirected, as_json=as_json)
        return
    from planmesh.sources.client_rows import rows_to_send

    with connect(address) as client:

        def run() -> LoadReport:
            return client.load(
                rows_to_send(opened),
                graph=graph,
                strategy=strategy,
                partitions=partitions,
                undirected=undirected or opened.description.undirected,
                implicit_nodes=opened.description.implicit_nodes,
                region_stores=stores.get("region"),
                domain_stores=stores.get("domain"),
                timeout_s=timeout,
            )

        report = _with_progress(run, client, graph, opened)
    if as_json:
        print_json(load_object(report))
    else:
        print_report(report)


def _open(source: str, nodes: Path | None, columns: Columns, *, accept_changes: bool) -> GraphSource:
    """Open the source of a load: files, or a store, whose URL names its columns."""
    if names_several_stores(source):
        from planmesh.sources.several_stores import SeveralStoresSource, read_stores_file

        if nodes or columns.explicit:
            raise typer.BadParameter(
                "stores contain their own nodes, and their URLs set the property names; omit --nodes and column options"
            )
        return SeveralStoresSource(read_stores_file(existing_file(source)), accept_changes=accept_changes)
    if not is_store(source):
        from planmesh.ingest import open_source

        return open_source(existing_file(source), nodes, columns)
    from planmesh.sources.store_rows import StoreSource

    if nodes or columns.explicit:
        raise typer.BadParameter(
            "a store contains its own nodes, and its URL sets the property names; omit --nodes and column options"
        )
    return StoreSource(source, accept_changes=accept_changes)


def _check_for_store(source: str, *, partitioned: bool) -> None:
    """Refuse options that cannot be combined with --store."""
    if partitioned:
        raise typer.BadParameter("a store is not partitioned: omit --strategy and --partitions")
    if is_store(source):
        raise typer.BadParameter("to copy one store into another, use: planmesh store copy FROM TO")


def _strategy_of_stores(source: GraphSource) -> StrategyOption:
    """Return the strategy that gives each store of a graph its own partitions."""
    from planmesh.sources.several_stores import SeveralStoresSource

    assert isinstance(source, SeveralStoresSource)
    return StrategyOption(source.strategy)


def _urls_of_stores(source: GraphSource) -> dict[str, dict[str, str]]:
    """Return the URLs of a graph's stores for the catalog, by region or by domain and then by label."""
    from planmesh.sources.several_stores import SeveralStoresSource

    assert isinstance(source, SeveralStoresSource)
    return {source.strategy: source.stores}


def _with_progress(run: Callable[[], LoadReport], client: Client, graph: str, source: GraphSource) -> LoadReport:
    """Run the load in a thread, and show its progress if standard error is a terminal."""
    console = error_console()
    outcome: Future[LoadReport] = Future()

    def work() -> None:
        try:
            outcome.set_result(run())
        except BaseException as error:  # passed to the waiting thread
            outcome.set_exception(error)

    thread = threading.Thread(target=work, name="load", daemon=True)
    thread.start()
    if not console.is_terminal:
        return outcome.result()
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    bars = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*bars, console=console, transient=True) as progress:
        tasks = {phase: progress.add_task(phase, total=None, start=False, left="") for phase in LOAD_PHASES}
        while not _done(outcome):
            _show(progress, tasks, client, graph, source)
        return outcome.result()


def _done(outcome: Future[LoadReport]) -> bool:
    try:
        outcome.exception(timeout=POLL_EVERY_S)
    except TimeoutError:
        return False
    return True


def _show(progress: Progress, tasks: dict[str, TaskID], client: Client, graph: str, source: GraphSource) -> None:
    """Update the bars: for reading from the source's bytes, for all other phases from the mesh."""
    try:
        loading = client.graph(graph=graph).loading
    except PlanmeshError:
        loading = None  # the mesh does not know the graph yet; the load itself reports real errors
    current = loading.phase if loading is not None and loading.phase in LOAD_PHASES else LOAD_PHASES[0]
    position = LOAD_PHASES.index(current)
    for number, phase in enumerate(LOAD_PHASES):
        if number <= position:
            progress.start_task(tasks[phase])
        if number < position:
            progress.update(tasks[phase], total=1, completed=1, left="")
    if position == 0:
        progress.update(tasks["read"], total=source.bytes_total or None, completed=source.bytes_read)
    elif loading is not None:
        left = left_text(loading.remaining_s) if loading.remaining_s is not None else ""
        progress.update(tasks[current], total=loading.total or None, completed=loading.done, left=left)


def left_text(remaining_s: float) -> str:
    """Describe an estimate only as precisely as it is known."""
    if remaining_s < 10.0:
        return "some seconds left"
    if remaining_s < 100.0:
        return f"about {round(remaining_s / 10.0) * 10} s left"
    return f"about {round(remaining_s / 60.0)} min left"


def print_report(report: LoadReport) -> None:
    """Print the report of a load for people."""
    console = out_console()
    console.print(
        f"[bold green]loaded[/] {escape_markup(report.graph)} version {report.version}: {report.nodes:,} nodes, "
        f"{report.edges:,} edges in {report.partitions:,} partitions"
    )
    print_table(
        [("of the graph", False), ("", True)],
        [
            ("cross edges", f"{report.cross_edges:,} ({report.cross_edge_share:.2%})"),
            ("boundary nodes", f"{report.boundary_nodes:,}"),
            ("parallel edges", f"{report.parallel_edges:,}"),
            ("self-loops", f"{report.self_loops:,}"),
        ],
    )
    print_table(
        [("phase", False), ("s", True)], [(name, f"{took_s:.2f}") for name, took_s in load_seconds(report).items()]
    )
    for warning in report.warnings:
        error_console().print(f"[yellow]warning[/]: {escape_markup(warning)}")
