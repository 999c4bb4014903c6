"""A base, its delta and a plain model of every version, for tests of searches in a graph that changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Final

import numpy as np

from planmesh.graph.model import Graph, Int32Array, UInt8Array
from planmesh.search import changed_path
from planmesh.search.changed_path import ChangedPath, Segment, cheapest_path
from planmesh.search.delta import DOWN, GONE, NOTHING_BLOCKED, UP, Blocked, Delta, make_blocked
from planmesh.search.mixed_graph import make_mixed_base, overlay_numbers
from planmesh.search.mixed_search import MixedSearch
from planmesh.search.plain_search import Edges
from planmesh.search.reference import dijkstra
from planmesh.search.unpack import SegmentKind
from tests.search.in_process_mesh import InProcessMesh, make_graph

RAISES: Final = ("dearer", "delete", "down", "gone")
KINDS: Final = (*RAISES, "cheaper", "new", "up", "node", "restore")

Costs = dict[tuple[int, int], float]


@dataclass
class Model:
    """One version: the costs of all edges, and the nodes that are not up."""

    costs: Costs
    away: dict[int, int] = field(default_factory=dict)
    node_count: int = 0

    def graph(self, avoid: tuple[set[int], set[tuple[int, int]]] = (set(), set())) -> Graph:
        nodes, edges = avoid
        off = {node for node, state in self.away.items() if state != UP} | nodes
        return make_graph(
            self.node_count,
            [
                (tail, head, cost)
                for (tail, head), cost in self.costs.items()
                if tail not in off and head not in off and (tail, head) not in edges and np.isfinite(cost)
            ],
        )


class ChangingGraph:
    """Applies changes to a delta and to models of all versions; answers from the delta."""

    def __init__(self, mesh: InProcessMesh, capacity: int = 512) -> None:
        self.mesh = mesh
        overlay_global = np.concatenate(
            [index.overlay_node + mesh.partition_first[p] for p, index in enumerate(mesh.indexes)]
        ).astype(np.int32)
        overlay_of = overlay_numbers(overlay_global, mesh.graph.node_count)
        self.base = make_mixed_base(mesh.partition_first, mesh.overlay, mesh.overlay_first, overlay_global, overlay_of)
        self.delta = Delta(mesh.partition_first, overlay_of, capacity)
        self.search = MixedSearch(self.base, mesh.graph.node_count + capacity, self._edges_of)
        tails = np.repeat(np.arange(mesh.graph.node_count), np.diff(mesh.graph.first_out)).tolist()
        self.base_costs: Costs = dict(
            zip(zip(tails, mesh.graph.head.tolist(), strict=True), mesh.graph.weight.tolist(), strict=True)
        )
        self.versions = [Model(dict(self.base_costs), {}, mesh.graph.node_count)]

    @property
    def newest(self) -> Model:
        return self.versions[-1]

    def _edges_of(self, partition: int) -> tuple[Edges, Edges]:
        begin, end = self.mesh.partition_first[partition : partition + 2].tolist()
        out: list[list[tuple[int, float]]] = [[] for _ in range(end - begin)]
        into: list[list[tuple[int, float]]] = [[] for _ in range(end - begin)]
        for (tail, head), cost in self.base_costs.items():
            if begin <= tail < end:
                out[tail - begin].append((head, cost))
            if begin <= head < end:
                into[head - begin].append((tail, cost))
        return _adjacency(out), _adjacency(into)

    def begin_version(self) -> int:
        last = self.versions[-1]
        self.versions.append(Model(dict(last.costs), dict(last.away), last.node_count))
        return len(self.versions) - 1

    def set_cost(self, tail: int, head: int, cost: float) -> None:
        version = len(self.versions) - 1
        self.delta.set_cost(tail, head, self.base_costs.get((tail, head), np.inf), cost, version)
        self.newest.costs[tail, head] = cost

    def set_state(self, node: int, state: int) -> None:
        self.delta.set_state(node, state, len(self.versions) - 1)
        self.newest.away[node] = state

    def add_node(self) -> int:
        node = self.delta.add_node(len(self.versions) - 1)
        assert node == self.newest.node_count
        self.newest.node_count += 1
        return node

    def change(self, random: Random, kinds: tuple[str, ...] = KINDS) -> None:
        """Make a random change of the newest version."""
        model = self.newest
        nodes = [node for node in range(model.node_count) if model.away.get(node, UP) != GONE]
        edges = [edge for edge, cost in model.costs.items() if np.isfinite(cost)]
        kind = random.choice(kinds)
        if kind == "node":
            node = self.add_node()
            for other in random.sample(nodes, min(2, len(nodes))):
                pair = random.choice([(node, other), (other, node)])
                self.set_cost(*pair, random.randint(0, 4) / 2)
        elif kind in {"down", "up", "gone"} and nodes:
            if kind != "gone" or random.random() < 0.3:
                self.set_state(random.choice(nodes), {"down": DOWN, "up": UP, "gone": GONE}[kind])
        elif kind == "new" and len(nodes) > 1:
            tail, head = random.sample(nodes, 2)
            self.set_cost(tail, head, random.randint(0, 6) / 2)
        elif edges:
            edge = random.choice(edges)
            cost = {
                "dearer": model.costs[edge] * random.randint(1, 4) + 1,
                "cheaper": model.costs[edge] * random.random(),
                "delete": np.inf,
                "restore": self.base_costs.get(edge, 1.0),
            }.get(kind, 2.0)
            self.set_cost(*edge, float(cost))

    def expand(self, edges: Int32Array) -> list[Segment]:
        segments: list[Segment] = []
        for edge in edges.tolist():
            tail = int(np.searchsorted(self.base.first_out, edge, "right")) - 1
            p = int(np.searchsorted(self.base.overlay_first, tail, "right")) - 1
            first, second = tail - self.base.overlay_first[p], self.base.head[edge] - self.base.overlay_first[p]
            nodes, costs, _ = self.mesh.local.unpack(
                self.mesh.indexes[p],
                np.array([SegmentKind.EDGE], np.uint8),
                np.array([first], np.int32),
                np.array([second], np.int32),
            )
            segments.append(((nodes + self.mesh.partition_first[p]).astype(np.int32), costs))
        return segments

    def path(
        self,
        version: int,
        start: int,
        goal: int,
        blocked: Blocked = NOTHING_BLOCKED,
        rounds_max: int = changed_path.ROUNDS_MAX,
    ) -> ChangedPath:
        view = self.delta.view(version)
        return cheapest_path(self.search, self.base, view, start, goal, self.expand, blocked, rounds_max=rounds_max)

    def check(
        self, version: int, start: int, goal: int, random: Random, rounds_max: int = changed_path.ROUNDS_MAX
    ) -> ChangedPath | None:
        """Compare a path with the model of its version; return it, None if an end is not up then."""
        model = self.versions[version]
        avoid: tuple[set[int], set[tuple[int, int]]] = (set(), set())
        if random.random() < 0.4:
            avoid = (
                {random.randrange(model.node_count) for _ in range(random.randint(0, 3))} - {start, goal},
                set(random.sample(list(model.costs), min(len(model.costs), random.randint(0, 2)))),
            )
        for node in (start, goal):
            state = self.delta.view(version).state(node) if node < self.delta.node_end else GONE
            if node >= model.node_count:
                assert state == GONE
                return None
            assert state == model.away.get(node, UP)
            if state != UP:
                return None
        graph = model.graph(avoid)
        expected = dijkstra(graph.first_out, graph.head, graph.weight, start)[0][goal]
        found = self.path(version, start, goal, make_blocked(list(avoid[0]), list(avoid[1])), rounds_max)
        if expected == np.inf:
            assert found.cost == np.inf
            return found
        assert abs(found.cost - expected) <= 1e-9 * max(1.0, expected), (found, expected)
        assert (found.nodes[0], found.nodes[-1]) == (start, goal)
        steps = list(zip(found.nodes.tolist(), found.nodes[1:].tolist(), strict=False))
        assert [model.costs[step] for step in steps] == found.costs.tolist()
        assert not set(steps) & avoid[1]
        assert not set(found.nodes.tolist()) & avoid[0]
        assert all(model.away.get(node, UP) == UP for node in found.nodes.tolist())
        return found

    def all_touched(self, ends: list[int]) -> UInt8Array:
        opened = self.delta.view(len(self.versions) - 1).touched.astype(np.uint8)
        for node in ends:
            if node < self.mesh.graph.node_count:
                opened[self.mesh.partition_of(node)] = 1
        return opened


def _adjacency(rows: list[list[tuple[int, float]]]) -> Edges:
    first = np.zeros(len(rows) + 1, np.int32)
    np.cumsum([len(row) for row in rows], out=first[1:])
    ends = np.array([end for row in rows for end, _ in row], np.int32)
    return first, ends, np.array([cost for row in rows for _, cost in row], np.float64)
