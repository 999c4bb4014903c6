"""`planmesh update`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from planmesh.cli.connection import connect
from planmesh.cli.options import Address, GraphName, Json, Timeout
from planmesh.cli.output import error_console, escape_markup, out_console, print_json
from planmesh.cli.update_lines import ChangeFile, named_lines
from planmesh.defaults import ADDRESS_DEFAULT, GRAPH_DEFAULT
from planmesh.errors import PlanmeshError, restore

if TYPE_CHECKING:
    from collections.abc import Callable

CHANGES_PER_BATCH_MAX: Final = 10_000
"""As the client's bound of the same name, which a test compares; here, because help must not import the client."""

UPDATE_TIMEOUT_S_DEFAULT: Final = 60.0
"""For each batch; the gateway allows no more."""


def update(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Changes as JSON lines (.gz: compressed); - is standard input.")
    ],
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=CHANGES_PER_BATCH_MAX,
            metavar="N",
            help="Apply every N changes by themselves; without it, all changes are applied together or none is.",
            show_default=False,
        ),
    ] = None,
    if_version: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="V", help="Apply the first batch only if this is the graph's version.", show_default=False
        ),
    ] = None,
    key: Annotated[
        str,
        typer.Option(
            metavar="KEY",
            help="Idempotency key: a second run with it applies nothing twice. With --batch: KEY-1, KEY-2…",
            show_default=False,
        ),
    ] = "",
    ignore_missing: Annotated[
        bool, typer.Option("--ignore-missing", help="Let deletions name what does not exist.")
    ] = False,
    graph: GraphName = GRAPH_DEFAULT,
    address: Address = ADDRESS_DEFAULT,
    timeout: Timeout = UPDATE_TIMEOUT_S_DEFAULT,
    as_json: Json = False,
) -> None:
    r"""Change a served graph: each line of FILE is an object with the name of an op and its fields.

    The ops are upsert_node (id, domain, region, state, attributes), delete_node (id), upsert_edge (source, target, cost
    or cost_factor, attributes) and delete_edge (source, target). A bad line refuses its batch, naming line and field;
    earlier batches stay applied. --timeout is for each batch.

    Example: planmesh update changes.jsonl --batch 1000 --key nightly-17

    Example: echo '{"op": "upsert_node", "id": "db.orders", "state": "down"}' | planmesh update -
    """
    applied = batches = version = 0
    with ChangeFile(file) as opened, connect(address) as client, _progress(opened) as show:
        try:
            for found in opened.batches(batch or CHANGES_PER_BATCH_MAX, several=batch is not None):
                with named_lines(opened.name, found):
                    result = client.update_graph(
                        found.changes,
                        graph=graph,
                        if_version=if_version if batches == 0 else None,
                        key=f"{key}-{batches + 1}" if key and batch else key,
                        ignore_missing=ignore_missing,
                        timeout_s=timeout,
                    )
                applied, batches, version = applied + result.applied, batches + 1, result.version
                show(applied)
        except PlanmeshError as error:
            if batches:
                raise _after_batches(error, batches, version) from error
            raise
    if as_json:
        print_json({"graph": graph, "version": version, "applied": applied, "batches": batches})
        return
    out_console().print(
        f"[bold green]applied[/] {_counted(applied, 'change')} to {escape_markup(graph)} in "
        f"{_counted(batches, 'batch', 'batches')}: version {version}"
    )


def _after_batches(error: PlanmeshError, batches: int, version: int) -> PlanmeshError:
    """Return the error of a batch after others were applied, with their number and the version of the last."""
    done = f"{_counted(batches, 'earlier batch', 'earlier batches')} stayed applied, up to version {version}"
    found = restore(type(error), f"{error.message}; {done}")
    found.__dict__.update({name: value for name, value in vars(error).items() if name != "message"})
    found.metadata = {**error.metadata, "batches": str(batches), "version": error.metadata.get("version", str(version))}
    return found


def _counted(count: int, one: str, more: str = "") -> str:
    return f"{count:,} {one if count == 1 else more or one + 's'}"


@contextmanager
def _progress(opened: ChangeFile) -> Iterator[Callable[[int], None]]:
    """Yield a function that shows how many changes are applied, if standard error is a terminal."""
    console = error_console()
    if not console.is_terminal:
        yield lambda _: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bars = (TextColumn("update"), BarColumn(), TextColumn("{task.fields[applied]:,} changes"), TimeElapsedColumn())
    with Progress(*bars, console=console, transient=True) as progress:
        task = progress.add_task("update", total=opened.bytes_total or None, applied=0)
        yield lambda applied: progress.update(task, completed=opened.bytes_read, applied=applied)
