"""The program `planmesh`: its commands, and how their errors end it."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from planmesh.cli.advise_command import advise
from planmesh.cli.chaos_command import chaos
from planmesh.cli.graph_commands import generate, partitions, unload
from planmesh.cli.load_command import load
from planmesh.cli.match_command import match
from planmesh.cli.matrix_command import matrix
from planmesh.cli.measure_command import measure
from planmesh.cli.mesh_commands import down, up
from planmesh.cli.options import Json
from planmesh.cli.output import print_error, print_json
from planmesh.cli.partition_command import partition_app
from planmesh.cli.plan_commands import neighbors, plan
from planmesh.cli.reach_commands import blast, reach
from planmesh.cli.size_command import size
from planmesh.cli.status_command import status
from planmesh.cli.store_commands import make_store_app
from planmesh.cli.update_command import update
from planmesh.cli.verify_command import verify
from planmesh.errors import PlanmeshError
from planmesh.version import VERSION

FAILED = 1
"""Exit code of a failed command; typer exits with 2 on wrong usage."""


def version(as_json: Json = False) -> None:
    """Print the versions of planmesh and of Python.

    Example: planmesh version --json
    """
    python = ".".join(map(str, sys.version_info[:3]))
    if as_json:
        print_json({"planmesh": VERSION, "python": python})
    else:
        sys.stdout.write(f"planmesh {VERSION} (Python {python})\n")


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"planmesh {VERSION}\n")
        raise typer.Exit


def root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Exact cheapest paths over partitioned graphs, through a mesh of services.

    Start with `planmesh up`, then `planmesh load`, then `planmesh plan`.
    """


def make_app() -> typer.Typer:
    """Build the application with all commands."""
    app = typer.Typer(
        name="planmesh",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root)
    for command in (
        up,
        down,
        status,
        load,
        update,
        unload,
        partitions,
        plan,
        matrix,
        neighbors,
        reach,
        blast,
        match,
        measure,
        verify,
        chaos,
        advise,
        size,
        generate,
        version,
    ):
        app.command()(command)
    app.add_typer(partition_app, name="partition")
    app.add_typer(make_store_app(), name="store")
    return app


def main() -> None:
    """Run the command line. Expected errors print a message and exit with 1, without a traceback."""
    try:
        make_app()(prog_name="planmesh")
    except PlanmeshError as error:
        print_error(error, as_json="--json" in sys.argv[1:])
        sys.exit(FAILED)
    except BrokenPipeError:
        # The reader of our output has exited, as `head` does. Otherwise Python would report the error again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
