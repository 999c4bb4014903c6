"""Neo4j with Graph Data Science: a server that the bench starts from build/bench/neo4j, or one that is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from bench.graphs import ROOT, BenchGraph
from bench.subject import Unavailable
from planmesh.local.ports import free_port

JARS: Final = ROOT / "build" / "bench" / "neo4j"
USER: Final = "neo4j"
PASSWORD: Final = "planmesh-bench"
READY_S_MAX: Final = 120.0
CONFIGURATION: Final = """\
server.default_listen_address=127.0.0.1
server.bolt.enabled=true
server.bolt.listen_address=127.0.0.1:{port}
server.bolt.advertised_address=127.0.0.1:{port}
server.http.enabled=false
server.memory.pagecache.size=1g
dbms.usage_report.enabled=false
dbms.security.auth_enabled=true
dbms.security.procedures.unrestricted=gds.*
db.tx_log.preallocate=false
internal.dbms.bolt.netty_server_shutdown_quiet_period=0
internal.dbms.bolt.netty_server_shutdown_timeout=1s
"""
OPENED: Final = ("java.base/java.nio", "java.base/java.io", "java.base/sun.nio.ch")
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
    """gds.shortestPath.dijkstra.stream over Bolt. On a server that was there, what the bench made is deleted."""

    server: subprocess.Popen[bytes] | None = None
    session: Any = None

    def prepare(self, graph: BenchGraph, folder: Path) -> None:
        """Start the server, or connect to the one that BENCH_NEO4J_URI names."""
        self.graph = graph.graph
        self.tails = graph.tails()
        uri = os.environ.get("BENCH_NEO4J_URI")
        user, password = os.environ.get("BENCH_NEO4J_USER", USER), os.environ.get("BENCH_NEO4J_PASSWORD", PASSWORD)
        if not uri:
            if not (JARS / "plugins").is_dir() or shutil.which("java") is None:
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
        """Start a server of the bench's own, and return its address when it answers."""
        port = free_port()
        (home / "conf").mkdir(parents=True)
        (home / "conf" / "neo4j.conf").write_text(CONFIGURATION.format(port=port), "ascii")
        (home / "plugins").symlink_to(JARS / "plugins")
        java = ["java", "-cp", f"{JARS}/lib/*:{JARS}/plugins/*"]
        places = {**os.environ, "NEO4J_HOME": str(home), "NEO4J_CONF": str(home / "conf")}
        admin = ["org.neo4j.server.startup.Neo4jAdminCommand", "dbms", "set-initial-password", PASSWORD]
        subprocess.run([*java, *admin], env=places, check=True)
        opened = [f"--add-opens={package}=ALL-UNNAMED" for package in OPENED]
        main = ["org.neo4j.server.CommunityEntryPoint", f"--home-dir={home}", f"--config-dir={home / 'conf'}"]
        command = [java[0], "-Xms512m", "-Xmx3g", *opened, *java[1:], *main, "--console-mode"]
        self.server = subprocess.Popen(command)
        return f"bolt://127.0.0.1:{port}"

    def _await(self, unavailable: type[Exception]) -> None:
        """Wait for the server to answer, while it lives."""
        stop_s = time.monotonic() + READY_S_MAX
        while True:
            try:
                self.driver.verify_connectivity()
            except unavailable:
                if time.monotonic() > stop_s or (self.server is not None and self.server.poll() is not None):
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
        project = "CALL gds.graph.project('bench', 'BenchNode', {BENCH_EDGE: {properties: 'cost'}})"
        self.session.run(project).consume()

    def query(self, start: int, goal: int) -> float:
        """Cost; it finds the path too."""
        record = self.session.run(SHORTEST, start=start, goal=goal).single()
        return float(record[0]) if record is not None else float("inf")

    def close(self) -> None:
        """Stop the server, or leave it as it was."""
        if self.session is not None:
            if self.server is None:
                self._clear()
            self.session.close()
            self.driver.close()
        if self.server is not None:
            self.server.terminate()
            self.server.wait()
