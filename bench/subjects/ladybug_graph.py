"""Ladybug, the successor of Kuzu: an embedded graph database in a file."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.graphs import BenchGraph
from bench.subject import Unavailable

HOPS_MAX = 1_000_000
"""Path length limit. The default is 30 edges, beyond which the database returns more expensive paths, or none."""

SHORTEST = "MATCH (a:Node {id: $start})-[e:Edge* WSHORTEST(cost)]->(b:Node {id: $goal}) RETURN cost(e)"


class Ladybug:
    """WSHORTEST on a table of edges."""

    def prepare(self, graph: BenchGraph, folder: Path) -> None:
        """Write the graph to files for the bulk load."""
        try:
            self.library: Any = import_module("ladybug")
        except ImportError as error:
            raise Unavailable(f"{error}; it is in bench/requirements.lock") from error
        self.folder = folder
        edges = graph.graph
        tails = graph.tails().astype(np.int64)
        pq.write_table(pa.table({"id": np.arange(edges.node_count)}), folder / "nodes.parquet")
        columns = {"from": tails, "to": edges.head.astype(np.int64), "cost": edges.weight}
        pq.write_table(pa.table(columns), folder / "edges.parquet")

    def load(self) -> None:
        """Copy the files into the database."""
        self.database = self.library.Database(str(self.folder / "ladybug"))
        self.connection = self.library.Connection(self.database)
        self.connection.execute(f"CALL var_length_extend_max_depth={HOPS_MAX}")
        self.connection.execute("CREATE NODE TABLE Node(id INT64 PRIMARY KEY)")
        self.connection.execute("CREATE REL TABLE Edge(FROM Node TO Node, cost DOUBLE)")
        self.connection.execute(f"COPY Node FROM '{self.folder / 'nodes.parquet'}'")
        self.connection.execute(f"COPY Edge FROM '{self.folder / 'edges.parquet'}'")

    def query(self, start: int, goal: int) -> float:
        """Return the cost; the query finds the path too."""
        found = self.connection.execute(SHORTEST, {"start": start, "goal": goal})
        return float(found.get_next()[0]) if found.has_next() else float("inf")

    def close(self) -> None:
        """Close the database."""
        self.connection.close()
        self.database.close()
