"""The interface of all sources of graphs: batches of rows, each with its origin."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from planmesh.graph.model import Float64Array
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.graph.rules import Origin, check_edge_rows, check_node_rows

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

    def checked_nodes(
        self, origin: Origin, ids: list[str], domains: list[str] | None, regions: list[str] | None
    ) -> NodeRows:
        """Return rows of nodes. Raises InvalidGraph, with the name of the column, for the first that breaks a rule."""
        check_node_rows(
            origin,
            ids,
            domains,
            regions,
            id_field=self.id,
            domain_field=self.domain,
            region_field=self.region,
        )
        return NodeRows.filled(ids, domains, regions, origin)

    def checked_edges(
        self, origin: Origin, sources: list[str], targets: list[str], costs: Float64Array | None
    ) -> EdgeRows:
        """Return rows of edges. Raises InvalidGraph, with the name of the column, for the first that breaks a rule."""
        checked = check_edge_rows(
            origin,
            sources,
            targets,
            costs,
            source_field=self.source,
            target_field=self.target,
            cost_field=self.cost,
        )
        return EdgeRows.filled(sources, targets, checked, origin)


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
