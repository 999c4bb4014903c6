"""The report file of a snapshot: the neighbours of each partition."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from planmesh.partition.report import PartitionReport
from planmesh.snapshot.array_file import ArrayFile, FileFacts, write_array_file

NEIGHBORS_SHOWN: Final = 32
"""Neighbours of a partition that the report keeps: those with most cross edges."""

NEIGHBOR_ARRAYS: Final = ("neighbor", "neighbor_out", "neighbor_in", "neighbor_exits", "neighbor_entries")


@dataclass(frozen=True, slots=True)
class Neighbor:
    """One neighbour of a partition, as the report file has it."""

    partition: int
    cross_edges_out: int
    cross_edges_in: int
    exits: int
    entries: int


def write_report(path: Path, outcome: PartitionReport) -> FileFacts:
    """Write the neighbours of every partition, those with most cross edges, most first."""
    partitions = len(outcome.nodes)
    rows = [outcome.strongest_neighbors(partition, NEIGHBORS_SHOWN) for partition in range(partitions)]
    first = np.zeros(partitions + 1, np.int64)
    np.cumsum([len(one) for one in rows], out=first[1:])
    chosen = np.concatenate(rows) if rows else np.zeros(0, np.int64)
    arrays = {name: getattr(outcome, name)[chosen] for name in NEIGHBOR_ARRAYS}
    return write_array_file(path, arrays | {"neighbor_first": first})


def read_neighbors(file: ArrayFile, partition: int) -> list[Neighbor]:
    """Return the neighbours that a report file has of a partition, those with most cross edges first."""
    first = file.array("neighbor_first")
    rows = range(int(first[partition]), int(first[partition + 1]))
    columns = [file.array(name) for name in NEIGHBOR_ARRAYS]
    return [Neighbor(*(int(column[row]) for column in columns)) for row in rows]
