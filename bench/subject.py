"""The interface between the benchmark and its subjects: prepare, load, query, close."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol

from bench.graphs import BenchGraph


class Unavailable(Exception):  # noqa: N818 - reports print the name
    """A subject cannot run on this machine; the message says why and what it needs."""


class Subject(Protocol):
    """One method of answering cheapest-path queries.

    `prepare` is not timed: it starts servers, compiles kernels and imports modules. `load` is timed: from the graph's
    arrays
    in memory (or its file, for a mesh) until the subject can answer queries.
    """

    def prepare(self, graph: BenchGraph, folder: Path) -> None:
        """Set up in an empty private folder. Raises Unavailable."""

    def load(self) -> None:
        """Load the graph."""

    def query(self, start: int, goal: int) -> float:
        """Return the cost of the cheapest path between two node numbers, infinite without a path."""

    def close(self) -> None:
        """End everything that the subject started."""


class CachingSubject(Subject, Protocol):
    """A subject that can also answer from a cache, which is measured as a subject of its own."""

    def fill_cache(self, start: int, goal: int) -> None:
        """Query once, untimed, to fill the cache."""

    def query_cached(self, start: int, goal: int) -> float:
        """Repeat a query whose answer is cached."""

    def measure_mesh(self, what: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Measure throughput, agents or a restart."""


LIBRARY: Final = "library"
DATABASE: Final = "database"
INDEX: Final = "index"
OURS: Final = "planmesh"


@dataclass(frozen=True, slots=True)
class SubjectKind:
    """A subject as the benchmark knows it before it runs. Its class is imported only in its own process."""

    name: str
    group: str
    made_by: str
    what: str
    nodes_max: int = 10_000_000
    above: str = ""
    """Why it is not run on larger graphs."""
    cached_name: str = ""
    only: tuple[str, ...] = ()
    """Kinds of graphs it is run on; empty for all."""

    def make(self) -> Subject:
        """Import the subject's module and construct it."""
        module, _, name = self.made_by.partition(":")
        made: Subject = getattr(import_module(f"bench.subjects.{module}"), name)()
        return made


SUBJECTS: Final = (
    SubjectKind(
        "planmesh-search",
        OURS,
        "planmesh_search:PlanmeshSearch",
        "our search in one process: partition, index, overlay; distance and path",
    ),
    SubjectKind(
        "planmesh-mesh",
        OURS,
        "planmesh_mesh:PlanmeshMesh",
        "the whole mesh of `planmesh up`, one client over gRPC, caches bypassed; whole path",
        cached_name="planmesh-mesh-cached",
    ),
    SubjectKind(
        "routingkit-cch",
        INDEX,
        "routingkit:RoutingKit",
        "customisable contraction hierarchy, static, one process; inertial order, METIS's without coordinates; "
        "distance and path",
        nodes_max=1_000_000,
        above="its order would take hours",
    ),
    SubjectKind(
        "networkit",
        LIBRARY,
        "libraries:NetworKit",
        "`BidirectionalDijkstra(storePred=True)`",
    ),
    SubjectKind(
        "rustworkx",
        LIBRARY,
        "libraries:RustworkX",
        "`digraph_dijkstra_shortest_path_lengths(goal=)`",
        nodes_max=1_000_000,
        above="a Python object for each edge: more memory than the bound",
    ),
    SubjectKind(
        "scipy",
        LIBRARY,
        "libraries:SciPy",
        "`csgraph.dijkstra` to all targets, its only mode",
        nodes_max=1_000_000,
        above="seconds per query, which adds nothing",
    ),
    SubjectKind(
        "igraph",
        LIBRARY,
        "libraries:IGraph",
        "`Graph.distances(source, target)`",
        nodes_max=1_000_000,
        above="seconds per query, which adds nothing",
    ),
    SubjectKind(
        "networkx",
        LIBRARY,
        "libraries:NetworkX",
        "`bidirectional_dijkstra`",
        nodes_max=1_000_000,
        above="a dictionary for each edge: more memory than the bound",
    ),
    SubjectKind(
        "redis-by-hand",
        DATABASE,
        "redis_by_hand:RedisByHand",
        "adjacency lists in hashes of a real redis-server, Dijkstra in Python, `HGETALL` for each node settled",
        nodes_max=300_000,
        above="a minute a query",
    ),
    SubjectKind(
        "pgrouting",
        DATABASE,
        "pgrouting:PgRouting",
        "`pgr_dijkstra` in a real PostgreSQL server",
        nodes_max=1_000_000,
        above="it reads the whole table of edges for each query",
    ),
    SubjectKind(
        "ladybug",
        DATABASE,
        "ladybug_graph:Ladybug",
        "`WSHORTEST` (Kuzu's successor), embedded",
        nodes_max=1_000_000,
        above="minutes a query",
    ),
    SubjectKind(
        "neo4j-gds",
        DATABASE,
        "neo4j_gds:Neo4jGds",
        "`gds.shortestPath.dijkstra.stream` over Bolt",
        nodes_max=1_000_000,
        above="the projection does not fit into memory with the rest",
    ),
    SubjectKind(
        "falkordb",
        DATABASE,
        "falkordb_graph:FalkorDb",
        "`algo.SPpaths` in a FalkorDB server",
        nodes_max=1_000_000,
        above="minutes to load, a second per query",
    ),
)


def subject_kind(name: str) -> SubjectKind:
    """Return a subject by its name. Raises KeyError."""
    return {kind.name: kind for kind in SUBJECTS}[name]
