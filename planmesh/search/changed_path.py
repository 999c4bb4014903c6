"""The cheapest path of a graph that has changed since its base."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array, Int64Array, UInt8Array
from planmesh.search.delta import NOTHING_BLOCKED, Blocked, DeltaView
from planmesh.search.loops import without_loops
from planmesh.search.mixed_graph import MixedBase, price
from planmesh.search.mixed_search import MixedPath, MixedSearch

ROUNDS_MAX: Final = 6
"""Searches that open only the partitions in which the path found before costs more today. The next one opens all that
have changed, or that have something to avoid; so it needs no other."""

Segment = tuple[Int32Array, Float64Array]
"""Global numbers of the nodes (int32[k]), and the costs of the edges between them (float64[k - 1])."""

Expand = Callable[[Int32Array], list[Segment]]
"""Returns the segments along level-1 edges (int32[e]) of the base."""


@dataclass(frozen=True, slots=True)
class ChangedPath:
    """A cheapest path: nodes int32[k], each once, costs float64[k - 1] of its edges, and their sum.

    The sum is infinite if there is no path. `settled` counts settled nodes, `opened` the partitions that were searched
    edge by edge, `rounds` the searches.
    """

    nodes: Int32Array
    costs: Float64Array
    cost: float
    settled: int
    opened: int
    rounds: int


def cheapest_path(
    search: MixedSearch,
    base: MixedBase,
    view: DeltaView,
    start: int,
    goal: int,
    expand: Expand,
    blocked: Blocked = NOTHING_BLOCKED,
    checkpoint: Callable[[], None] = lambda: None,
    rounds_max: int = ROUNDS_MAX,
) -> ChangedPath:
    """Return a cheapest path between two nodes that are up at the view's version and are not blocked.

    Each search finds a lower bound (see `planmesh.search.mixed_graph`). Its path is expanded and priced. If it costs
    today what the search says, it is a cheapest one; else the partitions concerned are opened for the next search.
    """
    opened = view.patched.astype(np.uint8)
    _open_at(base, opened, np.array([start, goal]))
    settled = 0
    for rounds in range(1, rounds_max + 2):
        if rounds == rounds_max + 1:
            opened |= view.touched
            _open_at(base, opened, blocked.nodes[blocked.nodes >= 0])
            _open_at(base, opened, blocked.edges[blocked.edges >= 0] >> 32)
        found = search.path(view, opened, start, goal, blocked, checkpoint)
        settled += found.settled
        count = int(np.count_nonzero(opened))
        if found.cost == np.inf:
            # Not even the lower bounds lead there.
            return ChangedPath(found.nodes, found.costs, np.inf, settled, count, rounds)
        nodes, costs = _expanded(found, expand)
        if price(base, view, blocked, nodes, costs, opened) == 0:
            nodes, costs = without_loops(nodes, costs)
            return ChangedPath(nodes, costs, float(costs.sum()), settled, count, rounds)
    raise AssertionError("a search in which all changes are opened costs what it says")


def _open_at(base: MixedBase, opened: UInt8Array, nodes: Int64Array) -> None:
    known = nodes[nodes < base.partition_first[-1]]
    opened[np.searchsorted(base.partition_first, known, "right") - 1] = 1


def _expanded(found: MixedPath, expand: Expand) -> Segment:
    """Return all nodes and costs of a path, with the segments of its level-1 edges."""
    places = np.flatnonzero(found.via >= 0)
    if not len(places):
        return found.nodes, found.costs
    nodes: list[Int32Array] = []
    costs: list[Float64Array] = []
    position = 0
    for place, (inner, prices) in zip(places.tolist(), expand(found.via[places]), strict=True):
        nodes += [found.nodes[position : place + 1], inner[1:-1]]
        costs += [found.costs[position:place], prices]
        position = place + 1
    nodes.append(found.nodes[position:])
    costs.append(found.costs[position:])
    return np.concatenate(nodes), np.concatenate(costs)
