"""`planmesh load FILE --store URL`, and the commands below `planmesh store`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from planmesh.cli.output import error_console, escape_markup, out_console, print_json

if TYPE_CHECKING:
    from planmesh.ingest import GraphSource


def load_into_store(source: GraphSource, url: str, *, undirected: bool, as_json: bool) -> None:
    """Write a file's graph into a store, and say what it holds then."""
    from planmesh.cli.store_rows import write_to_store

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


@contextmanager
def _bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of progress, done and total, when standard error is a terminal."""
    console = error_console()
    if not console.is_terminal:
        yield lambda _done, _total: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<10}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total or None)
