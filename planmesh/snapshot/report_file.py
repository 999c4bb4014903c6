"""The report file of a snapshot: the neighbours of each partition."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from planmesh.partition.report import PartitionReport
from planmesh.snapshot.array_file import ArrayFile, FileFacts, write_array_file

NEIGHBORS_SHOWN: Final = 32
"""Most neighbours of a partition that the report keeps: those with the most cross edges."""

NEIGHBOR_ARRAYS: Final = ("neighbor", "neighbor_out", "neighbor_in", "neighbor_exits", "neighbor_entries")


@dataclass(frozen=True, slots=True)
class Neighbor:
    """One neighbour of a partition in the report file.

    `cross_edges_out` edges lead to it from `exits` nodes of the partition, `cross_edges_in` edges arrive from it at
    `entries` nodes.
    """

    partition: int
    cross_edges_out: int
    cross_edges_in: int
    exits: int
    entries: int


def write_report(path: Path, outcome: PartitionReport) -> FileFacts:
    """Write up to NEIGHBORS_SHOWN neighbours of every partition, those with the most cross edges first.

    Returns the file's facts.
    """
    partitions = len(outcome.nodes)
    rows = [outcome.strongest_neighbors(partition, NEIGHBORS_SHOWN) for partition in range(partitions)]
    first = np.zeros(partitions + 1, np.int64)
    np.cumsum([len(one) for one in rows], out=first[1:])
    chosen = np.concatenate(rows) if rows else np.zeros(0, np.int64)
    arrays = {name: getattr(outcome, name)[chosen] for name in NEIGHBOR_ARRAYS}
    return write_array_file(path, arrays | {"neighbor_first": first})


def read_neighbors(file: ArrayFile, partition: int) -> list[Neighbor]:
    """Return the neighbours of a partition in a report file, those with the most cross edges first."""
    first = file.array("neighbor_first")
    rows = range(int(first[partition]), int(first[partition + 1]))
    columns = [file.array(name) for name in NEIGHBOR_ARRAYS]
    return [Neighbor(*(int(column[row]) for column in columns)) for row in rows]
