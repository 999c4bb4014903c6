"""Random changes of a benchmark's graph, and the graph as they leave it, by which answers are checked."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from bench.graphs import BenchGraph
from planmesh.client import Change, DeleteEdge, UpsertEdge, UpsertNode
from planmesh.graph.adjacency import build_graph
from planmesh.graph.model import Float64Array, Graph
from planmesh.search.reference import dijkstra

SHARES: Final = {"cost": 60, "state": 20, "insert": 10, "delete": 10}
"""Percentages of the kinds of changes."""

NEAR: Final = 50
"""A new edge joins nodes whose numbers differ by at most this, so that most stay in their domain."""

ZIPF: Final = 1.1

Edge = tuple[int, int]


@dataclass
class ChangedGraph:
    """A graph and the changes that were drawn. `zipf` draws domains by their rank instead of nodes uniformly."""

    graph: BenchGraph
    seed: int
    zipf: bool = False
    costs: dict[Edge, float] = field(default_factory=dict)
    """Today's costs of the edges that changed, infinite for deleted ones."""
    down: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._base = self.graph.graph
        self._nodes = self._base.node_count
        domains = self._nodes // max(self.graph.domain_nodes, 1)
        ranks = np.arange(1, domains + 1, dtype=np.float64) ** -ZIPF
        self._ranks = np.cumsum(ranks / ranks.sum())
        self._domains = np.random.default_rng(self.seed).permutation(domains)
        self._kinds: dict[str, Callable[[], Change]] = {
            "cost": self._cost,
            "state": self._state,
            "insert": self._insert,
            "delete": self._delete,
        }

    def change(self) -> Change:
        """Draw a change, and note it."""
        (kind,) = self._chance.choices(list(SHARES), list(SHARES.values()))
        return self._kinds[kind]()

    def ends_up(self, count: int) -> list[Edge]:
        """Draw pairs of nodes that are up."""
        pairs: list[Edge] = []
        while len(pairs) < count:
            pair = self._chance.randrange(self._nodes), self._chance.randrange(self._nodes)
            if not self.down.intersection(pair):
                pairs.append(pair)
        return pairs

    def today(self) -> Graph:
        """Return the graph as the changes leave it."""
        tails = self.graph.tails()
        keys = tails.astype(np.int64) * self._nodes + self._base.head
        weights = self._base.weight.copy()
        new: list[tuple[int, int, float]] = []
        for (tail, head), cost in self.costs.items():
            place = int(np.searchsorted(keys, tail * self._nodes + head))
            if place < len(keys) and keys[place] == tail * self._nodes + head:
                weights[place] = cost
            elif np.isfinite(cost):
                new.append((tail, head, cost))
        down = np.zeros(self._nodes, bool)
        down[list(self.down)] = True
        more = np.array(new, np.float64).reshape(-1, 3)
        tails = np.concatenate([tails, more[:, 0].astype(np.int32)])
        heads = np.concatenate([self._base.head, more[:, 1].astype(np.int32)])
        weights = np.concatenate([weights, more[:, 2]])
        kept = np.isfinite(weights) & ~down[tails] & ~down[heads]
        return build_graph(self._nodes, tails[kept], heads[kept], weights[kept])[0]

    def distances(self, graph: Graph, start: int) -> Float64Array:
        """Return the costs from a node to all on a graph of `today`."""
        return dijkstra(graph.first_out, graph.head, graph.weight, start)[0]

    def _node(self) -> int:
        if not self.zipf:
            return self._chance.randrange(self._nodes)
        domain = int(self._domains[np.searchsorted(self._ranks, self._chance.random())])
        size = self.graph.domain_nodes
        return min(domain * size + self._chance.randrange(size), self._nodes - 1)

    def _edge(self) -> Edge:
        """Draw an edge of the base that was not deleted."""
        while True:
            tail = self._node()
            first, end = self._base.first_out[tail : tail + 2].tolist()
            if first < end:
                edge = tail, int(self._base.head[self._chance.randrange(first, end)])
                if np.isfinite(self.costs.get(edge, 0.0)):
                    return edge

    def _named(self, edge: Edge) -> tuple[str, str]:
        return self.graph.node_id(edge[0]), self.graph.node_id(edge[1])

    def _cost(self) -> Change:
        edge = self._edge()
        first, end = self._base.first_out[edge[0] : edge[0] + 2].tolist()
        place = first + int(np.searchsorted(self._base.head[first:end], edge[1]))
        self.costs[edge] = float(self._base.weight[place]) * self._chance.choice([0.5, 0.75, 1.5, 2.0, 4.0])
        return UpsertEdge(*self._named(edge), cost=self.costs[edge])

    def _state(self) -> Change:
        if self.down and self._chance.random() < 0.5:
            node = self._chance.choice(sorted(self.down))
            self.down.discard(node)
            return UpsertNode(self.graph.node_id(node), state="up")
        node = self._node()
        self.down.add(node)
        return UpsertNode(self.graph.node_id(node), state="down")

    def _insert(self) -> Change:
        tail = self._node()
        head = (tail + self._chance.randint(1, NEAR)) % self._nodes
        self.costs[tail, head] = float(self._chance.randint(1, 20))
        return UpsertEdge(*self._named((tail, head)), cost=self.costs[tail, head])

    def _delete(self) -> Change:
        edge = self._edge()
        self.costs[edge] = float("inf")
        return DeleteEdge(*self._named(edge))
