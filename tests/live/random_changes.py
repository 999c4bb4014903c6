"""Random batches of changes, and random pairs, for a graph of which a client knows about how it looks."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

from planmesh.client import Change, DeleteEdge, DeleteNode, UpsertEdge, UpsertNode
from tests.live.history import Pair
from tests.live.model import Model

CHANGES_MAX: Final = 5
"""Of a batch, before those that a new node brings."""

EDGES_OF_A_NODE: Final = 4
"""New edges to a new node, and from it."""

DOWN_SHARE_MAX: Final = 0.08
"""Of the nodes. Beyond it, nodes go up rather than down, so that there are paths."""

NEAR: Final = 12
"""Nodes that are changed and asked for more often than others, so that changes and answers meet."""

NEAR_SHARE: Final = 0.3
ABSENT_SHARE: Final = 0.02
"""Share of the draws that name a node that was never there, or is there no more."""


class RandomChanges:
    """Draws what one client does. `about` is a model that all clients keep near the newest version."""

    def __init__(self, about: Model, chance: random.Random, client: int, nodes: int) -> None:
        self._about = about
        self._chance = chance
        self._client = client
        self._nodes = nodes
        self._created = 0
        self._kinds: Sequence[tuple[Callable[[], list[Change]], int]] = (
            (self._cost, 50),
            (self._factor, 12),
            (self._edge, 10),
            (self._no_edge, 10),
            (self._state, 12),
            (self._node, 2),
            (self._no_node, 2),
            (self._attribute, 2),
        )

    def batch(self) -> list[Change]:
        """Draw a batch. Most are valid if the graph is what it seems to be."""
        kinds, weights = zip(*self._kinds, strict=True)
        drawn = self._chance.choices(kinds, weights, k=self._chance.randint(1, CHANGES_MAX))
        return [change for draw in drawn for change in draw()]

    def node(self) -> str:
        """Draw a node."""
        nodes = list(self._about.states)
        if self._chance.random() < ABSENT_SHARE:
            return f"absent.{self._chance.randrange(NEAR)}"
        return self._chance.choice(nodes[:NEAR] if self._chance.random() < NEAR_SHARE else nodes)

    def pair(self) -> Pair:
        """Draw a start and a goal."""
        return self.node(), self.node()

    def pairs(self, count: int) -> list[Pair]:
        """Draw different pairs."""
        return list(dict.fromkeys(self.pair() for _ in range(count)))

    def avoided(self, pairs: Sequence[Pair]) -> tuple[list[str], list[Pair]]:
        """Draw nodes and edges to avoid; the ends of the pairs are not among the nodes."""
        ends = {end for pair in pairs for end in pair}
        nodes = [node for node in (self.node() for _ in range(self._chance.randint(0, 4))) if node not in ends]
        edges = [edge for edge in (self._known_edge() for _ in range(self._chance.randint(0, 4))) if edge is not None]
        near = [(start, head) for start, _ in pairs for head in list(self._about.out.get(start, ()))[:1]]
        return nodes, edges + (near if self._chance.random() < 0.5 else [])

    def _price(self) -> float:
        return float(self._chance.choice([0, 1, *range(1, 100)]))

    def _known_edge(self) -> Pair | None:
        source = self.node()
        targets = list(self._about.out.get(source, ()))
        return (source, self._chance.choice(targets)) if targets else None

    def _cost(self) -> list[Change]:
        edge = self._known_edge()
        return [] if edge is None else [UpsertEdge(*edge, cost=self._price())]

    def _factor(self) -> list[Change]:
        edge = self._known_edge()
        return [] if edge is None else [UpsertEdge(*edge, cost_factor=float(self._chance.randint(0, 4)))]

    def _attribute(self) -> list[Change]:
        """Change what no plan depends on."""
        edge = self._known_edge()
        node = UpsertNode(self._chance.choice(list(self._about.states)), attributes={"owner": f"c{self._client}"})
        return [node] if edge is None else [node, UpsertEdge(*edge, attributes={"owner": f"c{self._client}"})]

    def _edge(self) -> list[Change]:
        source, target = self.pair()
        return [] if source == target else [UpsertEdge(source, target, cost=self._price())]

    def _no_edge(self) -> list[Change]:
        edge = self._known_edge()
        return [] if edge is None else [DeleteEdge(*edge)]

    def _state(self) -> list[Change]:
        down = [node for node, state in self._about.states.items() if state == "down"]
        goes_up = self._chance.random() < 0.5 or len(down) > DOWN_SHARE_MAX * len(self._about.states)
        if down and goes_up:
            return [UpsertNode(self._chance.choice(down), state=self._chance.choice(["up", "degraded"]))]
        return [UpsertNode(self._chance.choice(list(self._about.states)), state="down")]

    def _node(self) -> list[Change]:
        """Create a node and edges of it; the ids of deleted nodes come back at times."""
        self._created += 1
        node = f"new{self._client}.{self._created % NEAR}"
        known = list(self._about.states)
        changes: list[Change] = [UpsertNode(node)]
        for _ in range(EDGES_OF_A_NODE):
            source, target = self._chance.choice(known), self._chance.choice(known)
            changes += [UpsertEdge(source, node, cost=self._price())] if source != node else []
            changes += [UpsertEdge(node, target, cost=self._price())] if target != node else []
        return changes

    def _no_node(self) -> list[Change]:
        if len(self._about.states) < self._nodes * 3 // 4:
            return self._node()
        return [DeleteNode(self._chance.choice(list(self._about.states)))]
