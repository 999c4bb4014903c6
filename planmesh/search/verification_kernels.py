"""The inner loops of verification: the halves of shortcuts, and the distances that contraction must preserve."""

from __future__ import annotations

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array, Int64Array
from planmesh.kernels import kernel
from planmesh.search.hierarchy import Hierarchy, SearchSpace, reset_search
from planmesh.search.node_queue import queue_pop, queue_put

HALF_MISSING = -1.0
"""The sum of a shortcut whose middle lacks one of the halves. Costs are never negative."""


@kernel
def sums_of_halves(
    hierarchy: Hierarchy, tail: Int32Array, head: Int32Array, middle: Int32Array, weight: Float64Array
) -> Float64Array:
    """Return the sum of the halves of each shortcut (float64[m]), HALF_MISSING where a half is missing.

    The shortcuts: `tail`, `head`, `middle` int32[m], `weight` float64[m], all nodes in range. An edge (middle -1) gets
    its own weight. Of several halves between the same nodes, the first counts, as in `expand_edge`.
    """
    sums = np.empty(len(weight), np.float64)
    for edge in range(len(weight)):
        over = middle[edge]
        if over < 0:
            sums[edge] = weight[edge]
            continue
        lower, upper = HALF_MISSING, HALF_MISSING
        for half in range(hierarchy.down_first[over], hierarchy.down_first[over + 1]):
            if hierarchy.down_tail[half] == tail[edge]:
                lower = hierarchy.down_weight[half]
                break
        for half in range(hierarchy.up_first[over], hierarchy.up_first[over + 1]):
            if hierarchy.up_head[half] == head[edge]:
                upper = hierarchy.up_weight[half]
                break
        sums[edge] = lower + upper if lower >= 0.0 and upper >= 0.0 else HALF_MISSING
    return sums


@kernel
def _climb(
    first: Int32Array, ends: Int32Array, weight: Float64Array, space: SearchSpace, node: int, bound: float
) -> int:
    """Run Dijkstra's search from `node` along edges that lead upward or inside the core, up to the cost `bound`.

    The labels stay. Returns how many there are.
    """
    space.touched[0] = node
    space.distance[node] = 0.0
    queue_put(space.queue, node, 0.0)
    touched_count = 1
    while space.queue.size[0] > 0:
        below = queue_pop(space.queue)
        for edge in range(first[below], first[below + 1]):
            above = ends[edge]
            reached = space.distance[below] + weight[edge]
            if reached <= bound and reached < space.distance[above]:
                if space.distance[above] == np.inf:
                    space.touched[touched_count] = above
                    touched_count += 1
                space.distance[above] = reached
                queue_put(space.queue, above, reached)
    return touched_count


@kernel
def _meets(hierarchy: Hierarchy, forward: SearchSpace, backward: SearchSpace, node: int, limit: float) -> bool:
    """Return whether a backward search upward from `node` meets the labels of `forward` at a cost up to `limit`."""
    backward.touched[0] = node
    backward.distance[node] = 0.0
    queue_put(backward.queue, node, 0.0)
    touched_count = 1
    found = False
    while backward.queue.size[0] > 0:
        below = queue_pop(backward.queue)
        key = backward.distance[below]
        if key + forward.distance[below] <= limit:
            found = True
            break
        for edge in range(hierarchy.down_first[below], hierarchy.down_first[below + 1]):
            above = hierarchy.down_tail[edge]
            reached = key + hierarchy.down_weight[edge]
            if reached <= limit and reached < backward.distance[above]:
                if backward.distance[above] == np.inf:
                    backward.touched[touched_count] = above
                    touched_count += 1
                backward.distance[above] = reached
                queue_put(backward.queue, above, reached)
    reset_search(backward, touched_count)
    return found


@kernel
def distance_between(hierarchy: Hierarchy, forward: SearchSpace, backward: SearchSpace, start: int, goal: int) -> float:
    """Return the cost of the cheapest path up from `start` and down to `goal`, infinite if there is none."""
    start_count = _climb(hierarchy.up_first, hierarchy.up_head, hierarchy.up_weight, forward, start, np.inf)
    goal_count = _climb(hierarchy.down_first, hierarchy.down_tail, hierarchy.down_weight, backward, goal, np.inf)
    best = np.inf
    for position in range(goal_count):
        node = backward.touched[position]
        best = min(best, forward.distance[node] + backward.distance[node])
    reset_search(forward, start_count)
    reset_search(backward, goal_count)
    return best


@kernel
def _want(limit: Float64Array, targets: Int32Array, count: int, target: int, cost: float) -> int:
    """Require that `target` is reached at a cost of at most `cost`; return the number of targets."""
    if limit[target] == np.inf:
        targets[count] = target
        count += 1
    limit[target] = min(limit[target], cost)
    return count


@kernel
def find_lost_paths(
    hierarchy: Hierarchy,
    row_first: Int64Array,
    row_head: Int32Array,
    row_weight: Float64Array,
    over_first: Int64Array,
    over_node: Int32Array,
    over_weight: Float64Array,
    begin: int,
    stop: int,
    forward: SearchSpace,
    backward: SearchSpace,
    limit: Float64Array,
    targets: Int32Array,
    tolerance: float,
) -> tuple[int, int, int, int, float]:
    """Count the pairs whose distance in the hierarchy is too high, over the sources from `begin` to `stop` - 1.

    The hierarchy must match two kinds of paths from each source: its edges in the graph (`row_*`), and the paths of two
    edges through a contracted node below it (`over_*`: these nodes, the transpose of `down_*`). `limit` float64[n],
    all infinite, and `targets` int32[n] are scratch memory. Returns the number of pairs compared, the number lost, and
    of the first lost pair the source, the target and the cost that must be matched.
    """
    compared, lost, lost_source, lost_target, lost_limit = 0, 0, -1, -1, 0.0
    for source in range(begin, stop):
        count = 0
        for edge in range(row_first[source], row_first[source + 1]):
            count = _want(limit, targets, count, row_head[edge], row_weight[edge])
        for place in range(over_first[source], over_first[source + 1]):
            over = over_node[place]
            for edge in range(hierarchy.up_first[over], hierarchy.up_first[over + 1]):
                if hierarchy.up_head[edge] != source:
                    cost = over_weight[place] + hierarchy.up_weight[edge]
                    count = _want(limit, targets, count, hierarchy.up_head[edge], cost)
        bound = 0.0
        for position in range(count):
            bound = max(bound, limit[targets[position]])
        touched_count = _climb(
            hierarchy.up_first, hierarchy.up_head, hierarchy.up_weight, forward, source, bound * (1.0 + tolerance)
        )
        for position in range(count):
            target = targets[position]
            allowed = limit[target] * (1.0 + tolerance)
            compared += 1
            if forward.distance[target] > allowed and not _meets(hierarchy, forward, backward, target, allowed):
                if lost == 0:
                    lost_source, lost_target, lost_limit = source, target, limit[target]
                lost += 1
            limit[target] = np.inf
        reset_search(forward, touched_count)
    return compared, lost, lost_source, lost_target, lost_limit
