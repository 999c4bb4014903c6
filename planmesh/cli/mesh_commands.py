"""`planmesh up` and `planmesh down`."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planmesh.cli.options import DataOption, Json
from planmesh.cli.output import error_console, escape_markup, out_console, print_json
from planmesh.errors import InvalidRequest

if TYPE_CHECKING:
    from planmesh.local.options import MeshOptions
    from planmesh.local.state import MeshState


def up(
    data: DataOption = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", help="Query worker processes.  [default: one per processor, 2 to 4]"),
    ] = None,
    shards: Annotated[
        int | None, typer.Option(metavar="N", help="Queues that share the partitions.  [default: workers / 2]")
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the gateway on 127.0.0.1; 0 takes any free one.")] = 50051,
    redis: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="Use this Redis, or these, separated by commas.  [default: a private redis-server]",
            show_default=False,
        ),
    ] = "",
    redis_servers: Annotated[
        int | None,
        typer.Option(metavar="N", help="Private Redis servers that share the shards' queues.  [default: 1]"),
    ] = None,
    gateway_processes: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Processes of the gateway that share its port; 0: one per core.  [default: 1]",
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return when the mesh answers, and leave it running.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Start a mesh on this machine: separate processes, each restarted when it dies.

    Ctrl-C, or `planmesh down` from anywhere, stops all of it. Logs are in the data folder.

    Example: planmesh up --data /tmp/mesh --workers 4 --detach
    """
    from planmesh.local.options import mesh_options

    try:
        options = mesh_options(data, workers, shards, port, redis, redis_servers, gateway_processes)
    except InvalidRequest as error:
        raise typer.BadParameter(error.message) from error
    if detach:
        from planmesh.local.detach import start_detached
        from planmesh.local.kernel_stamp import kernels_are_compiled
        from planmesh.local.supervisor import WARM_NOTE

        if not kernels_are_compiled():
            error_console().print(WARM_NOTE, style="dim")
        _print_ready(options, start_detached(options), as_json=as_json)
        return
    _run_in_foreground(options, as_json=as_json)


def down(data: DataOption = None, as_json: Json = False) -> None:
    """Stop the mesh of a data folder, in order, and kill any processes that remain.

    It is not an error if none runs.

    Example: planmesh down --data /tmp/mesh
    """
    from planmesh.local.folders import DataFolder
    from planmesh.local.options import default_data
    from planmesh.local.stop import stop_mesh

    folder = DataFolder((data or default_data()).absolute())
    stopped = stop_mesh(folder)
    if as_json:
        print_json({"data": str(folder.root), "stopped": stopped})
    elif stopped:
        out_console().print(f"stopped {', '.join(stopped)}")
    else:
        out_console().print(f"no mesh runs on {escape_markup(str(folder.root))}")


def _run_in_foreground(options: MeshOptions, *, as_json: bool) -> None:
    from planmesh.local.supervisor import Supervisor

    console = error_console()

    def announce(text: str) -> None:
        console.print(escape_markup(text), style="dim")

    supervisor = Supervisor(options, announce)
    with asyncio.Runner() as runner:
        runner.run(supervisor.run(lambda state: _print_ready(options, state, as_json=as_json)))
    announce("stopped")


def _print_ready(options: MeshOptions, state: MeshState, *, as_json: bool) -> None:
    if as_json:
        print_json(ready_object(options, state))
        return
    from planmesh.local.folders import DataFolder

    shards = f"{state.shards} shard{'s' if state.shards > 1 else ''}"
    out_console().print(
        f"[bold green]ready[/] at [bold]{state.address}[/]: {state.workers} workers in {shards}, {state.redis}, "
        f"logs in {escape_markup(str(DataFolder(options.data).logs))}; "
        f"stop with Ctrl-C or `planmesh down --data {escape_markup(str(options.data))}`"
    )
    sys.stdout.flush()


def ready_object(options: MeshOptions, state: MeshState) -> dict[str, Any]:
    """Return the object that `planmesh up --json` prints when the mesh answers."""
    from planmesh.local.folders import DataFolder

    return {
        "address": state.address,
        "coordinator": state.coordinator_address,
        "partition": state.partition_address,
        "redis": state.redis,
        "data": str(options.data),
        "logs": str(DataFolder(options.data).logs),
        "workers": state.workers,
        "shards": state.shards,
        "processes": [{"name": record.name, "pid": record.pid} for record in (state.supervisor, *state.processes)],
    }
