"""`planmesh partitions`, `planmesh unload` and `planmesh generate`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planmesh.cli.connection import connect
from planmesh.cli.json_objects import partition_object
from planmesh.cli.options import QUERY_TIMEOUT_S_DEFAULT, Address, GraphName, Json, Timeout
from planmesh.cli.output import escape_markup, out_console, print_json, print_table
from planmesh.defaults import ADDRESS_DEFAULT, GRAPH_DEFAULT

if TYPE_CHECKING:
    from planmesh.client import Partition


class GeneratorOption(StrEnum):
    """Which synthetic graph."""

    SERVICE = "service"
    GRID = "grid"


NEIGHBORS_SHOWN = 4
"""Neighbours of a partition in the table; --json has them all."""


def partitions(
    graph: GraphName = GRAPH_DEFAULT,
    address: Address = ADDRESS_DEFAULT,
    timeout: Timeout = QUERY_TIMEOUT_S_DEFAULT,
    as_json: Json = False,
) -> None:
    """List the partitions: size, internal and cross edges, entries and exits, index size, neighbours.

    Example: planmesh partitions --graph packages
    """
    with connect(address) as client:
        version = client.graph(graph=graph, timeout_s=timeout).version
        listed = client.partitions(graph=graph, timeout_s=timeout)
    if as_json:
        print_json({"graph": graph, "version": version, "partitions": [partition_object(item) for item in listed]})
        return
    stored = any(item.stores for item in listed)
    print_table(
        [
            ("partition", False),
            ("shard", True),
            ("nodes", True),
            ("edges inside", True),
            ("cross out", True),
            ("cross in", True),
            ("entries", True),
            ("exits", True),
            ("core", True),
            ("index bytes", True),
            ("neighbours (entries/exits)", False),
            *([("stores", False)] if stored else []),
        ],
        [(*_row(item), *([", ".join(item.stores)] if stored else [])) for item in listed],
        title=f"{len(listed):,} partitions of {graph}, version {version}",
    )


def _row(item: Partition) -> tuple[str, ...]:
    shown = [f"{other.name} {other.entries}/{other.exits}" for other in item.neighbors[:NEIGHBORS_SHOWN]]
    further = len(item.neighbors) - len(shown)
    return (
        item.name,
        str(item.shard),
        f"{item.nodes:,}",
        f"{item.internal_edges:,}",
        f"{item.cross_edges_out:,}",
        f"{item.cross_edges_in:,}",
        f"{item.entries:,}",
        f"{item.exits:,}",
        f"{item.core_nodes:,}",
        f"{item.index_bytes:,}",
        ", ".join(shown) + (f", {further} more" if further > 0 else ""),
    )


def unload(
    graph: Annotated[str, typer.Option("--graph", metavar="NAME", help="Name of the graph; required.")],
    address: Address = ADDRESS_DEFAULT,
    timeout: Timeout = QUERY_TIMEOUT_S_DEFAULT,
    as_json: Json = False,
) -> None:
    """Stop serving a graph and delete its data.

    Example: planmesh unload --graph packages
    """
    with connect(address) as client:
        client.unload(graph=graph, timeout_s=timeout)
    if as_json:
        print_json({"graph": graph, "unloaded": True})
    else:
        out_console().print(f"unloaded {escape_markup(graph)}")


def generate(
    kind: Annotated[GeneratorOption, typer.Argument(help="service: domains in regions; grid: a street-like square.")],
    nodes: Annotated[int, typer.Option(min=1, max=100_000_000, metavar="N", help="Approximate number of nodes.")],
    out: Annotated[
        Path,
        typer.Option(metavar="FILE", help="File of edges: .csv, .tsv (.gz), .parquet, or .json; nodes go beside it."),
    ],
    seed: Annotated[int, typer.Option(min=0, metavar="S", help="The same seed gives the same graph.")] = 1,
    stray: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the edges of `service` that lead to any node.")
    ] = 0.002,
    as_json: Json = False,
) -> None:
    """Write a synthetic graph for tests and benchmarks.

    Example: planmesh generate service --nodes 100000 --out service.tsv.gz
    """
    from planmesh.graph.generate import grid, service
    from planmesh.ingest import write_generated

    generated = service(nodes, seed, stray) if kind is GeneratorOption.SERVICE else grid(nodes, seed)
    written = write_generated(generated, out)
    files = [str(file) for file in written.files]
    if as_json:
        print_json(
            {
                "kind": kind.value,
                "nodes": generated.nodes,
                "edges": written.edges,
                "seed": seed,
                "files": files,
            }
        )
    else:
        names = escape_markup(", ".join(files))
        out_console().print(f"{generated.nodes:,} nodes and {written.edges:,} edges in {names}")
