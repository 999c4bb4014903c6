"""Results of `GraphService`: graphs, loads, nodes and partitions, as frozen values.

Costs have the unit of the edges' costs. Times are UTC. Counts are of directed edges: an undirected edge is two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class Strategy(StrEnum):
    """The method that assigns nodes to partitions. Plans are exact with each; a good cut makes them faster."""

    DOMAIN = "domain"
    """One partition per domain, merged and split to the size bounds."""
    REGION = "region"
    """One partition per region, split to the size bounds."""
    HYBRID = "hybrid"
    """Domains within regions."""
    HASH = "hash"
    """By a hash of the id; ignores the edges."""
    MINCUT = "mincut"
    """Balanced partitions that cut few edges (METIS)."""
    STREAM = "stream"
    """Balanced partitions in one pass over the nodes, in memory that does not grow with the edges (Fennel)."""


class GraphState(StrEnum):
    """Whether the mesh answers plans on a graph."""

    UNSPECIFIED = "unspecified"
    """A state that this client does not know, from a newer server."""
    LOADING = "loading"
    """The first load runs; there is no version to serve yet."""
    SERVING = "serving"
    """Plans are answered. Another load may run: see `Graph.loading`."""
    REBUILDING = "rebuilding"
    """Files that are damaged, or that an earlier planmesh built, are being rebuilt from the stored rows."""
    UNREADABLE = "unreadable"
    """The stored version cannot be served; the log of the partition service says why. Another load replaces it."""


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """How far a running load is."""

    phase: str
    """read, partition, index, overlay or publish."""
    done: int
    total: int
    """Units of this phase; 0 when their number is not known."""
    started_at: datetime | None
    remaining_s: float | None
    """An estimate for all phases together; None while there is none."""
    resumed: bool
    """A restart interrupted the load and it continues by itself; no caller waits for its report."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """The first answer of a version that a plain search on the same version contradicts."""

    version: int
    start: str
    goal: str
    answered_cost: float | None
    """The cost that the mesh answered; None: that there is no path."""
    plain_cost: float | None
    """The cost that the plain search found; None: no path."""
    trace_id: str
    """Of the answer, 32 hexadecimal digits."""
    found_at: datetime | None


@dataclass(frozen=True, slots=True)
class Graph:
    """Counts, version and state of a graph."""

    name: str
    version: int
    """0 until a load has succeeded."""
    state: GraphState
    nodes: int
    edges: int
    partitions: int
    cross_edges: int
    boundary_nodes: int
    strategy: Strategy | None
    """None before the first load, and for a strategy that this client does not know."""
    loaded_at: datetime | None
    loading: LoadProgress | None
    """Set while a load runs."""
    overlay_nodes: int
    """Of the overlay's first level, like `overlay_edges`."""
    overlay_edges: int
    overlay_core_nodes: int
    """Nodes of the overlay's top core."""
    region_stores: Mapping[str, str]
    """The URL, without user and password, of the store that each region's nodes live in, if the load named stores."""
    domain_stores: Mapping[str, str]
    """The same by domain."""
    suspicion: Suspicion | None
    """Set while the served version is suspect; another version clears it."""
    base_version: int = 0
    """The version that the indexes hold; `version` is later while changes wait to be merged into them."""
    unmerged_changes: int = 0
    """Changes since `base_version`."""


class PhaseTime(NamedTuple):
    """The time of one phase of a load."""

    phase: str
    """read, partition, index, overlay or publish."""
    seconds: float


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The result of a load."""

    graph: str
    version: int
    nodes: int
    edges: int
    """Served edges: of parallel edges the cheapest, and no self-loops."""
    parallel_edges: int
    """Edges left out because another one between the same ends costs as much or less."""
    self_loops: int
    """Edges left out because they lead from a node to itself."""
    partitions: int
    cross_edges: int
    cross_edge_share: float
    """cross_edges / edges, 0 to 1; 0 without edges."""
    boundary_nodes: int
    phases: tuple[PhaseTime, ...]
    """In their order."""
    warnings: tuple[str, ...]
    """For people: merged or split domains, a poor partitioning, sums beyond 2^53."""
    strategy: Strategy | None
    """The strategy that was used; None for one that this client does not know."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a graph."""

    id: str
    version: int
    domain: str
    """Empty for none, like `region`."""
    region: str
    partition: str
    """The name of its partition."""
    boundary: bool
    """The node is an end of a cross edge."""
    out_degree: int
    in_degree: int
    state: str = "up"
    """"up" unless an update has changed it. A node that is "down" is on no plan."""
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PartitionNeighbor:
    """Another partition that cross edges lead to or come from."""

    name: str
    cross_edges_out: int
    cross_edges_in: int
    entries: int
    """Nodes of this partition at which a cross edge from the other one arrives."""
    exits: int
    """Nodes of this partition that a cross edge to the other one leaves."""


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition of a graph's served version."""

    number: int
    """Dense, from 0."""
    name: str
    """Unique, such as "europe" or "games.2"."""
    shard: int
    """The shard whose workers serve it."""
    nodes: int
    internal_edges: int
    cross_edges_out: int
    cross_edges_in: int
    entries: int
    exits: int
    overlay_nodes: int
    """Boundary and core nodes of its index."""
    core_nodes: int
    """Interior nodes that the index leaves uncontracted."""
    index_bytes: int
    neighbors: tuple[PartitionNeighbor, ...]
    """At most the 32 with the most cross edges."""
    stores: tuple[str, ...]
    """Sorted URLs, without user and password, of the stores that its nodes live in, if the load named stores."""


class NodeSample(NamedTuple):
    """Ids drawn uniformly at random from one version, with repetition."""

    version: int
    ids: tuple[str, ...]
