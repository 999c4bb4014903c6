"""Rows of a graph in columns: what stores hand out and take, a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from planmesh.graph.model import Float64Array

ROWS_PER_BATCH: Final = 8_192
"""Rows that a store hands out at a time: some megabytes with the longest ids, a few hundred kilobytes usually."""


@dataclass(frozen=True, slots=True)
class NodeRows:
    """Rows of nodes, a column a field; `domains` and `regions` hold "" for none."""

    ids: list[str]
    domains: list[str]
    regions: list[str]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class EdgeRows:
    """Rows of directed edges, a column a field; `costs` float64[m]."""

    sources: list[str]
    targets: list[str]
    costs: Float64Array

    def __len__(self) -> int:
        return len(self.sources)
