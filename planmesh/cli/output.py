"""Output of the commands: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from planmesh.errors import PlanmeshError


def out_console() -> Console:
    """Return the console for results. Rich omits colours if the output is piped or NO_COLOR is set."""
    return Console(highlight=False, soft_wrap=True)


def error_console() -> Console:
    """Return the console for progress, notes and errors."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: object) -> None:
    """Print one line of JSON. Raises ValueError for inf and nan, which JSON lacks and planmesh never prints."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def error_object(error: PlanmeshError) -> dict[str, Any]:
    """Return `{code, reason, message, metadata}` of an error, as it would travel on the wire."""
    from planmesh.rpc.status import code_of, reason_of

    return {
        "code": code_of(error).name,
        "reason": reason_of(error),
        "message": error.message,
        "metadata": error.metadata,
    }


def print_error(error: PlanmeshError, *, as_json: bool) -> None:
    """Print an expected error: one line for people, or one object for programs."""
    if as_json:
        print_json({"error": error_object(error)})
    else:
        error_console().print(f"[bold red]error[/]: {escape_markup(error.message)}")


def escape_markup(text: str) -> str:
    """Escape text so that Rich prints it unchanged."""
    return text.replace("[", "\\[")


def print_table(columns: Sequence[tuple[str, bool]], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Print a table. `columns` has their names, and whether their values are numbers.

    When piped, prints lines of tab-separated values, which other programs can split reliably.
    """
    console = out_console()
    if not console.is_terminal:
        sys.stdout.write("\t".join(name for name, _ in columns) + "\n")
        sys.stdout.writelines("\t".join(row) + "\n" for row in rows)
        return
    table = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for name, numeric in columns:
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape_markup(cell) for cell in row))
    console.print(table)


def cost_text(cost: float) -> str:
    """Format a cost for people: whole numbers without a point, others with up to six decimals."""
    return f"{cost:,.0f}" if cost == int(cost) and abs(cost) < 1e15 else f"{cost:,.6f}".rstrip("0").rstrip(".")
