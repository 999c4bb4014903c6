"""The edges at some nodes of a graph that has changed since its base."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array
from planmesh.search.delta import UP, cost_at
from planmesh.v1 import plan_pb2
from services.coordinator.graph_changes import ChangesView
from services.coordinator.versioned_graph import VersionedGraph


def expand_changed(
    graph: VersionedGraph,
    view: ChangesView,
    improved: Iterable[tuple[int, float]],
    direction: int,
    checkpoint: Callable[[], None],
) -> tuple[Int32Array, Float64Array]:
    """Return the other ends (int32[m]) of all edges at nodes with their costs, and the costs (float64[m]) there."""
    ends: list[int] = []
    costs: list[float] = []
    outgoing = direction != plan_pb2.DIRECTION_IN
    incoming = direction in {plan_pb2.DIRECTION_IN, plan_pb2.DIRECTION_BOTH}
    for node, cost in improved:
        checkpoint()
        for forward, is_wanted in ((True, outgoing), (False, incoming)):
            if is_wanted:
                for end, price in edges_at(graph, view, node, forward=forward):
                    ends.append(end)
                    costs.append(cost + price)
    return np.array(ends, np.int32), np.array(costs, np.float64)


def edges_at(graph: VersionedGraph, view: ChangesView, node: int, *, forward: bool) -> Iterator[tuple[int, float]]:
    """Yield the other ends, if they are up, and the costs of the edges that leave a node, or that arrive at it.

    Raises what SnapshotReader does.
    """
    delta, version = view.delta.arrays, view.delta.version
    known: set[int] = set()
    slot = int((delta.out_slot if forward else delta.in_slot)[node]) - 1
    while slot >= 0:
        end = int((delta.head if forward else delta.tail)[slot])
        known.add(end)
        cost = float(cost_at(delta, slot, version))
        if np.isfinite(cost) and view.delta.state(end) == UP:
            yield end, cost
        slot = int((delta.next_out if forward else delta.next_in)[slot])
    if node >= graph.node_count:
        return
    assert graph.mapped is not None, "graphs that change are opened with their files"
    partition = graph.mapped.partition(graph.directory.partition_of(node))
    first, ends, costs = (
        (partition.out_first, partition.out_head, partition.out_cost)
        if forward
        else (partition.in_first, partition.in_tail, partition.in_cost)
    )
    local = node - partition.partition_first
    some = slice(int(first[local]), int(first[local + 1]))
    for end, cost in zip(ends[some].tolist(), costs[some].tolist(), strict=True):
        if end not in known and view.delta.state(end) == UP:
            yield end, cost
