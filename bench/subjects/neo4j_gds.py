"""Neo4j with Graph Data Science, on a server that is there: BENCH_NEO4J_URI, BENCH_NEO4J_USER, BENCH_NEO4J_PASSWORD."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from bench.graphs import BenchGraph
from bench.subject import Unavailable

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


class Neo4jGds:
    """gds.shortestPath.dijkstra.stream over Bolt. What the database holds of earlier runs of the bench is deleted."""

    def prepare(self, graph: BenchGraph, folder: Path) -> None:  # noqa: ARG002 - the server has its own
        """Connect."""
        uri = os.environ.get("BENCH_NEO4J_URI")
        if not uri:
            raise Unavailable("off by default: BENCH_NEO4J_URI names no server (see bench/README.md)")
        self.graph = graph.graph
        self.tails = graph.tails()
        neo4j: Any = import_module("neo4j")
        user, password = os.environ.get("BENCH_NEO4J_USER", "neo4j"), os.environ.get("BENCH_NEO4J_PASSWORD", "neo4j")
        self.driver = neo4j.GraphDatabase.driver(uri, auth=(user, password))
        self.session = self.driver.session()
        self.session.run("RETURN gds.version()").consume()
        self._clear()
        self.session.run("CREATE CONSTRAINT bench_id IF NOT EXISTS FOR (n:BenchNode) REQUIRE n.id IS UNIQUE").consume()

    def _clear(self) -> None:
        self.session.run("CALL gds.graph.drop('bench', false)").consume()
        self.session.run("MATCH (n:BenchNode) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 10000 ROWS").consume()

    def load(self) -> None:
        """Create nodes and edges in batches, then project them."""
        count = self.graph.node_count
        for first in range(0, count, BATCH_ROWS):
            self.session.run(NODES, first=first, last=min(first + BATCH_ROWS, count) - 1).consume()
        tails = self.tails.tolist()
        rows = list(zip(tails, self.graph.head.tolist(), self.graph.weight.tolist(), strict=True))
        for first in range(0, len(rows), BATCH_ROWS):
            self.session.run(EDGES, rows=rows[first : first + BATCH_ROWS]).consume()
        project = "CALL gds.graph.project('bench', 'BenchNode', {BENCH_EDGE: {properties: 'cost'}})"
        self.session.run(project).consume()

    def query(self, start: int, goal: int) -> float:
        """Cost; it finds the path too."""
        record = self.session.run(SHORTEST, start=start, goal=goal).single()
        return float(record[0]) if record is not None else float("inf")

    def close(self) -> None:
        """Leave the server as it was."""
        if hasattr(self, "session"):
            self._clear()
            self.session.close()
            self.driver.close()
