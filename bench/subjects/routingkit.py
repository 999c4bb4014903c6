"""RoutingKit's customisable contraction hierarchies: the bar for search. Static, and in one process."""

from __future__ import annotations

import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from bench.graphs import BenchGraph
from bench.subject import Unavailable


class RoutingKit:
    """Order by inertial flow where nodes have places, by degree where they have none; then build and customise."""

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
            order = self.library.compute_order_degree(count, self.tails, self.heads)
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
        return float("inf") if found.distance is None else found.distance / self.parts

    def close(self) -> None:
        """Nothing was started."""
