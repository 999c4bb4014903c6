"""Rows of a graph in columns, a batch at a time: what readers and stores yield, and what stores take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from planmesh.graph.model import Float64Array
from planmesh.graph.rules import Origin

ROWS_PER_BATCH: Final = 8_192
"""Most rows that a store yields at a time: usually a few hundred kilobytes, some megabytes with the longest ids."""

NO_ORIGIN: Final = Origin()
"""For rows that carry no place: those of a store, or rows on their way into one."""


@dataclass(frozen=True, slots=True)
class NodeRows:
    """Rows of nodes, one column per field, all of equal length; "" in `domains` or `regions` means none.

    `origin` says where the rows come from, for messages about one of them.
    """

    ids: list[str]
    domains: list[str]
    regions: list[str]
    origin: Origin = NO_ORIGIN

    @classmethod
    def filled(
        cls,
        ids: list[str],
        domains: Sequence[str] | None = None,
        regions: Sequence[str] | None = None,
        origin: Origin = NO_ORIGIN,
    ) -> NodeRows:
        """Return rows in which a missing (or empty) column of labels is "" for every node."""
        return cls(ids, list(domains or [""] * len(ids)), list(regions or [""] * len(ids)), origin)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class EdgeRows:
    """Rows of directed edges, one column per field, all of equal length; `costs` is float64[m].

    `origin` says where the rows come from, for messages about one of them.
    """

    sources: list[str]
    targets: list[str]
    costs: Float64Array
    origin: Origin = NO_ORIGIN

    @classmethod
    def filled(
        cls, sources: list[str], targets: list[str], costs: Float64Array | None = None, origin: Origin = NO_ORIGIN
    ) -> EdgeRows:
        """Return rows in which every edge costs 1 when there is no column of costs."""
        return cls(sources, targets, np.ones(len(sources), np.float64) if costs is None else costs, origin)

    def __len__(self) -> int:
        return len(self.sources)
