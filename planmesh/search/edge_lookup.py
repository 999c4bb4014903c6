"""Finding the edges of a path in an adjacency array."""

from __future__ import annotations

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array, Int64Array
from planmesh.kernels import kernel


@kernel
def path_edges(first_out: Int32Array, head: Int32Array, weight: Float64Array, nodes: Int32Array) -> Int64Array:
    """Return the positions (int64[k - 1]) of the edges between consecutive `nodes` (int32[k]).

    Among parallel edges the cheapest is taken; -1 where there is none.
    """
    edges = np.full(max(len(nodes) - 1, 0), -1, np.int64)
    for step in range(len(nodes) - 1):
        best = np.inf
        for edge in range(first_out[nodes[step]], first_out[nodes[step] + 1]):
            if head[edge] == nodes[step + 1] and weight[edge] < best:
                best = weight[edge]
                edges[step] = edge
    return edges
