"""What a reader hands on: batches of rows, each with the place where it stands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from planmesh.graph.rows import EdgeRows, NodeRows

ROWS_PER_BATCH_MAX: Final = 8_192
"""Rows of a batch: a message of some hundred KB with usual ids, far under any limit of gRPC, and cheap to check."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns or attributes are called, and which of the names (`explicit`) the user gave.

    A default `cost`, `domain` or `region` that the file does not have is left out; one that the user named is an
    error. Make one with `Columns.named`.
    """

    source: str = "source"
    target: str = "target"
    cost: str = "cost"
    id: str = "id"
    domain: str = "domain"
    region: str = "region"
    explicit: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def named(
        cls,
        *,
        source: str | None = None,
        target: str | None = None,
        cost: str | None = None,
        id: str | None = None,  # noqa: A002 - the name of the option
        domain: str | None = None,
        region: str | None = None,
    ) -> Columns:
        """Return the columns with those that are not None named explicitly."""
        given = {"source": source, "target": target, "cost": cost, "id": id, "domain": domain, "region": region}
        names = {name: value for name, value in given.items() if value is not None}
        return cls(**names, explicit=frozenset(names))


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """What the file says of the graph as a whole.

    `undirected`: every edge leads both ways. `implicit_nodes`: the ends of edges are nodes, for no row declares them.
    """

    undirected: bool = False
    implicit_nodes: bool = False


class GraphSource(ABC):
    """A graph in files. Rows come once, batch by batch, the nodes first; nothing is kept of those that have come."""

    @property
    @abstractmethod
    def description(self) -> SourceDescription:
        """What the file says of the graph as a whole."""

    @property
    @abstractmethod
    def bytes_total(self) -> int:
        """Bytes of the files, as they lie on the disk."""

    @property
    @abstractmethod
    def bytes_read(self) -> int:
        """Bytes of them that have been read."""

    @abstractmethod
    def batches(self) -> Iterator[NodeRows | EdgeRows]:
        """Read the rows, up to 8,192 a batch; raises InvalidGraph, with file, line and field, at the first bad one."""
