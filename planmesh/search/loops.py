"""Loops of a path, which cost nothing on a cheapest one."""

from __future__ import annotations

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array


def without_loops(nodes: Int32Array, costs: Float64Array) -> tuple[Int32Array, Float64Array]:
    """Cut out the edges that lead from a node back to itself. On a cheapest path such a loop costs 0."""
    if len(set(nodes.tolist())) == len(nodes):
        return nodes, costs
    kept: list[int] = [0]
    position: dict[int, int] = {int(nodes[0]): 0}
    for index in range(1, len(nodes)):
        node = int(nodes[index])
        seen = position.get(node)
        if seen is None:
            position[node] = len(kept)
            kept.append(index)
        else:
            for dropped in kept[seen + 1 :]:
                del position[int(nodes[dropped])]
            del kept[seen + 1 :]
            # The path continues with the edge after the end of the loop.
            kept[seen] = index
    # Each kept index is the last occurrence of its node. The edge behind it leads to the next kept node.
    last = np.array(kept, np.int64)
    return nodes[last], costs[last[:-1]]
