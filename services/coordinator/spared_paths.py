"""Paths of the base that changes and avoided things have spared, so that they are cheapest paths of a version too."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Final

import numpy as np

from planmesh.search.mixed_graph import price
from services.coordinator.path_assembly import Path
from services.coordinator.path_options import PathOptions
from services.coordinator.versioned_graph import VersionedGraph

AVOIDED_TRIED_MAX: Final = 100
"""Avoided nodes and edges with which the base is asked first: the more there are, the likelier its path uses one."""


def spared_by(graph: VersionedGraph, options: PathOptions) -> Callable[[Path], bool] | None:
    """Return whether a cheapest path of the base is one of this version, as a function of the path.

    None if no function of one path can tell: something became cheaper or is new, or the options ask for other paths.
    """
    changes, avoid = graph.changes, options.avoid
    if options.waypoints or options.alternatives or avoid.partitions:
        return None
    if len(avoid.nodes) + len(avoid.edges) > AVOIDED_TRIED_MAX or (changes is not None and changes.delta.has_patches):
        return None
    avoided = avoid.on(graph)
    if changes is None:
        nodes, edges = set(avoided.nodes.tolist()), set(avoided.edges)

        def is_free(path: Path) -> bool:
            passed = path.nodes.tolist()
            return nodes.isdisjoint(passed) and edges.isdisjoint(pairwise(passed))

        return is_free
    base, delta, blocked = changes.base, changes.delta, avoided.blocked()

    def costs_the_same(path: Path) -> bool:
        opened = np.zeros(len(base.partition_first) - 1, np.uint8)
        return price(base, delta, blocked, path.nodes, path.costs.copy(), opened) == 0

    return costs_the_same
