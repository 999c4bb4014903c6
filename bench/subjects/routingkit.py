"""RoutingKit's customisable contraction hierarchies, the reference for fast search. Static, and in one process."""

from __future__ import annotations

import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pymetis

from bench.graphs import BenchGraph
from bench.subject import Unavailable


class RoutingKit:
    """Orders, builds and customises; the order is inertial flow with coordinates, else METIS's nested dissection.

    The package's own order without coordinates, by degree, takes 28 s and a query 8 ms on service-like 10 k nodes;
    METIS's
    order takes 0.2 s and a query 0.14 ms.
    """

    def prepare(self, graph: BenchGraph, folder: Path) -> None:  # noqa: ARG002 - it needs none
        """Import the package. Its weights are whole numbers."""
        try:
            self.library: Any = import_module("routingkit_cch")
        except ImportError as error:
            raise Unavailable(f"{error}; it is in bench/requirements.lock") from error
        self.graph = graph
        self.denominator = graph.cost_denominator
        self.tails = graph.tails().tolist()
        self.heads = graph.graph.head.tolist()
        self.weights = np.rint(graph.graph.weight * self.denominator).astype(np.int64).tolist()
        self.stages_s: dict[str, float] = {}

    def load(self) -> None:
        """Order, build, customise."""
        begun_s = time.perf_counter()
        count = self.graph.graph.node_count
        if self.graph.latitude is not None and self.graph.longitude is not None:
            places = self.graph.latitude.tolist(), self.graph.longitude.tolist()
            order = self.library.compute_order_inertial(count, self.tails, self.heads, *places)
        else:
            order = _nested_dissection(count, self.tails, self.heads)
        ordered_s = time.perf_counter()
        self.hierarchy = self.library.CCH(order, self.tails, self.heads, False)
        built_s = time.perf_counter()
        self.metric = self.library.CCHMetric(self.hierarchy, self.weights)
        self.search = self.library.CCHQuery(self.metric)
        self.stages_s = {
            "order": ordered_s - begun_s,
            "build": built_s - ordered_s,
            "customise": time.perf_counter() - built_s,
        }

    def query(self, start: int, goal: int) -> float:
        """Return the cost; also unpacks the path."""
        found = self.search.run(start, goal)
        if found.distance is None:
            return float("inf")
        path = found.node_path  # unpacks the path
        assert path[0] == start, "a path begins at its start"
        return float(found.distance / self.denominator)

    def close(self) -> None:
        """Do nothing: no process was started."""


def _nested_dissection(count: int, tails: list[int], heads: list[int]) -> list[int]:
    """Return an order of the undirected graph in which small separators come last."""
    one, other = np.array(tails, np.int64), np.array(heads, np.int64)
    both = np.unique(np.concatenate([one * count + other, other * count + one]))
    first = np.zeros(count + 1, np.int32)
    np.cumsum(np.bincount(both // count, minlength=count), out=first[1:])
    adjacency = pymetis.CSRAdjacency(first, (both % count).astype(np.int32))
    order: Any = pymetis.nested_dissection(adjacency)[0]
    return [int(node) for node in order]
