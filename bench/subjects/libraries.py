"""Plain searches of common libraries, each used as documented."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from bench.graphs import BenchGraph
from bench.subject import Unavailable


class Library:
    """The common parts of the libraries: a module, and no server."""

    module = ""

    def prepare(self, graph: BenchGraph, folder: Path) -> None:  # noqa: ARG002 - it needs none
        """Import the module."""
        try:
            self.library: Any = import_module(self.module)
        except ImportError as error:
            raise Unavailable(f"{error}; it is in bench/requirements.lock") from error
        self.graph = graph.graph
        self.node_count = self.graph.node_count
        self.tails = graph.tails()

    def close(self) -> None:
        """Do nothing: no process was started."""


class NetworkX(Library):
    """networkx.bidirectional_dijkstra on a DiGraph."""

    module = "networkx"

    def load(self) -> None:
        """Build the DiGraph."""
        self.loaded = self.library.DiGraph()
        self.loaded.add_nodes_from(range(self.node_count))
        edges = zip(self.tails.tolist(), self.graph.head.tolist(), self.graph.weight.tolist(), strict=True)
        self.loaded.add_weighted_edges_from(edges)

    def query(self, start: int, goal: int) -> float:
        """Return the cost; the search returns the path too."""
        try:
            cost, _ = self.library.bidirectional_dijkstra(self.loaded, start, goal)
        except self.library.NetworkXNoPath:
            return float("inf")
        return float(cost)


class SciPy(Library):
    """scipy.sparse.csgraph.dijkstra from one node to all."""

    module = "scipy.sparse.csgraph"

    def load(self) -> None:
        """Build the sparse matrix."""
        columns = (self.graph.weight, self.graph.head, self.graph.first_out)
        self.loaded = import_module("scipy.sparse").csr_array(columns, shape=(self.node_count, self.node_count))

    def query(self, start: int, goal: int) -> float:
        """Return the cost only."""
        return float(self.library.dijkstra(self.loaded, indices=start)[goal])


class IGraph(Library):
    """igraph.Graph.distances."""

    module = "igraph"

    def load(self) -> None:
        """Build the Graph."""
        edges = np.column_stack([self.tails, self.graph.head])
        self.loaded = self.library.Graph(n=self.node_count, edges=edges, directed=True)
        self.loaded.es["weight"] = self.graph.weight

    def query(self, start: int, goal: int) -> float:
        """Return the cost only."""
        return float(self.loaded.distances(source=[start], target=[goal], weights="weight")[0][0])


class RustworkX(Library):
    """rustworkx.digraph_dijkstra_shortest_path_lengths with a goal."""

    module = "rustworkx"

    def load(self) -> None:
        """Build the PyDiGraph."""
        self.loaded = self.library.PyDiGraph()
        self.loaded.add_nodes_from(range(self.node_count))
        edges = zip(self.tails.tolist(), self.graph.head.tolist(), self.graph.weight.tolist(), strict=True)
        self.loaded.add_edges_from(list(edges))

    def query(self, start: int, goal: int) -> float:
        """Return the cost only."""
        found = self.library.digraph_dijkstra_shortest_path_lengths(self.loaded, start, float, goal=goal)
        return float(found[goal]) if goal in found else float("inf")


class NetworKit(Library):
    """networkit.distance.BidirectionalDijkstra. It crashes with storePred=False."""

    module = "networkit"

    def load(self) -> None:
        """Build the Graph."""
        self.library.setNumberOfThreads(1)
        columns = (self.graph.weight, (self.tails.astype(np.uint64), self.graph.head.astype(np.uint64)))
        self.loaded = self.library.GraphFromCoo(columns, n=self.node_count, weighted=True, directed=True)

    def query(self, start: int, goal: int) -> float:
        """Return the cost; the search finds the path too."""
        search = self.library.distance.BidirectionalDijkstra(self.loaded, start, goal, True)
        search.run()
        cost = float(search.getDistance())
        return cost if cost < np.finfo(np.float64).max else float("inf")
