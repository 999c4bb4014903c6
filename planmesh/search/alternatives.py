"""Ranked alternatives: the k cheapest paths without loops, or the cheapest ones that share little.

Yen's method (1971) in the order of Lawler (1972): every path that was found divides the paths that are left into sets,
each with a common beginning and with edges that must not come next. The cheapest path of a set is searched only when a
lower bound of it is the least of all that is left. The bound needs the distances from all nodes beside the path to the
goal, which one backward search finds (as in Feng 2014, without its repairs of the tree).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Final, Protocol

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array

EXAMINED_MAX: Final = 256
"""Paths that are found, in order, until enough of them share little enough with those before."""

ROUNDING: Final = 1e-9
"""Bounds are lower by this share, because they add the same numbers in another order."""

Edge = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class RankedPath:
    """Nodes int32[k], each once; costs float64[k - 1] of the edges; their sum, added in order."""

    nodes: Int32Array
    costs: Float64Array
    cost: float

    @classmethod
    def of(cls, nodes: Int32Array, costs: Float64Array) -> RankedPath:
        """Return the path."""
        return cls(nodes, costs, float(sum(costs.tolist())))

    def edges(self) -> list[Edge]:
        """Return the edges, in order."""
        return list(pairwise(self.nodes.tolist()))


class PathFinder(Protocol):
    """The searches of one version of a graph that the ranking needs; nodes are numbers, and all ends are up."""

    def path(self, start: int, nodes: Sequence[int], edges: Sequence[Edge]) -> RankedPath | None:
        """Return a cheapest path to the goal that uses none of some nodes and edges, None if there is none."""
        ...

    def least_costs(self, nodes: Int32Array) -> Float64Array:
        """Return lower bounds of the distances from distinct nodes (int32[t]) to the goal: float64[t]."""
        ...

    def edges_from(self, node: int) -> Iterator[tuple[int, float]]:
        """Yield the heads and costs of the edges that leave a node and may be used."""
        ...


@dataclass(frozen=True, slots=True)
class _Set:
    """All paths that begin with some nodes, at a cost, and do not go on to any of the heads `closed`."""

    nodes: tuple[int, ...]
    costs: Float64Array
    closed: frozenset[int]


def ranked_paths(finder: PathFinder, start: int, goal: int) -> Iterator[RankedPath]:
    """Yield all paths between two nodes without loops, cheapest first; costs may swap if they differ by ROUNDING.

    The work of each next path is some searches between two nodes. If the ends are one node, that is the only path.
    """
    first = finder.path(start, (), ())
    if first is None:
        return
    if start == goal:
        yield first
        return
    bounds = _Bounds(finder)
    order = count()
    left: list[tuple[float, int, RankedPath | None, _Set]] = []

    def put(key: float, path: RankedPath | None, paths: _Set) -> None:
        if np.isfinite(key):
            heapq.heappush(left, (key, next(order), path, paths))

    put(0.0, first, _Set((start,), np.empty(0), frozenset()))
    while left:
        _, _, path, paths = heapq.heappop(left)
        if path is None:
            path = _cheapest_of(finder, paths)
            if path is not None:
                # A known path goes before a bound of the same cost.
                put(path.cost * (1 - 2 * ROUNDING), path, paths)
            continue
        yield path
        for subset in _subsets(path, paths):
            # No path of a subset is cheaper than that of the whole.
            put(max(bounds.of(subset, path), path.cost) * (1 - ROUNDING), None, subset)


class _Bounds:
    """Lower bounds of sets. Keeps the distances to the goal that are known."""

    def __init__(self, finder: PathFinder) -> None:
        self._finder = finder
        self._edges: dict[int, list[tuple[int, float]]] = {}
        self._least: dict[int, float] = {}

    def of(self, paths: _Set, path: RankedPath) -> float:
        """Return a lower bound of the paths of a set; its nodes are those of `path`."""
        last = paths.nodes[-1]
        if last not in self._edges:
            self._learn(path)
        before = set(paths.nodes)
        onward = [
            cost + self._least[head]
            for head, cost in self._edges[last]
            if head not in before and head not in paths.closed
        ]
        return float(paths.costs.sum()) + min(onward, default=float("inf"))

    def _learn(self, path: RankedPath) -> None:
        for node in path.nodes.tolist():
            if node not in self._edges:
                self._edges[node] = list(self._finder.edges_from(node))
        heads = {head for node in path.nodes.tolist() for head, _ in self._edges[node]}
        unknown = np.array(sorted(heads - self._least.keys()), np.int32)
        if len(unknown):
            self._least.update(zip(unknown.tolist(), self._finder.least_costs(unknown).tolist(), strict=True))


def _cheapest_of(finder: PathFinder, paths: _Set) -> RankedPath | None:
    *before, last = paths.nodes
    rest = finder.path(last, before, [(last, head) for head in sorted(paths.closed)])
    if rest is None:
        return None
    nodes = np.concatenate([np.array(before, np.int32), rest.nodes])
    return RankedPath.of(nodes, np.concatenate([paths.costs, rest.costs]))


def _subsets(path: RankedPath, paths: _Set) -> Iterator[_Set]:
    """Divide the paths of a set, without its cheapest path, by the node at which they leave it."""
    nodes = path.nodes.tolist()
    for place in range(len(paths.nodes) - 1, len(nodes) - 1):
        closed = paths.closed if place == len(paths.nodes) - 1 else frozenset[int]()
        yield _Set(tuple(nodes[: place + 1]), path.costs[:place], closed | {nodes[place + 1]})


@dataclass(frozen=True, slots=True)
class Ranking:
    """The cheapest path and its alternatives, cheapest first; `is_complete` is false if a bound ended the search."""

    paths: list[RankedPath]
    is_complete: bool


def rank(
    finder: PathFinder,
    start: int,
    goal: int,
    count_max: int,
    overlap_max: float | None = None,
    cost_max: float = float("inf"),
    checkpoint: Callable[[], None] = lambda: None,
) -> Ranking:
    """Return the cheapest path, if there is one, and up to `count_max` alternatives that cost at most `cost_max`.

    Without `overlap_max` they are the cheapest paths of all. With it, each is the cheapest path of those that share at
    most this share of their own cost with every path before it. For 0 one search finds each; otherwise at most
    EXAMINED_MAX paths are examined. `checkpoint` is called for each path, and may raise to stop.
    """
    candidates = _disjoint(finder, start) if overlap_max == 0 else ranked_paths(finder, start, goal)
    chosen: list[RankedPath] = []
    for examined, path in enumerate(candidates, start=1):
        checkpoint()
        if path.cost > cost_max and chosen:
            break
        if overlap_max is None or all(shared(path, before) <= overlap_max for before in chosen):
            chosen.append(path)
        if len(chosen) > count_max:
            break
        if overlap_max is not None and examined == EXAMINED_MAX:
            return Ranking(chosen, is_complete=False)
    return Ranking(sorted(chosen, key=lambda path: path.cost), is_complete=True)


def _disjoint(finder: PathFinder, start: int) -> Iterator[RankedPath]:
    used: list[Edge] = []
    while (path := finder.path(start, (), used)) is not None:
        yield path
        if len(path.nodes) == 1:
            return
        used += path.edges()


def shared(path: RankedPath, other: RankedPath) -> float:
    """Return the share of a path's cost that lies on edges of another one; of its edges, if it costs nothing."""
    common = set(other.edges())
    on_both = [edge in common for edge in path.edges()]
    weights = path.costs if path.cost > 0 else np.ones(len(path.costs))
    return float(weights[on_both].sum() / weights.sum()) if len(weights) else 1.0
