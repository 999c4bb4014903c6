"""`planmesh load FILE --store URL`, and the commands below `planmesh store`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from planmesh.cli.options import Json
from planmesh.cli.output import error_console, escape_markup, out_console, print_json, print_table

if TYPE_CHECKING:
    from planmesh.ingest import GraphSource


def load_into_store(source: GraphSource, url: str, *, undirected: bool, as_json: bool) -> None:
    """Write a file's graph into a store, and say what it holds then."""
    from planmesh.sources.store_rows import write_to_store

    with _bar("stored") as show:
        written = asyncio.run(
            write_to_store(
                source,
                url,
                undirected=undirected or source.description.undirected,
                show=lambda read: show(read.bytes_read, read.bytes_total),
            )
        )
    if as_json:
        print_json(
            {
                "store": written.store,
                "nodes": written.counts.nodes,
                "edges": written.counts.edges,
                "parallel_edges": written.rows - written.counts.edges,
                "revision": written.revision,
                "seconds": round(written.seconds, 6),
            }
        )
        return
    out_console().print(
        f"[bold green]stored[/] {written.counts.nodes:,} nodes, {written.counts.edges:,} edges in "
        f"{escape_markup(written.store)} ({written.seconds:.1f} s)"
    )


class _Show(Protocol):
    """Shows how far something is."""

    def __call__(self, done: int, total: int, step: str = "") -> None:
        """Show so much of so much, and the step that it belongs to."""
        ...


def _show_nothing(done: int, total: int, step: str = "") -> None:
    """Show nothing, where nobody looks."""


@contextmanager
def _bar(name: str) -> Iterator[_Show]:
    """A bar of progress when standard error is a terminal."""
    console = error_console()
    if not console.is_terminal:
        yield _show_nothing
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<10}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(name, total=None)

        def show(done: int, total: int, step: str = "") -> None:
            progress.update(task, completed=done, total=total or None, description=step or name)

        yield show


def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="URL of the store that is read.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="URL of the store whose graph is replaced.")],
    work: Annotated[
        Path, typer.Option("--work", metavar="DIR", help="Folder for intermediate files; removed on success.")
    ] = Path(".planmesh-copy"),
    as_json: Json = False,
) -> None:
    """Copy the graph of one store into another, and compare both by counts and a content hash.

    After an interruption, run the same command: it does not read the first store again.

    Example: planmesh store copy neo4j://db.example:7687?password_file=secret sqlite:///graph.db
    """
    from planmesh.store.copy import copy_graph

    with _bar("read") as show:
        report = asyncio.run(copy_graph(source, target, work, lambda step, done, total: show(done, total, step)))
    with suppress(OSError):  # it stays while it has other copies in it
        work.rmdir()
    if as_json:
        print_json(asdict(report))
        return
    out_console().print(
        f"[bold green]copied[/] {report.nodes:,} nodes, {report.edges:,} edges from {escape_markup(report.source)} "
        f"to {escape_markup(report.target)} in {report.seconds:.1f} s; hash {report.content_hash}"
        + (", read before" if report.resumed else "")
    )


def make_store_app() -> typer.Typer:
    """The commands below `planmesh store`."""
    app = typer.Typer(no_args_is_help=True, help="Graphs in databases.")
    app.command("copy")(copy)
    app.command("check")(check)
    return app


def check(
    url: Annotated[str, typer.Argument(metavar="URL", help="URL of a store.")],
    as_json: Json = False,
) -> None:
    """Show whether a store answers, its server, capabilities and size.

    Example: planmesh store check redis://127.0.0.1:6379/0?graph=prod
    """
    answer = asyncio.run(_look(url))
    if as_json:
        print_json(answer)
        return
    print_table([("of the store", False), ("", False)], [(name, str(value)) for name, value in answer.items()])


async def _look(url: str) -> dict[str, Any]:
    from planmesh.store.urls import open_store

    store = await open_store(url)
    try:
        health, counts, revision = await store.health(), await store.counts(), await store.revision()
    finally:
        await store.close()
    traits = asdict(store.traits)
    return {
        "store": store.url,
        "server": health.server,
        "latency_ms": round(health.latency_s * 1000, 3),
        "nodes": counts.nodes,
        "edges": counts.edges,
        "revision": revision,
        **{name: traits[name] for name in ("consistent_reads", "atomic_batches", "atomic_replacement", "patterns")},
    }
