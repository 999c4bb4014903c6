"""What planmesh asks of a store that a graph lives in.

A store holds one graph: nodes, each with an id, a domain and a region, and directed edges, at most one from a node to
another, each with a cost. Of two rows of one pair in the same batch or the same replacement the cheaper one is kept,
as the mesh keeps it when it loads a file; a later batch sets the cost anew. What else a store's nodes and edges carry
is left as it is, and not read. A store that was filled by others may hold parallel edges; reading yields them all.

Who owns what: a caller owns the rows it is given; a store may keep the rows that it is handed until the call returns,
and changes none. A store is used from one event loop. Calls may run side by side; writes are done one after another.

Errors, the same from every store: StoreUnavailable when it is away or breaks off, StoreCredentials when it refuses us
or no encryption can be agreed on, StoreRefused when it rejects a request (with its own reason), DeadlineExceeded when
`timeout_s` of its URL runs out, InvalidGraph for a row that breaks a rule (`planmesh.graph.rules`), be it ours or the
store's. No message holds a password.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from planmesh.graph.rows import EdgeRows, NodeRows

ROWS_PER_CALL_MAX: Final = 65_536
"""Rows of one write; more are refused with LimitExceeded. Stores cut them into batches of their own size."""

DEPTH_MAX: Final = 5
"""Greatest depth of `neighbors`, as in the public API."""

NEIGHBORS_MAX: Final = 100_000
"""Most neighbours that a store returns; more are refused with LimitExceeded, none is left out in silence."""

PATTERN_ROWS_MAX: Final = 10_000
"""Most rows of a pattern's answer."""

PATTERN_BYTES_MAX: Final = 4 * 1024 * 1024
"""Most bytes of a pattern's answer, as JSON: the default bound of a gRPC message."""


class Direction(StrEnum):
    """Which edges are followed from a node."""

    OUT = "out"
    IN = "in"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class StoredNode:
    """A node; `domain` and `region` are "" for none."""

    id: str
    domain: str
    region: str


@dataclass(frozen=True, slots=True)
class StoredNeighbor:
    """A node near another: `hops` is the fewest edges between them."""

    id: str
    hops: int


@dataclass(frozen=True, slots=True)
class StoredPath:
    """A cheapest path as the database found it: `nodes` from start to goal, the cost of each step, and their sum."""

    nodes: list[str]
    step_costs: list[float]
    cost: float


@dataclass(frozen=True, slots=True)
class GraphCounts:
    """How many nodes and edges a store holds."""

    nodes: int
    edges: int


@dataclass(frozen=True, slots=True)
class StoreTraits:
    """What a kind of store can do, and cannot.

    `consistent_reads`: a reading sees one state, whatever is written meanwhile; otherwise `GraphReading.unchanged`
    tells whether it did. `atomic_batches`: a write of up to `batch_rows` rows happens whole or not at all; otherwise
    an error may leave a part of it. Either way the same call repeated completes it. `atomic_replacement`: nobody sees
    a part of a replacement; otherwise its docstring says what is seen, and how it is resumed. `patterns`: it has
    pattern queries.
    """

    name: str
    consistent_reads: bool
    atomic_batches: bool
    atomic_replacement: bool
    patterns: bool = False


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """A store that answers: what it calls itself, and how long it took."""

    server: str
    latency_s: float


@dataclass(frozen=True, slots=True)
class PatternLimits:
    """Bounds of one pattern query; one that is exceeded is an error (LimitExceeded, DeadlineExceeded)."""

    rows_max: int = PATTERN_ROWS_MAX
    bytes_max: int = PATTERN_BYTES_MAX
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class PatternAnswer:
    """Rows of a pattern, a list of values a row in the order of `columns`; values are what JSON has."""

    columns: list[str]
    rows: list[list[Any]] = field(default_factory=list)


class GraphReading(Protocol):
    """One reading of the whole graph, in memory that does not grow with it: batches of at most ROWS_PER_BATCH rows."""

    @property
    def revision(self) -> str:
        """The store's revision when the reading began."""
        ...

    def nodes(self) -> AsyncIterator[NodeRows]:
        """Stream the nodes, each once. A node without the id property, or with one of a wrong type, is InvalidGraph."""
        ...

    def edges(self) -> AsyncIterator[EdgeRows]:
        """Stream the edges, each once. A cost that is missing, of a wrong type or not allowed is InvalidGraph."""
        ...

    async def unchanged(self) -> bool:
        """Tell whether what was read so far is one state of the graph."""
        ...


class GraphReplacement(Protocol):
    """Takes the rows of a graph that replaces the one in the store; nodes come before the edges between them."""

    async def add_nodes(self, rows: NodeRows) -> None:
        """Add nodes; of one that comes twice the later row counts."""
        ...

    async def add_edges(self, rows: EdgeRows) -> None:
        """Add edges; an end that no node has is InvalidGraph, here or at the commit."""
        ...

    async def commit(self) -> str:
        """Put the new graph in the place of the old one, durably; returns the new revision."""
        ...


class GraphStore(Protocol):
    """A store with one graph; see the module for its errors. Opened by `planmesh.store.urls.open_store`."""

    @property
    def url(self) -> str:
        """The URL without its password, for messages."""
        ...

    @property
    def traits(self) -> StoreTraits:
        """What this kind of store can do."""
        ...

    async def health(self) -> StoreHealth:
        """Ask the store for a sign of life, with the credentials we have."""
        ...

    async def revision(self) -> str:
        """Return a text that is another one as soon as the graph was changed; "" is never returned."""
        ...

    async def counts(self) -> GraphCounts:
        """Count nodes and edges."""
        ...

    def read(self) -> AbstractAsyncContextManager[GraphReading]:
        """Begin a reading of the whole graph."""
        ...

    def replace(self) -> AbstractAsyncContextManager[GraphReplacement]:
        """Begin a replacement of the whole graph. Leaving without a commit drops what was added."""
        ...

    async def upsert_nodes(self, rows: NodeRows) -> None:
        """Add nodes, or set domain and region of those that are there; of one that comes twice the later row counts."""
        ...

    async def upsert_edges(self, rows: EdgeRows) -> None:
        """Add edges, or set the cost of those that are there. NodeUnknown for an end that no node has."""
        ...

    async def delete_nodes(self, ids: Sequence[str]) -> None:
        """Delete nodes and all their edges; ids that are not there are passed over."""
        ...

    async def delete_edges(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Delete the edges from source to target of each pair; pairs that are not there are passed over."""
        ...

    async def get_node(self, node: str) -> StoredNode:
        """Return a node; NodeUnknown when there is none such."""
        ...

    async def neighbors(self, node: str, depth: int, direction: Direction) -> list[StoredNeighbor]:
        """Return every node within `depth` edges (1 to DEPTH_MAX) of a node, itself not among them, by hops, then id.

        NodeUnknown when the node is not there, LimitExceeded when they are more than NEIGHBORS_MAX.
        """
        ...

    async def shortest_path(self, start: str, goal: str) -> StoredPath:
        """Return a cheapest path, found by the database itself; from a node to itself it has no step and costs 0.

        NodeUnknown for an end that is not there, NoPath when no path leads there.
        """
        ...

    async def match_pattern(self, query: str, parameters: Mapping[str, Any], limits: PatternLimits) -> PatternAnswer:
        """Ask a pattern in the store's own language, read-only by the database's own means.

        PatternRefused when the database refuses it (it is wrong, or it would write), PatternsUnsupported when the
        store has none.
        """
        ...

    async def close(self) -> None:
        """Give back what the store holds; nothing else may be called then."""
        ...
