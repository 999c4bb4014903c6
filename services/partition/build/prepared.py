"""What is known of a graph after the partition phase, small enough for a journal; its arrays are in files."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict

from planmesh.partition.report import PartitionReport
from planmesh.snapshot.array_file import FileFacts

PREPARED_NAME: Final = "prepared.json"
"""Where a child process leaves it, in the build's folder."""


class PreparedPartition(BaseModel):
    """One partition's counts; see PartitionReport."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    nodes: int
    internal_edges: int
    cross_edges_out: int
    cross_edges_in: int
    entries: int
    exits: int


class PreparedGraph(BaseModel):
    """The outcome of the partition phase. `input`, `directory` and `report` are the files that it wrote."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    node_count: int
    edge_count: int
    parallel_edges: int
    self_loops: int
    cross_edges: int
    boundary_nodes: int
    strategy: str
    partitions: list[PreparedPartition]
    warnings: list[str]
    input: FileFacts
    directory: FileFacts
    report: FileFacts


def prepared_partitions(names: list[str], outcome: PartitionReport) -> list[PreparedPartition]:
    """Return the counts of a report, partition by partition."""
    columns = (
        names,
        outcome.nodes.tolist(),
        outcome.internal_edges.tolist(),
        outcome.cross_edges_out.tolist(),
        outcome.cross_edges_in.tolist(),
        outcome.entries.tolist(),
        outcome.exits.tolist(),
    )
    return [
        PreparedPartition(
            name=name,
            nodes=nodes,
            internal_edges=internal,
            cross_edges_out=cross_out,
            cross_edges_in=cross_in,
            entries=entries,
            exits=exits,
        )
        for name, nodes, internal, cross_out, cross_in, entries, exits in zip(*columns, strict=True)
    ]
