"""A graph as a sequential program would keep it: the reference for the answers of a mesh."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeAlias

from planmesh.client import Change, DeleteEdge, DeleteNode, UpsertEdge, UpsertNode
from tests.live.history import Pair

Undo: TypeAlias = list[Callable[[], object]]
"""What takes changes back, called in reverse order."""


class TargetMissingError(Exception):
    """A change needs a node or an edge that does not exist."""


class Model:
    """One version of a graph, in plain dictionaries."""

    def __init__(self, nodes: Iterable[str], edges: Iterable[tuple[str, str, float]]) -> None:
        self.states = dict.fromkeys(nodes, "up")
        """By node."""
        self.out: dict[str, dict[str, float]] = {node: {} for node in self.states}
        """Costs of edges, by source and target."""
        self.sources: dict[str, set[str]] = {node: set() for node in self.states}
        """The nodes with an edge to a node."""
        for source, target, cost in edges:
            if source != target and cost < self.out[source].get(target, math.inf):
                self.out[source][target] = cost
                self.sources[target].add(source)
        self._first_cost = {(source, target): cost for source in self.out for target, cost in self.out[source].items()}
        """Costs of edges when they were loaded or created: cost factors multiply these."""

    def is_up(self, node: str) -> bool:
        """Whether a node exists and plans may use it."""
        return self.states.get(node, "down") != "down"

    def cost(self, source: str, target: str) -> float | None:
        """Return the cost of an edge, None when there is none."""
        return self.out.get(source, {}).get(target)

    def apply(self, changes: Sequence[Change], *, ignore_missing: bool = False) -> None:
        """Apply all changes of a batch, or none. Raises TargetMissingError."""
        undo: Undo = []
        try:
            for change in changes:
                self._apply(change, undo, ignore_missing)
        except TargetMissingError:
            _take_back(undo)
            raise

    def refuses(self, changes: Sequence[Change], *, ignore_missing: bool = False) -> bool:
        """Whether a batch needs something that does not exist. Changes nothing."""
        undo: Undo = []
        try:
            for change in changes:
                self._apply(change, undo, ignore_missing)
        except TargetMissingError:
            return True
        finally:
            _take_back(undo)
        return False

    def cheapest(
        self, start: str, goal: str, avoid_nodes: Collection[str] = (), avoid_edges: Collection[Pair] = ()
    ) -> float:
        """Return the cost of the cheapest path, infinite when there is none. Both ends must be up."""
        nodes, edges = frozenset(avoid_nodes), frozenset(map(tuple, avoid_edges))
        known = {start: 0.0}
        settled: set[str] = set()
        queue = [(0.0, start)]
        while queue:
            cost, node = heapq.heappop(queue)
            if node == goal:
                return cost
            if node in settled:
                continue
            settled.add(node)
            for head, weight in self.out[node].items():
                further = cost + weight
                if further >= known.get(head, math.inf) or head in nodes or (node, head) in edges:
                    continue
                if self.is_up(head):
                    known[head] = further
                    heapq.heappush(queue, (further, head))
        return math.inf

    def _apply(self, change: Change, undo: Undo, ignore_missing: bool) -> None:
        match change:
            case UpsertNode():
                self._upsert_node(change, undo)
            case DeleteNode(id=node):
                if node in self.states:
                    self._delete_node(node, undo)
                elif not ignore_missing:
                    raise TargetMissingError(node)
            case UpsertEdge():
                self._upsert_edge(change, undo)
            case DeleteEdge(source=source, target=target):
                if self.cost(source, target) is not None:
                    self._delete_edge(source, target, undo)
                elif not ignore_missing:
                    raise TargetMissingError(f"{source} -> {target}")

    def _upsert_node(self, change: UpsertNode, undo: Undo) -> None:
        node = change.id
        before = self.states.get(node)
        if before is None:
            self.out[node], self.sources[node] = {}, set()
            undo.append(lambda: (self.states.pop(node), self.out.pop(node), self.sources.pop(node)))
        else:
            undo.append(lambda: self.states.update({node: before}))
        self.states[node] = change.state or before or "up"

    def _delete_node(self, node: str, undo: Undo) -> None:
        for target in list(self.out[node]):
            self._delete_edge(node, target, undo)
        for source in list(self.sources[node]):
            self._delete_edge(source, node, undo)
        state = self.states.pop(node)
        del self.out[node], self.sources[node]
        undo.append(lambda: (self.states.update({node: state}), self.out.update({node: {}})))
        undo.append(lambda: self.sources.update({node: set()}))

    def _upsert_edge(self, change: UpsertEdge, undo: Undo) -> None:
        source, target = change.source, change.target
        for end in (source, target):
            if end not in self.states:
                raise TargetMissingError(end)
        before = self.cost(source, target)
        if before is None and change.cost is None:
            raise TargetMissingError(f"{source} -> {target}")
        if change.cost is not None:
            cost = change.cost
        elif change.cost_factor is not None:
            cost = self._first_cost[source, target] * change.cost_factor
        else:
            assert before is not None
            cost = before
        if before is None:
            first = self._first_cost.get((source, target))
            self._first_cost[source, target] = cost
            self.sources[target].add(source)
            undo += [lambda: self.sources[target].discard(source), lambda: self.out[source].pop(target)]
            if first is not None:
                undo.append(lambda: self._first_cost.update({(source, target): first}))
        else:
            undo.append(lambda: self.out[source].update({target: before}))
        self.out[source][target] = cost

    def _delete_edge(self, source: str, target: str, undo: Undo) -> None:
        cost = self.out[source].pop(target)
        self.sources[target].discard(source)
        undo += [lambda: self.sources[target].add(source), lambda: self.out[source].update({target: cost})]


def _take_back(undo: Undo) -> None:
    for step in reversed(undo):
        step()
