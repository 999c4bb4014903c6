"""Proof that distances are right, edge by edge, without trusting the search that found them.

The method is that of RoutingKit's `src/test_dijkstra.cpp`: no edge reaches its head at less than the head's distance,
and every reached node has an edge from another reached node that accounts for its distance.
"""

from __future__ import annotations

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array, Int64Array
from planmesh.kernels import kernel
from planmesh.search.read_only import read_only

RELATIVE_TOLERANCE = 1e-9
"""Relative difference up to which two sums of the same costs count as equal."""


@kernel
def _find_violation(
    first_out: Int64Array,
    head: Int32Array,
    weight: Float64Array,
    parent: Int32Array,
    distance: Float64Array,
    source: int,
    tolerance: float,
) -> tuple[int, int]:
    """Return the kind (an index of VIOLATIONS, 0 for none) and the node (-1 for none) of the first violation."""
    node_count = len(distance)
    if distance[source] != 0.0 or parent[source] != -1:
        return 1, source
    steps = np.zeros(node_count, np.int32)
    for node in range(node_count):
        if not distance[node] >= 0.0:
            return 2, node
        for edge in range(first_out[node], first_out[node + 1]):
            reached = distance[node] + weight[edge]
            if reached < distance[head[edge]] * (1.0 - tolerance) or (
                reached < np.inf and distance[head[edge]] == np.inf
            ):
                return 3, head[edge]
            if parent[head[edge]] == node and abs(reached - distance[head[edge]]) <= tolerance * reached:
                steps[head[edge]] = 1
    for node in range(node_count):
        if node != source and (distance[node] < np.inf) != (parent[node] >= 0):
            return 4, node
        if node != source and parent[node] >= 0 and steps[node] == 0:
            return 4, node
    return _find_loose_node(parent, source, steps), -1


@kernel
def _find_loose_node(parent: Int32Array, source: int, state: Int32Array) -> int:
    """Return 5 if the parents of some node do not lead to the source (they form a loop of free edges), else 0."""
    state[:] = 0
    state[source] = 2
    for begin in range(len(parent)):
        if parent[begin] < 0:
            continue
        node = begin
        while state[node] == 0:
            state[node] = 1
            if parent[node] < 0:
                return 5
            node = parent[node]
        if state[node] == 1:
            return 5
        node = begin
        while state[node] == 1:
            state[node] = 2
            node = parent[node]
    return 0


VIOLATIONS = (
    "",
    "the source's distance is not 0 or it has a parent",
    "a distance is negative or not a number",
    "an edge reaches it at less cost",
    "no edge from its parent accounts for its distance",
    "following parents does not lead to the source",
)


def find_violation(
    first_out: Int32Array | Int64Array,
    head: Int32Array,
    weight: Float64Array,
    source: int,
    distances: Float64Array,
    parents: Int32Array,
    tolerance: float = RELATIVE_TOLERANCE,
) -> str:
    """Describe the first violation in distances (float64[n]) and parents (int32[n], -1 for none) from `source`.

    The graph: first_out int32 or int64[n + 1], head int32[m], weight float64[m]. Sums may differ by the relative
    `tolerance`. Returns "" if there is no violation.
    """
    kind, node = _find_violation(
        read_only(first_out, np.int64),
        read_only(head, np.int32),
        read_only(weight, np.float64),
        read_only(parents, np.int32),
        read_only(distances, np.float64),
        source,
        float(tolerance),
    )
    return f"{VIOLATIONS[kind]} (node {node})" if kind and node >= 0 else VIOLATIONS[kind]
