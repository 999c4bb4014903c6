"""`planmesh partition` and `planmesh partition compare`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from planmesh.cli.improve_command import improve
from planmesh.cli.options import Json
from planmesh.cli.output import error_console, escape_markup, out_console, print_json, print_table
from planmesh.cli.source_options import (
    CostColumn,
    DomainColumn,
    IdColumn,
    NodesFile,
    RegionColumn,
    SourceColumn,
    SourceFile,
    TargetColumn,
    Undirected,
)

if TYPE_CHECKING:
    from planmesh.draw.comparison_chart import Panel
    from planmesh.measure.partition_comparison import Comparison, StrategyFigures
    from planmesh.partition.edge_cuts import EdgeStrategy
    from planmesh.partition.strategies import Strategy

PLOT_FOLDER: Final = Path("build")
"""Default folder of the plot."""

SAMPLE_NODES_MIN: Final = 1_000

PAIRS_MAX: Final = 100_000

partition_app = typer.Typer(no_args_is_help=True)


@partition_app.callback()
def partition() -> None:
    """Study how a graph can be partitioned, and improve it.

    Example: planmesh partition compare edges.tsv.gz
    """


partition_app.command()(improve)


@partition_app.command()
def compare(
    source: SourceFile,
    nodes: NodesFile = None,
    partitions: Annotated[
        int, typer.Option(min=0, max=100_000, metavar="N", help="Number of partitions; 0 lets each strategy choose.")
    ] = 0,
    strategies: Annotated[
        str,
        typer.Option(metavar="A,B", help="Strategies to compare.", show_default="all that the graph has labels for"),
    ] = "",
    undirected: Undirected = False,
    source_column: SourceColumn = None,
    target_column: TargetColumn = None,
    cost_column: CostColumn = None,
    id_column: IdColumn = None,
    domain_column: DomainColumn = None,
    region_column: RegionColumn = None,
    sample_nodes: Annotated[
        int,
        typer.Option(min=SAMPLE_NODES_MIN, metavar="N", help="Index this many nodes of larger graphs and estimate."),
    ] = 300_000,
    pairs: Annotated[
        int, typer.Option(min=1, max=PAIRS_MAX, metavar="K", help="Random plans to search per strategy.")
    ] = (200),
    seed: Annotated[int, typer.Option(min=0, metavar="S", help="Seed of the pairs and the sample.")] = 1,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw the figures: .png, .svg or .pdf.",
            show_default="build/partition-<SOURCE>.png if matplotlib is installed, none with --json",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare all strategies on one graph: cut, balance, boundary, index size, and the search effort of a plan.

    For each strategy, this process partitions the graph, indexes the partitions, builds the overlay and searches random
    plans. For a graph with more than --sample-nodes nodes it does so for a run of neighbouring partitions and scales
    the sizes. Partitions of the edges (edge-hash-1d by source, edge-hash-2d by source and target) are for comparison
    only.

    Example: planmesh partition compare examples/backbone/backbone.json.gz --cost-column latency_ms --partitions 8
    """
    from planmesh.ingest import Columns, open_source
    from planmesh.measure.graph_file import read_graph
    from planmesh.measure.partition_comparison import ComparisonOptions
    from planmesh.measure.partition_comparison import compare as compare_strategies

    chosen = _strategies(strategies)
    picture = _picture(plot, source, as_json)
    columns = Columns.named(
        source=source_column,
        target=target_column,
        cost=cost_column,
        id=id_column,
        domain=domain_column,
        region=region_column,
    )
    opened = open_source(source, nodes, columns)
    options = ComparisonOptions(partitions, sample_nodes, pairs, seed)
    with _progress() as advance:
        advance("read", 0, 1)
        file_graph = read_graph(opened, undirected=undirected, advance=lambda done, of: advance("read", done, of))
        advance("compile", 0, 1)
        _compile()
        outcome = compare_strategies(file_graph, chosen, options, advance)
    if picture is not None:
        _draw(outcome, picture, source)
    if as_json:
        print_json(_object(outcome, source, options.partitions, seed, picture))
    else:
        _print(outcome, picture)


def _strategies(names: str) -> list[Strategy | EdgeStrategy]:
    """Return the requested strategies in order, or all of them if none was requested."""
    from planmesh.partition.edge_cuts import EdgeStrategy
    from planmesh.partition.strategies import Strategy

    known: dict[str, Strategy | EdgeStrategy] = {one.value: one for one in (*Strategy, *EdgeStrategy)}
    asked = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise typer.BadParameter(f"expected some of {', '.join(known)}, got {unknown[0]!r}", param_hint="--strategies")
    return [known[name] for name in asked or known]


def _picture(plot: Path | None, source: Path, as_json: bool) -> Path | None:
    """Return the plot's path: the requested one, or the default if matplotlib is installed and output is text."""
    from planmesh.draw.plan_map import FORMATS

    has_matplotlib = find_spec("matplotlib") is not None
    if plot is not None:
        if plot.suffix not in FORMATS:
            raise typer.BadParameter(f"expected a name ending in {', '.join(FORMATS)}, got {plot}", param_hint="--plot")
        if not has_matplotlib:
            raise typer.BadParameter("needs matplotlib: pip install 'planmesh[draw]'", param_hint="--plot")
        return plot
    return PLOT_FOLDER / f"partition-{source.name.split('.')[0]}.png" if has_matplotlib and not as_json else None


def _compile() -> None:
    """Load every kernel, so that the measured times exclude the compiler's."""
    from planmesh.local.warm import warm_graph, warm_search

    warm_graph()
    warm_search()


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar on standard error if that is a terminal."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = error_console()
    bars = (TextColumn("{task.description:<24}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*bars, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None)

        def advance(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total or None)

        yield advance


def _object(outcome: Comparison, source: Path, partitions: int, seed: int, picture: Path | None) -> dict[str, Any]:
    return {
        "source": str(source),
        "nodes": outcome.nodes,
        "edges": outcome.edges,
        "partitions": partitions,
        "seed": seed,
        "strategies": [figures.to_json() for figures in outcome.strategies],
        "edge_strategies": [figures.to_json() for figures in outcome.edge_strategies],
        "skipped": [{"strategy": name, "reason": reason} for name, reason in outcome.skipped.items()],
        "plot": None if picture is None else str(picture),
    }


def _print(outcome: Comparison, picture: Path | None) -> None:
    print_table(
        [
            ("strategy", False),
            *(
                (name, True)
                for name in ("partitions", "cut", "balance", "boundary", "index MB", "overlay nodes", "overlay edges")
            ),
            *((name, True) for name in ("settled", "p95", "partition s", "index s", "overlay s")),
        ],
        [_row(figures) for figures in outcome.strategies],
        title=f"{outcome.nodes:,} nodes, {outcome.edges:,} edges",
    )
    if outcome.edge_strategies:
        print_table(
            [
                ("edges, not servable", False),
                *((n, True) for n in ("partitions", "copies a node", "cut nodes", "balance")),
            ],
            [
                (
                    figures.cut.strategy.value,
                    f"{figures.cut.partitions:,}",
                    f"{figures.cut.replication_factor:.2f}",
                    f"{figures.cut_share:.1%}",
                    f"{figures.cut.balance:.2f}",
                )
                for figures in outcome.edge_strategies
            ],
        )
    notes = error_console()
    for figures in outcome.strategies:
        for warning in figures.warnings:
            notes.print(f"[yellow]{figures.strategy.value}[/]: {escape_markup(warning)}")
    for name, reason in outcome.skipped.items():
        notes.print(f"{name} was left out: {reason}")
    for line in _how_measured(outcome):
        notes.print(line)
    if picture is not None:
        out_console().print(f"plot: {escape_markup(str(picture))}")


def _row(figures: StrategyFigures) -> tuple[str, ...]:
    pipeline = figures.pipeline
    about = "" if pipeline.whole else "~"
    settled = pipeline.settled
    return (
        figures.strategy.value,
        f"{figures.partitions:,}",
        f"{figures.cross_edge_share:.2%}",
        f"{figures.balance:.2f}",
        f"{figures.boundary_share:.2%}",
        f"{about}{pipeline.index_bytes / 1e6:,.1f}",
        f"{about}{figures.overlay_nodes:,}",
        f"{about}{figures.overlay_edges:,}",
        "-" if settled is None else f"{'>' if about else ''}{settled.mean:,.0f}",
        "-" if settled is None else f"{'>' if about else ''}{settled.p95:,.0f}",
        f"{figures.partition_s:.2f}",
        f"{pipeline.index_s:.2f}",
        f"{pipeline.overlay_s:.2f}",
    )


def _how_measured(outcome: Comparison) -> list[str]:
    """Explain how the figures were measured, for each strategy whose figures are estimates."""
    lines = ["settled: nodes that the searches of a plan settle, mean over random pairs; proportional to the time"]
    for figures in outcome.strategies:
        sample = figures.pipeline
        if not sample.whole:
            lines.append(
                f"{figures.strategy.value}: {sample.sampled_partitions:,} of {figures.partitions:,} partitions with "
                f"{sample.sampled_nodes:,} nodes were indexed and sizes scaled (~); plans were searched inside this "
                f"sample, so plans on the whole graph settle more (>); {sample.connected_pairs:,} of {sample.pairs:,} "
                "pairs were connected there"
            )
    return lines


def _draw(outcome: Comparison, picture: Path, source: Path) -> None:
    from planmesh.draw.comparison_chart import draw_comparison

    rows = outcome.strategies
    whole = all(figures.pipeline.whole for figures in rows)
    draw_comparison(
        [f"{figures.strategy.value} ({figures.partitions:,})" for figures in rows],
        _panels(rows),
        picture,
        f"Partitions of {source.name}",
        f"{outcome.nodes:,} nodes, {outcome.edges:,} edges; shorter is better; in brackets the number of partitions"
        + ("" if whole else "; index, overlay and settled nodes estimated from a sample"),
    )


def _panels(rows: list[StrategyFigures]) -> list[Panel]:
    from planmesh.draw.comparison_chart import Panel

    def panel(title: str, value: Callable[[StrategyFigures], float | None], text: str) -> Panel:
        values = [value(figures) for figures in rows]
        return Panel(title, values, ["not known" if one is None else text.format(one) for one in values])

    def settled(figures: StrategyFigures) -> float | None:
        return None if figures.pipeline.settled is None else figures.pipeline.settled.mean

    return [
        panel("edges that cross partitions", lambda figures: figures.cross_edge_share, "{:.2%}"),
        panel("nodes on a boundary", lambda figures: figures.boundary_share, "{:.2%}"),
        panel("largest partition over the mean", lambda figures: figures.balance, "{:.2f}"),
        panel("index, MB", lambda figures: figures.pipeline.index_bytes / 1e6, "{:,.1f}"),
        panel("overlay edges", lambda figures: figures.overlay_edges, "{:,}"),
        panel("nodes a plan settles, mean", settled, "{:,.0f}"),
    ]
