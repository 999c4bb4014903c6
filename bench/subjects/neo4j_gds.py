"""Neo4j with Graph Data Science: a server started from build/bench/neo4j, or a running one."""

from __future__ import annotations

import os
import shutil
import time
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from bench.graphs import ROOT, BenchGraph
from bench.subject import Unavailable
from tests.servers.java_server import Reaper
from tests.servers.neo4j_server import USER, Neo4jServer

JARS: Final = ROOT / "build" / "bench" / "neo4j"
PASSWORD: Final = "planmesh-bench"
READY_S_MAX: Final = 120.0
BATCH_ROWS: Final = 20_000
NODES: Final = "UNWIND range($first, $last) AS id CREATE (:BenchNode {id: id})"
EDGES: Final = (
    "UNWIND $rows AS row MATCH (a:BenchNode {id: row[0]}) MATCH (b:BenchNode {id: row[1]}) "
    "CREATE (a)-[:BENCH_EDGE {cost: row[2]}]->(b)"
)
SHORTEST: Final = (
    "MATCH (a:BenchNode {id: $start}), (b:BenchNode {id: $goal}) "
    "CALL gds.shortestPath.dijkstra.stream('bench', "
    "{sourceNode: a, targetNode: b, relationshipWeightProperty: 'cost'}) YIELD totalCost RETURN totalCost"
)


def fetched() -> bool:
    """Whether a server can be started here."""
    return (JARS / "plugins").is_dir() and shutil.which("java") is not None


class Neo4jGds:
    """gds.shortestPath.dijkstra.stream over Bolt. On a server that was already running, deletes what it created."""

    server: Neo4jServer | None = None
    session: Any = None

    def prepare(self, graph: BenchGraph, folder: Path) -> None:
        """Start the server, or connect to the one that BENCH_NEO4J_URI names."""
        self.graph = graph.graph
        self.tails = graph.tails()
        uri = os.environ.get("BENCH_NEO4J_URI")
        user, password = os.environ.get("BENCH_NEO4J_USER", USER), os.environ.get("BENCH_NEO4J_PASSWORD", PASSWORD)
        if not uri:
            if not fetched():
                raise Unavailable("off unless scripts/bench-neo4j has fetched it, or BENCH_NEO4J_URI names a server")
            uri = self._start(folder / "neo4j")
        neo4j: Any = import_module("neo4j")
        self.driver = neo4j.GraphDatabase.driver(uri, auth=(user, password))
        self._await(neo4j.exceptions.ServiceUnavailable)
        self.session = self.driver.session()
        self.session.run("RETURN gds.version()").consume()
        self._clear()
        self.session.run("CREATE CONSTRAINT bench_id IF NOT EXISTS FOR (n:BenchNode) REQUIRE n.id IS UNIQUE").consume()

    def _start(self, home: Path) -> str:
        """Start a private server, and return its address when it answers."""
        self._reaper = Reaper()
        self.server = Neo4jServer(home, self._reaper, PASSWORD, tls=False, heap_max="3g", page_cache="1g")
        self.server.start()
        return f"bolt://{self.server.address}"

    def _await(self, unavailable: type[Exception]) -> None:
        """Wait for the server to answer."""
        stop_s = time.monotonic() + READY_S_MAX
        while True:
            try:
                self.driver.verify_connectivity()
            except unavailable:
                if time.monotonic() > stop_s:
                    raise
                time.sleep(0.5)
            else:
                return

    def _clear(self) -> None:
        self.session.run("CALL gds.graph.drop('bench', false)").consume()
        self.session.run("MATCH (n:BenchNode) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 10000 ROWS").consume()

    def load(self) -> None:
        """Create nodes and edges in batches, then project them."""
        count = self.graph.node_count
        for first in range(0, count, BATCH_ROWS):
            self.session.run(NODES, first=first, last=min(first + BATCH_ROWS, count) - 1).consume()
        rows = list(zip(self.tails.tolist(), self.graph.head.tolist(), self.graph.weight.tolist(), strict=True))
        for first in range(0, len(rows), BATCH_ROWS):
            self.session.run(EDGES, rows=rows[first : first + BATCH_ROWS]).consume()
        self.project()

    def project(self) -> None:
        """Project the stored graph into memory."""
        project = "CALL gds.graph.project('bench', 'BenchNode', {BENCH_EDGE: {properties: 'cost'}})"
        self.session.run(project).consume()

    def query(self, start: int, goal: int) -> float:
        """Return the cost; the query finds the path too."""
        record = self.session.run(SHORTEST, start=start, goal=goal).single()
        return float(record[0]) if record is not None else float("inf")

    def close(self) -> None:
        """Stop a private server, or clean up a shared one."""
        if self.session is not None:
            if self.server is None:
                self._clear()
            self.session.close()
            self.driver.close()
        if self.server is not None:
            self.server.stop()
            self._reaper.close()
