"""The interface of all sources of graphs: batches of rows, each with its origin."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from planmesh.graph.rows import EdgeRows, NodeRows

ROWS_PER_BATCH_MAX: Final = 8_192
"""Most rows of a batch: a message of some hundred KB with usual ids, far below gRPC's limits, and cheap to check."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of columns or attributes; `explicit` lists the fields that the user named.

    A default `cost`, `domain` or `region` that the file does not have is left out; one that the user named is an
    error. Create one with `Columns.named`.
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
        """Return the columns in which every argument but None is an explicit name."""
        given = {"source": source, "target": target, "cost": cost, "id": id, "domain": domain, "region": region}
        names = {name: value for name, value in given.items() if value is not None}
        return cls(**names, explicit=frozenset(names))


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """What a file says about its graph as a whole.

    `undirected`: every edge leads in both directions. `implicit_nodes`: no row declares nodes, so the ends of edges are
    the nodes.
    """

    undirected: bool = False
    implicit_nodes: bool = False


class GraphSource(ABC):
    """A graph that is read once, batch by batch, the nodes first; no batch is kept in memory."""

    @property
    @abstractmethod
    def description(self) -> SourceDescription:
        """What the source says about the graph as a whole."""

    @property
    @abstractmethod
    def bytes_total(self) -> int:
        """The size of the files in bytes, compressed if they are; 0 when unknown."""

    @property
    @abstractmethod
    def bytes_read(self) -> int:
        """The bytes of them that have been read."""

    @abstractmethod
    def batches(self) -> Iterator[NodeRows | EdgeRows]:
        """Yield the rows, up to 8,192 a batch. Raises InvalidGraph, with file, line and field, at the first bad row."""
