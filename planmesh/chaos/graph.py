"""The graph that a chaos run queries, in variants with different costs, so that a mix of two versions is detected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from planmesh.client import EdgeRows, GraphRows, NodeRows, RowOrigin
from planmesh.graph.generate import COST_HIGHEST, COST_LOWEST, GeneratedGraph, service
from planmesh.graph.model import Float64Array, Int32Array
from planmesh.measure.check import GraphBuilder, ReferenceGraph

ROWS_PER_BATCH: Final = 5_000


@dataclass(frozen=True, slots=True)
class Variant:
    """The graph with one set of costs: `tails` and `heads` int32[m], `costs` float64[m], `domains` one per node."""

    ids: list[str]
    domains: list[str]
    tails: Int32Array
    heads: Int32Array
    costs: Float64Array

    def batches(self) -> Iterator[GraphRows]:
        """Yield the rows in the batches that a load sends."""
        for first in range(0, len(self.ids), ROWS_PER_BATCH):
            last = first + ROWS_PER_BATCH
            yield NodeRows(self.ids[first:last], self.domains[first:last], origin=RowOrigin("nodes", first=first + 1))
        for first in range(0, len(self.tails), ROWS_PER_BATCH):
            rows = slice(first, first + ROWS_PER_BATCH)
            sources, targets = ([self.ids[node] for node in ends[rows].tolist()] for ends in (self.tails, self.heads))
            yield EdgeRows(sources, targets, self.costs[rows].tolist(), RowOrigin("edges", first=first + 1))

    def edges(self) -> list[tuple[str, str]]:
        """Return the ends of every edge once."""
        joined = dict.fromkeys(zip(self.tails.tolist(), self.heads.tolist(), strict=True))
        return [(self.ids[tail], self.ids[head]) for tail, head in joined if tail != head]

    def reference(self) -> ReferenceGraph:
        """Build the graph for checking plans from the same rows, without the mesh."""
        builder = GraphBuilder()
        builder.add_nodes(self.ids)
        sources, targets = ([self.ids[node] for node in ends.tolist()] for ends in (self.tails, self.heads))
        builder.add_edges(sources, targets, self.costs.tolist())
        return builder.finish()


class ChaosGraph:
    """A generated service graph, in any number of variants that differ in their costs."""

    def __init__(self, nodes: int, seed: int) -> None:
        self._seed = seed
        generated = service(nodes, seed)
        edges = generated.edges()
        self._tails, self._heads, self._costs = edges.tails, edges.heads, edges.costs
        self.ids = _texts(generated.ids.packed(np.arange(nodes)))
        self._domains = _domains(generated)

    def variant(self, number: int) -> Variant:
        """Return the graph with its own costs (0), or with random costs that depend only on `number` and the seed."""
        costs = self._costs
        if number:
            random = np.random.default_rng([self._seed, number])
            costs = random.integers(COST_LOWEST, COST_HIGHEST + 1, len(costs)).astype(np.float64)
        return Variant(self.ids, self._domains, self._tails, self._heads, costs)


def _texts(packed: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> list[str]:
    return [bytes(row).decode("ascii") for row in packed]


def _domains(generated: GeneratedGraph) -> list[str]:
    return _texts(generated.domain_names(np.arange(generated.nodes, dtype=np.int64)))
