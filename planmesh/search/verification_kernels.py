"""The inner loops of verification: halves of shortcuts, and distances that no contraction may lose."""

from __future__ import annotations

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array, Int64Array
from planmesh.kernels import kernel
from planmesh.search.hierarchy import Hierarchy, SearchSpace, reset_search
from planmesh.search.node_queue import queue_pop, queue_put

HALF_MISSING = -1.0
"""Stands for the cost of a shortcut whose middle lacks one of its halves; costs are not negative."""


@kernel
def sums_of_halves(
    hierarchy: Hierarchy, tail: Int32Array, head: Int32Array, middle: Int32Array, weight: Float64Array
) -> Float64Array:
    """What the halves of each shortcut add up to (float64[m]), HALF_MISSING where one is not there.

    The shortcuts: `tail`, `head`, `middle` int32[m], `weight` float64[m], all nodes in range. An edge (middle -1) gets
    its own weight. Of several halves between the same nodes the first counts, as it does in `expand_edge`.
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
    """Dijkstra from `node` along edges that lead upward or between nodes of the core, as far as `bound`.

    The labels stay; returns how many there are.
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
    """Whether a backward climb from `node` meets the labels of `forward` at a cost of at most `limit`."""
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
    """Cost of the cheapest way up from `start` and down to `goal`, infinite if there is none."""
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
    """Note that `target` must be reached at no more than `cost`; returns how many targets there are."""
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
    """Look for pairs of nodes that the hierarchy leads between at a higher cost than it must, from nodes `begin` on.

    Two things must be matched from every source: each of its edges of the graph (`row_*`), and each way over one
    contracted node that its edges lead to (`over_*`: those nodes, the transpose of `down_*`). `limit` float64[n]
    (infinite throughout) and `targets` int32[n] are scratch memory. Returns how many pairs were compared and how many
    are lost, and of the first lost one source, target and the cost that must be matched.
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
