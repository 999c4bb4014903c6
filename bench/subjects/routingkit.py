"""RoutingKit's customisable contraction hierarchies: the bar for search. Static, and in one process."""

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
    """Order, build, customise; order by inertial flow where nodes have places, else by METIS's nested dissection.

    The package's own order for graphs without places, by degree, needs 28 s and a query 8 ms on service-like 10 k
    nodes; with METIS's order it is 0.2 s and 0.14 ms.
    """

    def prepare(self, graph: BenchGraph, folder: Path) -> None:  # noqa: ARG002 - it needs none
        """Import it; its weights are whole numbers."""
        try:
            self.library: Any = import_module("routingkit_cch")
        except ImportError as error:
            raise Unavailable(f"{error}; it is in bench/requirements.lock") from error
        self.graph = graph
        self.parts = graph.cost_parts
        self.tails = graph.tails().tolist()
        self.heads = graph.graph.head.tolist()
        self.weights = np.rint(graph.graph.weight * self.parts).astype(np.int64).tolist()
        self.parts_s: dict[str, float] = {}

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
        hierarchy = self.library.CCH(order, self.tails, self.heads, False)
        built_s = time.perf_counter()
        self.metric = self.library.CCHMetric(hierarchy, self.weights)
        self.search = self.library.CCHQuery(self.metric)
        self.parts_s = {
            "order": ordered_s - begun_s,
            "build": built_s - ordered_s,
            "customise": time.perf_counter() - built_s,
        }

    def query(self, start: int, goal: int) -> float:
        """Cost; it unpacks the path too."""
        found = self.search.run(start, goal)
        if found.distance is None:
            return float("inf")
        path = found.node_path  # made when it is asked for
        assert path[0] == start, "a path begins at its start"
        return float(found.distance / self.parts)

    def close(self) -> None:
        """Nothing was started."""


def _nested_dissection(count: int, tails: list[int], heads: list[int]) -> list[int]:
    """An order in which small separators come last, from the graph without directions."""
    one, other = np.array(tails, np.int64), np.array(heads, np.int64)
    both = np.unique(np.concatenate([one * count + other, other * count + one]))
    first = np.zeros(count + 1, np.int32)
    np.cumsum(np.bincount(both // count, minlength=count), out=first[1:])
    adjacency = pymetis.CSRAdjacency(first, (both % count).astype(np.int32))
    order: Any = pymetis.nested_dissection(adjacency)[0]
    return [int(node) for node in order]
