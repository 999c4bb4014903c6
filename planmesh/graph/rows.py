"""Batches of rows of a graph, in columns, as stores return and accept them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from planmesh.graph.model import Float64Array

ROWS_PER_BATCH: Final = 8_192
"""Rows of a batch: usually a few hundred kilobytes, some megabytes with the longest ids."""


@dataclass(frozen=True, slots=True)
class NodeRows:
    """Rows of nodes, one column for each field. `domains` and `regions` have "" for none."""

    ids: list[str]
    domains: list[str]
    regions: list[str]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class EdgeRows:
    """Rows of directed edges, one column for each field. `costs` is float64[m]."""

    sources: list[str]
    targets: list[str]
    costs: Float64Array

    def __len__(self) -> int:
        return len(self.sources)
