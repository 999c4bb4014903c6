"""The protocol of a store that holds a graph.

A store holds one graph: nodes, each with an id, a domain and a region, and directed edges with a cost, at most one from
a node to another. Of several rows of one pair in the same batch or the same replacement, the cheapest counts, as when
the mesh loads a file; a later batch overwrites the cost. Other properties of the store's nodes and edges are neither
read nor changed. A store that other clients filled may hold parallel edges; a reading yields all of them.

Ownership: rows that a store returns belong to the caller. A store may keep the rows that it is given until the call
returns, and changes none. A store is used from one event loop. Calls may run concurrently; writes run one after
another.

Every store raises the same errors: StoreUnavailable when it is down or the connection breaks, StoreCredentials when it
refuses our credentials or TLS cannot be agreed on, StoreRefused when it rejects a request (with its own reason),
DeadlineExceeded when `timeout_s` of its URL runs out, InvalidGraph for a row of ours or of the store that breaks a rule
(`planmesh.graph.rules`). No message holds a password.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

import numpy as np

from planmesh.graph.rows import EdgeRows, NodeRows

ROWS_PER_CALL_MAX: Final = 65_536
"""Most rows of one write; more raise LimitExceeded. Stores split them into batches of their own size."""

CHANGED_NODES_MAX: Final = 10_000
"""Most nodes in one batch of changes, over all its fields; more raise LimitExceeded."""

CHANGED_EDGES_MAX: Final = 10_000
"""Most edges in one batch of changes, over both its fields; more raise LimitExceeded."""

POSITION_MAX: Final = (1 << 53) - 1
"""Greatest version of a batch of changes: Redis compares versions as float64, which is exact up to here."""

DEPTH_MAX: Final = 5
"""Greatest depth of `neighbors`, as in the public API."""

NEIGHBORS_MAX: Final = 100_000
"""Most neighbours that a store returns; more raise LimitExceeded, and none is silently left out."""

PATTERN_ROWS_MAX: Final = 10_000
"""Most rows of a pattern's answer."""

PATTERN_BYTES_MAX: Final = 4 * 1024 * 1024
"""Most bytes of a pattern's answer as JSON: gRPC's default bound of a message."""


class Direction(StrEnum):
    """Which edges a search for neighbours follows from a node."""

    OUT = "out"
    IN = "in"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class StoredNode:
    """A node; "" in `domain` or `region` means none."""

    id: str
    domain: str
    region: str


@dataclass(frozen=True, slots=True)
class StoredNeighbor:
    """A node near another one; `hops` is the least number of edges between them."""

    id: str
    hops: int


@dataclass(frozen=True, slots=True)
class StoredPath:
    """A cheapest path found by the database: the `nodes` from start to goal, the cost of each step, and their sum."""

    nodes: list[str]
    step_costs: list[float]
    cost: float


@dataclass(frozen=True, slots=True)
class GraphCounts:
    """Numbers of nodes and edges in a store."""

    nodes: int
    edges: int


def _no_nodes() -> NodeRows:
    return NodeRows([], [], [])


def _no_edges() -> EdgeRows:
    return EdgeRows([], [], np.empty(0, np.float64))


@dataclass(frozen=True, slots=True)
class StoreChanges:
    """The effect of a batch of changes, which leads to the version `version` (1 to POSITION_MAX) of the graph.

    A store applies the fields in this order:

    1. `deleted_nodes`: deletes nodes and all their edges; unknown ids are ignored.
    2. `recreated_nodes`: deletes those that exist and all their edges, then creates them.
    3. `upserted_nodes`: adds nodes, or sets the domain and region of existing ones.
    4. `deleted_edges`: deletes the edge from source to target of each pair; unknown pairs are ignored.
    5. `upserted_edges`: adds edges, or sets the cost of existing ones.

    Each node occurs at most once over the first three fields, each edge at most once over the last two. There are at
    most CHANGED_NODES_MAX nodes and CHANGED_EDGES_MAX edges.
    """

    version: int
    deleted_nodes: list[str] = field(default_factory=list)
    recreated_nodes: NodeRows = field(default_factory=_no_nodes)
    upserted_nodes: NodeRows = field(default_factory=_no_nodes)
    deleted_edges: list[tuple[str, str]] = field(default_factory=list)
    upserted_edges: EdgeRows = field(default_factory=_no_edges)

    def removed_nodes(self) -> list[str]:
        """Return the ids of all nodes to delete first: the deleted and the recreated ones."""
        return [*self.deleted_nodes, *self.recreated_nodes.ids]

    def written_nodes(self) -> NodeRows:
        """Return all nodes to upsert next: the recreated and the upserted ones.

        To delete `removed_nodes` and then to upsert these has the effect of the first three fields in their order,
        because no node occurs twice.
        """
        first, second = self.recreated_nodes, self.upserted_nodes
        return NodeRows([*first.ids, *second.ids], [*first.domains, *second.domains], [*first.regions, *second.regions])


@dataclass(frozen=True, slots=True)
class StoreTraits:
    """The guarantees and abilities of a kind of store.

    `consistent_reads`: a reading sees one state, regardless of concurrent writes; otherwise `GraphReading.unchanged`
    reports whether it did. `atomic_batches`: a write of up to `batch_rows` rows is all or nothing, and so is a batch of
    changes (`GraphStore.apply_changes`) of any size, together with its position; otherwise an error may leave it half
    done, and the position of a batch of changes is written last. Either way, repeating the call completes it.
    `atomic_replacement`: no client sees a partial
    replacement; otherwise the store's TRAITS say what is seen, and how a replacement is resumed. `patterns`: the store
    answers pattern queries.
    """

    name: str
    consistent_reads: bool
    atomic_batches: bool
    atomic_replacement: bool
    patterns: bool = False


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """The answer to a health check: the server's name, and the seconds that it took."""

    server: str
    latency_s: float


@dataclass(frozen=True, slots=True)
class PatternLimits:
    """Bounds of one pattern query; exceeding one raises LimitExceeded or DeadlineExceeded."""

    rows_max: int = PATTERN_ROWS_MAX
    bytes_max: int = PATTERN_BYTES_MAX
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class PatternAnswer:
    """The rows of a pattern query, each a list of JSON values in the order of `columns`."""

    columns: list[str]
    rows: list[list[Any]] = field(default_factory=list)


class GraphReading(Protocol):
    """One reading of the whole graph, in constant memory: batches of at most ROWS_PER_BATCH rows."""

    @property
    def revision(self) -> str:
        """The store's revision when the reading began."""
        ...

    def nodes(self) -> AsyncIterator[NodeRows]:
        """Stream the nodes, each once. Raises InvalidGraph for a node whose id is missing or of a wrong type."""
        ...

    def edges(self) -> AsyncIterator[EdgeRows]:
        """Stream the edges, each once. Raises InvalidGraph for a cost that is missing, forbidden or not a number."""
        ...

    async def unchanged(self) -> bool:
        """Return whether all that was read so far is one state of the graph."""
        ...


class GraphReplacement(Protocol):
    """Takes the rows of a graph that will replace the stored one; nodes come before the edges between them."""

    async def add_nodes(self, rows: NodeRows) -> None:
        """Add nodes; of several rows for one node, the last counts."""
        ...

    async def add_edges(self, rows: EdgeRows) -> None:
        """Add edges. Raises InvalidGraph for an unknown end, here or at the commit."""
        ...

    async def commit(self) -> str:
        """Replace the old graph by the new one, durably; return the new revision."""
        ...


class GraphStore(Protocol):
    """A store with one graph. The module lists its errors; `planmesh.store.urls.open_store` opens one."""

    @property
    def url(self) -> str:
        """The URL without its password, for messages."""
        ...

    @property
    def traits(self) -> StoreTraits:
        """The guarantees and abilities of this kind of store."""
        ...

    async def health(self) -> StoreHealth:
        """Check that the store answers, with our credentials."""
        ...

    async def revision(self) -> str:
        """Return a text, never "", that differs as soon as the graph was changed."""
        ...

    async def counts(self) -> GraphCounts:
        """Count nodes and edges; may take a scan of the whole graph."""
        ...

    def read(self) -> AbstractAsyncContextManager[GraphReading]:
        """Begin a reading of the whole graph; leaving the context ends it."""
        ...

    def replace(self, position: int = 0) -> AbstractAsyncContextManager[GraphReplacement]:
        """Begin a replacement of the whole graph. Leaving the context without a commit discards the added rows.

        The commit sets the store's position to `position` (0 to POSITION_MAX), in the same step as the graph.
        """
        ...

    async def apply_changes(self, changes: StoreChanges) -> None:
        """Apply a batch of changes and record its version as the position, or do nothing if the position is not below.

        The position is in the store itself, so a batch is applied once, whenever its writer is killed and repeats it.
        Where `atomic_batches` is false, a batch that an error interrupted must be repeated before another one.

        Raises NodeUnknown when an upserted edge has an end that does not exist after step 3 of StoreChanges, and
        InvalidGraph for a row that breaks a rule or comes twice; the batch then has no effect. Raises Conflict while a
        replacement is put in place in steps, or after one failed there.
        """
        ...

    async def position(self) -> int:
        """Return the version of the last batch of changes that was applied, or the position of a later replacement.

        It is 0 for a graph that has neither. Raises Conflict when `apply_changes` would do so because of a replacement.
        """
        ...

    async def upsert_nodes(self, rows: NodeRows) -> None:
        """Add nodes, or set the domain and region of existing ones; of several rows for one node, the last counts."""
        ...

    async def upsert_edges(self, rows: EdgeRows) -> None:
        """Add edges, or set the cost of existing ones. Raises NodeUnknown for an end that does not exist."""
        ...

    async def delete_nodes(self, ids: Sequence[str]) -> None:
        """Delete nodes and all their edges; unknown ids are ignored."""
        ...

    async def delete_edges(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Delete the edge from source to target of each pair; unknown pairs are ignored."""
        ...

    async def get_node(self, node: str) -> StoredNode:
        """Return a node. Raises NodeUnknown when it does not exist."""
        ...

    async def neighbors(self, node: str, depth: int, direction: Direction) -> list[StoredNeighbor]:
        """Return every other node within `depth` edges (1 to DEPTH_MAX) of a node, sorted by hops, then by id.

        Raises NodeUnknown when the node does not exist, LimitExceeded for more than NEIGHBORS_MAX neighbours.
        """
        ...

    async def shortest_path(self, start: str, goal: str) -> StoredPath:
        """Return a cheapest path, found by the database; from a node to itself it has no steps and costs 0.

        Raises NodeUnknown for an end that does not exist, NoPath when no path leads to the goal.
        """
        ...

    async def match_pattern(self, query: str, parameters: Mapping[str, Any], limits: PatternLimits) -> PatternAnswer:
        """Run a pattern query in the store's own language; the database itself keeps it from writing.

        Raises PatternRefused when the database refuses the query (it is wrong, or it would write), PatternsUnsupported
        when the store has no pattern queries.
        """
        ...

    async def close(self) -> None:
        """Release the store's resources; no other method may be called afterwards."""
        ...
