"""`planmesh status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from planmesh.cli.connection import connect
from planmesh.cli.json_objects import graph_object, strategy_name, suspicion_object
from planmesh.cli.options import QUERY_TIMEOUT_S_DEFAULT, Address, DataOption, Json, Timeout
from planmesh.cli.output import cost_text, escape_markup, out_console, print_json, print_table
from planmesh.defaults import ADDRESS_DEFAULT

if TYPE_CHECKING:
    from pathlib import Path

    from planmesh.client import Graph, MeshStatus, Suspicion

COUNTERS = (
    "plans",
    "tasks",
    "task_items",
    "cache_hits",
    "cache_misses",
    "hedges",
    "retries",
    "duplicate_replies",
    "failed",
    "joined",
)


def status(
    data: DataOption = None,
    address: Address = ADDRESS_DEFAULT,
    timeout: Timeout = QUERY_TIMEOUT_S_DEFAULT,
    as_json: Json = False,
) -> None:
    """Show what is up, which graphs are served, and the counters; exit with 1 if the mesh cannot answer plans.

    Example: planmesh status --json
    """
    with connect(address) as client:
        found = client.status(timeout_s=timeout)
    processes = local_processes(data, address)
    if as_json:
        print_json(status_object(found, address, processes))
    else:
        print_status(found, address, processes)
    if not found.ready:
        raise typer.Exit(1)


def local_processes(data: Path | None, address: str) -> list[dict[str, Any]]:
    """Return the processes of the data folder's local mesh, if that is the mesh at `address`."""
    from planmesh.local.folders import DataFolder
    from planmesh.local.options import default_data
    from planmesh.local.state import read_state

    state = read_state(DataFolder((data or default_data()).absolute()))
    if state is None or state.address != address:
        return []
    return [
        {"name": record.name, "pid": record.pid, "running": record.process() is not None}
        for record in (state.supervisor, *state.processes)
    ]


def status_object(found: MeshStatus, address: str, local: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the object that `--json` prints."""
    return {
        "address": address,
        "software_version": found.software_version,
        "ready": found.ready,
        "processes": [{"name": one.name, "up": one.up, "message": one.message} for one in found.processes],
        "shards": [
            {"number": shard.number, "workers": shard.workers, "pending": shard.pending} for shard in found.shards
        ],
        "graphs": [graph_object(graph) for graph in found.graphs],
        "counters": {name: getattr(found.counters, name) for name in COUNTERS},
        "local_processes": local,
    }


def _loading_text(graph: Graph) -> str:
    if graph.loading is None:
        return ""
    return f"{graph.loading.phase} {graph.loading.done:,} of {graph.loading.total:,}"


def _state_text(graph: Graph) -> str:
    return graph.state.value if graph.suspicion is None else f"{graph.state}, SUSPECT"


def suspicion_text(graph: str, suspicion: Suspicion) -> str:
    """Explain why a graph is suspect, and what to do."""
    found = suspicion_object(graph, suspicion)
    answered, plain = (
        "no path" if cost is None else f"cost {cost_text(cost)}"
        for cost in (found["answered_cost"], found["plain_cost"])
    )
    return (
        f"graph {graph} is suspect: version {found['version']} answered {answered} from {found['start']} to "
        f"{found['goal']} (trace {found['trace_id']}), but a plain search found {plain}; run `{found['remedy']}`"
    )


def print_status(found: MeshStatus, address: str, processes: list[dict[str, Any]]) -> None:
    """Print the status for people."""
    console = out_console()
    word = "[bold green]ready[/]" if found.ready else "[bold red]not ready[/]"
    console.print(f"planmesh {found.software_version} at {address}: {word}")
    console.print()
    print_table(
        [("process", False), ("up", False), ("message", False)],
        [(process.name, "yes" if process.up else "NO", process.message) for process in found.processes],
    )
    console.print()
    print_table(
        [("shard", True), ("workers", True), ("pending", True)],
        [(str(shard.number), str(shard.workers), str(shard.pending)) for shard in found.shards],
    )
    console.print()
    if found.graphs:
        print_table(
            [
                ("graph", False),
                ("version", True),
                ("base version", True),
                ("unmerged changes", True),
                ("state", False),
                ("nodes", True),
                ("edges", True),
                ("partitions", True),
                ("strategy", False),
                ("loading", False),
            ],
            [
                (
                    graph.name,
                    str(graph.version),
                    str(graph.base_version),
                    f"{graph.unmerged_changes:,}",
                    _state_text(graph),
                    f"{graph.nodes:,}",
                    f"{graph.edges:,}",
                    f"{graph.partitions:,}",
                    strategy_name(graph),
                    _loading_text(graph),
                )
                for graph in found.graphs
            ],
        )
        for graph in found.graphs:
            if graph.suspicion is not None:
                text = escape_markup(suspicion_text(graph.name, graph.suspicion))
                console.print(f"[bold red]{text}[/]", soft_wrap=True)
    else:
        console.print("no graph is loaded; `planmesh load SOURCE` loads one")
    console.print()
    print_table(
        [("since the start", False), ("", True)],
        [(name.replace("_", " "), f"{getattr(found.counters, name):,}") for name in COUNTERS],
    )
    if processes:
        console.print()
        print_table(
            [("process", False), ("pid", True), ("running", False)],
            [(escape_markup(item["name"]), str(item["pid"]), "yes" if item["running"] else "NO") for item in processes],
        )
