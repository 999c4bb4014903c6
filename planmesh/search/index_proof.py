"""Proof that an index or an overlay keeps all distances of its graph, and spot checks by a plain search.

The proof needs no trust in contraction, nor in its witness searches. Let u and w be any nodes above a contracted node
m, with edges u to m and m to w. If for all such ways a climb from both sides finds one as cheap, then taking m out
loses no distance; by induction over the ranks, downward from the core, no distance is lost at all. If it also finds a
way as cheap as each edge of the graph, distances are at most those of the graph. That they are not less follows from
the structure (`planmesh.search.verification`): edges are the graph's, shortcuts are the sums of their halves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from planmesh.graph.model import INVALID_ID, Float64Array, Int32Array, Int64Array
from planmesh.search.certificate import RELATIVE_TOLERANCE
from planmesh.search.hierarchy import Hierarchy, make_search_space
from planmesh.search.partition_index import PartitionIndex
from planmesh.search.read_only import read_only
from planmesh.search.reference import dijkstra
from planmesh.search.verification import EdgeList, Fault, down_edges, owners, remaining_edges, up_edges
from planmesh.search.verification_kernels import distance_between, find_lost_paths

Pair = tuple[int, int]


class Proven(NamedTuple):
    """Part of a proof: the sources that are done, the pairs that were compared, and what was lost."""

    done: int
    compared: int
    faults: list[Fault]


def whole_hierarchy(index: PartitionIndex) -> Hierarchy:
    """The hierarchy of a partition with the edges between overlay nodes too, as those of a core; copies it."""
    remaining = remaining_edges(index)
    up = _joined(up_edges(index.hierarchy), remaining)
    down = _joined(down_edges(index.hierarchy), remaining)
    up_first, up_order = _by_owner(up.tail, index.node_count)
    down_first, down_order = _by_owner(down.head, index.node_count)
    return Hierarchy(
        read_only(index.rank, np.int32),
        read_only(up_first, np.int32),
        read_only(up.head[up_order], np.int32),
        read_only(up.weight[up_order], np.float64),
        read_only(up.middle[up_order], np.int32),
        read_only(down_first, np.int32),
        read_only(down.tail[down_order], np.int32),
        read_only(down.weight[down_order], np.float64),
        read_only(down.middle[down_order], np.int32),
    )


def prove_distances(
    hierarchy: Hierarchy,
    first: Int32Array | Int64Array,
    head: Int32Array,
    weight: Float64Array,
    sources_at_once: int,
) -> Iterator[Proven]:
    """Prove that a hierarchy keeps the distances of a graph, a segment of `sources_at_once` nodes at a time.

    The graph: first int32 or int64[n + 1], head int32[m], weight float64[m]. The hierarchy, with the edges between
    nodes that were not contracted, has passed `hierarchy_faults`. Costs differ when they are farther apart than
    RELATIVE_TOLERANCE. Memory: 90 bytes a node and 16 for each edge down.
    """
    node_count = len(hierarchy.rank)
    rows = read_only(first, np.int64), read_only(head, np.int32), read_only(weight, np.float64)
    over = _paths_over(hierarchy)
    forward, backward = make_search_space(node_count), make_search_space(node_count)
    limit = np.full(node_count, np.inf)
    targets = np.empty(node_count, np.int32)
    for begin in range(0, node_count, sources_at_once):
        stop = min(begin + sources_at_once, node_count)
        compared, lost, source, target, cost = find_lost_paths(
            hierarchy, *rows, *over, begin, stop, forward, backward, limit, targets, RELATIVE_TOLERANCE
        )
        faults = []
        if lost:
            found = distance_between(hierarchy, forward, backward, source, target)
            faults.append(
                Fault("distance", f"a cost of at most {cost!r}", cost_or_none(found), lost, (int(source), int(target)))
            )
        yield Proven(stop, compared, faults)


def compare_with_plain_search(
    hierarchy: Hierarchy,
    first: Int32Array | Int64Array,
    head: Int32Array,
    weight: Float64Array,
    pairs: Iterable[Pair],
) -> tuple[int, list[Fault]]:
    """Compare the distances of some pairs with those of Dijkstra's search on the graph, one search for each source.

    Arguments as those of `prove_distances`. Returns how many pairs were compared, and what differs: all of one source
    is one fault. A pair without a path on one side only differs.
    """
    node_count = len(hierarchy.rank)
    forward, backward = make_search_space(node_count), make_search_space(node_count)
    by_source: dict[int, list[int]] = {}
    for start, goal in pairs:
        by_source.setdefault(start, []).append(goal)
    faults = []
    for start, goals in by_source.items():
        plain, _, _ = dijkstra(first, head, weight, start)
        found = [distance_between(hierarchy, forward, backward, start, goal) for goal in goals]
        wrong = [at for at, goal in enumerate(goals) if costs_differ(float(plain[goal]), found[at])]
        if wrong:
            goal = goals[wrong[0]]
            texts = cost_or_none(float(plain[goal])), cost_or_none(found[wrong[0]])
            faults.append(Fault("plain search", *texts, len(wrong), (start, goal)))
    return sum(len(goals) for goals in by_source.values()), faults


def hub_pairs(hierarchy: Hierarchy, hubs: int, pairs: int, draw: np.random.Generator) -> list[Pair]:
    """Draw pairs of neighbours of the `hubs` contracted nodes with most ways over them: from one to another.

    At most `pairs` in all, from one source each for as many hubs as there are; its targets are neighbours of the same
    hub, those that it may have lost.
    """
    into = np.diff(hierarchy.down_first).astype(np.int64)
    out = np.diff(hierarchy.up_first).astype(np.int64)
    paths = np.where(hierarchy.rank == INVALID_ID, 0, into * out)
    chosen = np.argsort(-paths, kind="stable")[:hubs]
    found: list[Pair] = []
    for hub in chosen[paths[chosen] > 0].tolist():
        sources = hierarchy.down_tail[hierarchy.down_first[hub] : hierarchy.down_first[hub + 1]]
        targets = hierarchy.up_head[hierarchy.up_first[hub] : hierarchy.up_first[hub + 1]]
        source = int(draw.choice(sources))
        goals = draw.permutation(targets[targets != source])[: max(1, pairs // hubs)]
        found += [(source, goal) for goal in goals.tolist()]
    return found


def random_pairs(node_count: int, sources: int, targets: int, draw: np.random.Generator) -> list[Pair]:
    """Draw `sources` nodes and `targets` others for each, all with repetition."""
    return [
        (int(start), int(goal))
        for start in draw.integers(0, node_count, sources)
        for goal in draw.integers(0, node_count, targets)
    ]


def costs_differ(one: float, other: float) -> bool:
    """Tell whether two costs are farther apart than sums of the same terms may be; infinite is only like infinite."""
    if max(one, other) == np.inf:
        return one != other
    return abs(one - other) > RELATIVE_TOLERANCE * max(one, other)


def cost_or_none(cost: float) -> str:
    """A cost in words, in full precision."""
    return "no path" if cost == np.inf else repr(float(cost))


def _paths_over(hierarchy: Hierarchy) -> tuple[Int64Array, Int32Array, Float64Array]:
    """The contracted nodes that an edge of each node leads down to: first int64[n + 1], node int32, weight float64."""
    middle = owners(hierarchy.down_first)
    of_contracted = np.flatnonzero(hierarchy.rank[middle] != INVALID_ID)
    first, order = _by_owner(hierarchy.down_tail[of_contracted], len(hierarchy.rank))
    chosen = of_contracted[order]
    return first, middle[chosen], hierarchy.down_weight[chosen]


def _by_owner(owner: Int32Array, node_count: int) -> tuple[Int64Array, Int64Array]:
    """Firsts int64[n + 1], and the order that sorts edges by the node that they belong to."""
    first = np.zeros(node_count + 1, np.int64)
    np.cumsum(np.bincount(owner, minlength=node_count), out=first[1:])
    return first, np.argsort(owner, kind="stable")


def _joined(one: EdgeList, other: EdgeList) -> EdgeList:
    return EdgeList(
        np.concatenate([one.tail, other.tail]),
        np.concatenate([one.head, other.head]),
        np.concatenate([one.weight, other.weight]),
        np.concatenate([one.middle, other.middle]),
    )
