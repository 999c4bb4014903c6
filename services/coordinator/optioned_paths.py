"""Paths with options on the mixed graph of one version: by way of nodes, or with ranked alternatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from planmesh.errors import InvalidRequest, LimitExceeded, NoPath
from planmesh.graph.model import Float64Array, Int32Array
from planmesh.rpc.channel import CONTENT_BYTES_MAX
from planmesh.search.alternatives import RankedPath, Ranking, rank
from planmesh.search.changed_path import ChangedPath, Expand, cheapest_path
from planmesh.search.delta import is_in
from planmesh.search.mixed_search import CostsToGoal, MixedSearch
from planmesh.v1 import plan_pb2
from services.coordinator.avoidance import Avoided, Edge
from services.coordinator.changed_neighbors import edges_at
from services.coordinator.changed_writing import write_changed
from services.coordinator.graph_changes import ChangesView
from services.coordinator.path_assembly import Path, WrittenPlan
from services.coordinator.path_options import PathOptions
from services.coordinator.versioned_graph import VersionedGraph


@dataclass(frozen=True, slots=True)
class Stops:
    """The nodes that a path has to pass, from start to goal: their ids and their numbers."""

    ids: tuple[str, ...]
    nodes: tuple[int, ...]

    @property
    def ends(self) -> tuple[str, str]:
        """Start and goal."""
        return self.ids[0], self.ids[-1]


@dataclass(frozen=True, slots=True)
class FoundPaths:
    """The path that was asked for, and alternatives, cheapest first. `is_complete` is false if a bound ended them."""

    paths: list[Path]
    is_complete: bool
    settled: int
    opened: int


class OptionedPaths:
    """Finds the paths of one request on one version, in a thread. Nodes have global numbers."""

    def __init__(
        self,
        graph: VersionedGraph,
        view: ChangesView,
        search: MixedSearch,
        expand: Expand,
        avoided: Avoided,
        checkpoint: Callable[[], None],
    ) -> None:
        self._graph = graph
        self._view = view
        self._search = search
        self._expand = expand
        self._avoided = avoided
        self._blocked = avoided.blocked()
        self._avoided_edges = frozenset(avoided.edges)
        self._checkpoint = checkpoint
        self._goal = -1
        self._costs_to_goal: CostsToGoal | None = None
        self._cheapest = float("inf")
        """The cost of the first path that was found. Bounds beyond it are not worth the work."""
        self._settled = self._opened = 0

    def find(self, stops: Stops, options: PathOptions) -> FoundPaths:
        """Return the cheapest path that passes the stops in order, and its alternatives.

        Raises NoPath if there is none, or none that costs at most what it may; InvalidRequest if a stop is avoided.
        """
        self._check_stops(stops)
        if len(stops.nodes) == 2:
            ranking = self._ranked(*stops.nodes, options)
            paths = [Path(path.nodes, path.costs) for path in ranking.paths]
            is_complete = ranking.is_complete
        else:
            paths, is_complete = self._along_stops(stops), True
        if not paths:
            raise NoPath(*stops.ends)
        refuse_dearer(stops.ends, float(sum(paths[0].costs.tolist())), options)
        return FoundPaths(paths, is_complete, self._settled, self._opened)

    def path(self, start: int, nodes: Sequence[int], edges: Sequence[Edge]) -> RankedPath | None:
        """As PathFinder."""
        blocked = self._avoided.blocked(np.array(nodes, np.int64), tuple(edges)) if nodes or edges else self._blocked
        found = self._noted(
            cheapest_path(
                self._search,
                self._view.base,
                self._view.delta,
                start,
                self._goal,
                self._expand,
                blocked,
                self._checkpoint,
            )
        )
        self._cheapest = min(self._cheapest, found.cost)
        return RankedPath.of(found.nodes, found.costs) if np.isfinite(found.cost) else None

    def least_costs(self, nodes: Int32Array) -> Float64Array:
        """As PathFinder."""
        if self._costs_to_goal is None:
            self._costs_to_goal = self._search.costs_to(self._view.delta, self._goal, self._blocked, self._checkpoint)
        return self._costs_to_goal.of(nodes, self._cheapest)

    def edges_from(self, node: int) -> Iterator[tuple[int, float]]:
        """As PathFinder."""
        for head, cost in edges_at(self._graph, self._view, node, forward=True):
            if (node, head) not in self._avoided_edges and not is_in(self._blocked.nodes, head):
                yield head, cost

    def _ranked(self, start: int, goal: int, options: PathOptions) -> Ranking:
        self._goal = goal
        return rank(self, start, goal, options.alternatives, options.overlap_max, options.cost_max, self._checkpoint)

    def _along_stops(self, stops: Stops) -> list[Path]:
        """Return the cheapest path along all stops, in a list; none if a leg has none."""
        legs: list[RankedPath] = []
        for start, goal in pairwise(stops.nodes):
            self._goal = goal
            leg = self.path(start, (), ())
            if leg is None:
                return []
            legs.append(leg)
        nodes = np.concatenate([legs[0].nodes, *(leg.nodes[1:] for leg in legs[1:])])
        return [Path(nodes, np.concatenate([leg.costs for leg in legs]))]

    def _noted(self, found: ChangedPath) -> ChangedPath:
        self._settled += found.settled
        self._opened = max(self._opened, found.opened)
        return found

    def _check_stops(self, stops: Stops) -> None:
        last = len(stops.nodes) - 1
        for place, (node_id, node) in enumerate(zip(stops.ids, stops.nodes, strict=True)):
            if is_in(self._blocked.nodes, node):
                field = "start" if place == 0 else "goal" if place == last else f"waypoints[{place - 1}]"
                raise InvalidRequest(f"{field}: expected a node that is not avoided, got {node_id!r}", field=field)


def refuse_dearer(ends: tuple[str, str], cost: float, options: PathOptions) -> None:
    """Raise NoPath if the cheapest path costs more than it may."""
    if cost > options.cost_max:
        raise NoPath(
            *ends,
            f"the cheapest path from {ends[0]!r} to {ends[1]!r} costs {cost!r}, more than max_cost "
            f"{options.cost_max!r}",
            cost=repr(cost),
        )


def write_paths(
    graph: VersionedGraph, stops: Stops, found: FoundPaths, detail: plan_pb2.Detail.ValueType
) -> WrittenPlan:
    """Return the plan of a path with its alternatives. Raises LimitExceeded if it is larger than CONTENT_BYTES_MAX."""
    start, goal = stops.ends
    plan, *others = (write_changed(graph, start, goal, path, detail) for path in found.paths)
    if not others and found.is_complete:
        return plan
    more = plan_pb2.Plan(
        alternatives=[plan_pb2.Plan.FromString(other.message) for other in others],
        alternatives_bounded=not found.is_complete,
    )
    message = plan.message + more.SerializeToString()
    if len(message) > CONTENT_BYTES_MAX:
        raise LimitExceeded(
            f"the plan and its {len(others)} alternatives take {len(message):,} bytes; expected at most "
            f"{CONTENT_BYTES_MAX:,}: ask for fewer, or for less detail",
            bound="CONTENT_BYTES_MAX",
        )
    return WrittenPlan(message, plan.cost, plan.steps, plan.partitions)
