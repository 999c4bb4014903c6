"""FalkorDB, on the running server that BENCH_FALKORDB_URL names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import redis

from bench.graphs import BenchGraph
from bench.subject import Unavailable

GRAPH: Final = "planmesh-bench"
BATCH_ROWS: Final = 10_000
SHORTEST: Final = (
    "MATCH (a:Node {{id: {start}}}), (b:Node {{id: {goal}}}) "
    "CALL algo.SPpaths({{sourceNode: a, targetNode: b, relTypes: ['EDGE'], weightProp: 'cost', pathCount: 1}}) "
    "YIELD pathWeight RETURN pathWeight"
)


class FalkorDb:
    """algo.SPpaths over the Redis protocol."""

    def prepare(self, graph: BenchGraph, folder: Path) -> None:  # noqa: ARG002 - the server has its own
        """Connect, and drop what an earlier run left."""
        url = os.environ.get("BENCH_FALKORDB_URL")
        if not url:
            raise Unavailable(
                "BENCH_FALKORDB_URL names no server; its embedded build (falkordblite) needs Python 3.12, so it is not "
                "installed here"
            )
        self.graph = graph.graph
        self.tails = graph.tails()
        self.client: Any = redis.Redis.from_url(url, decode_responses=True)
        self._drop()

    def _drop(self) -> None:
        if self.client.exists(GRAPH):
            self.client.execute_command("GRAPH.DELETE", GRAPH)

    def _run(self, query: str) -> Any:
        return self.client.execute_command("GRAPH.QUERY", GRAPH, query)

    def load(self) -> None:
        """Create nodes and edges in batches."""
        self._run("CREATE INDEX FOR (n:Node) ON (n.id)")
        count = self.graph.node_count
        for first in range(0, count, BATCH_ROWS):
            self._run(f"UNWIND range({first}, {min(first + BATCH_ROWS, count) - 1}) AS id CREATE (:Node {{id: id}})")
        tails = self.tails.tolist()
        rows = list(zip(tails, self.graph.head.tolist(), self.graph.weight.tolist(), strict=True))
        for first in range(0, len(rows), BATCH_ROWS):
            listed = ",".join(f"[{tail},{head},{cost!r}]" for tail, head, cost in rows[first : first + BATCH_ROWS])
            self._run(
                f"UNWIND [{listed}] AS row MATCH (a:Node {{id: row[0]}}), (b:Node {{id: row[1]}}) "
                "CREATE (a)-[:EDGE {cost: row[2]}]->(b)"
            )

    def query(self, start: int, goal: int) -> float:
        """Return the cost; the query finds the path too."""
        rows = self._run(SHORTEST.format(start=start, goal=goal))[1]
        return float(rows[0][0]) if rows else float("inf")

    def close(self) -> None:
        """Drop the graph, and leave the server running."""
        if hasattr(self, "client"):
            self._drop()
            self.client.close()
