"""Small graphs for a real mesh, with networkx as the reference for what comes back."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import networkx as nx

from planmesh.client import Client, EdgeRows, GraphRows, LoadReport, Neighbors, NodeRows, Plan, RowOrigin, Strategy

Edge = tuple[str, str, float]

COST_TOLERANCE = 1e-9
"""Relative, where costs are not whole numbers."""


@dataclass(frozen=True)
class SmallGraph:
    """Nodes with their domains ("" for none), and edges as rows, repeated ones and loops included."""

    domains: dict[str, str]
    edges: list[Edge]
    undirected: bool = False
    reference: nx.DiGraph = field(init=False, repr=False)
    """What is to be served: the cheapest of parallel edges, no loops."""

    def __post_init__(self) -> None:
        served = nx.DiGraph()
        served.add_nodes_from(self.domains)
        for source, target, cost in self.edges:
            for tail, head in [(source, target), (target, source)] if self.undirected else [(source, target)]:
                if tail != head and cost < served.get_edge_data(tail, head, {"cost": math.inf})["cost"]:
                    served.add_edge(tail, head, cost=cost)
        object.__setattr__(self, "reference", served)

    @property
    def nodes(self) -> list[str]:
        return list(self.domains)

    def with_costs(self, costs: Iterable[float]) -> SmallGraph:
        """The same graph at other costs, one a row of edges."""
        edges = [(source, target, cost) for (source, target, _), cost in zip(self.edges, costs, strict=True)]
        return SmallGraph(self.domains, edges, self.undirected)

    def batches(self) -> Iterator[GraphRows]:
        """The rows, a thousand per batch, so that several batches travel."""
        for part in _slices(self.nodes):
            yield NodeRows(part, [self.domains[node] for node in part], origin=RowOrigin("nodes"))
        for rows in _slices(self.edges):
            sources, targets, costs = zip(*rows, strict=True)
            yield EdgeRows(sources, targets, costs, origin=RowOrigin("edges"))

    def load(
        self,
        client: Client,
        graph: str,
        strategy: Strategy | None = None,
        partitions: int = 0,
    ) -> LoadReport:
        """Replace `graph` by this one."""
        return client.load(
            self.batches(),
            graph=graph,
            strategy=strategy,
            partitions=partitions,
            undirected=self.undirected,
            timeout_s=120,
        )

    def costs_from(self, start: str) -> dict[str, float]:
        """Cheapest cost to every node that can be reached."""
        found: dict[str, float] = nx.single_source_dijkstra_path_length(self.reference, start, weight="cost")
        return found

    def check_plan(self, plan: Plan, expected_cost: float | None = None) -> None:
        """The plan is a path of this graph from start to goal, at its edges' costs, and none is cheaper."""
        place = plan.start
        for step in plan.steps:
            assert step.source == place, plan
            assert step.cost == self.reference.edges[step.source, step.target]["cost"], plan
            place = step.target
        assert place == plan.goal, plan
        visited = [plan.start, *(step.target for step in plan.steps)]
        assert len(set(visited)) == len(visited), f"a cheapest path visits no node twice: {visited}"
        if expected_cost is None:
            expected_cost = self.costs_from(plan.start)[plan.goal]
        if all(cost.is_integer() for _, _, cost in self.edges):
            assert plan.cost == expected_cost, plan
        assert math.isclose(plan.cost, expected_cost, rel_tol=COST_TOLERANCE), plan
        assert math.isclose(plan.cost, sum(step.cost for step in plan.steps), rel_tol=COST_TOLERANCE), plan
        named = [plan.steps[0].source_partition] if plan.steps else list(plan.partitions)
        named += [name for step in plan.steps for name in (step.source_partition, step.target_partition)]
        assert list(plan.partitions) == list(dict.fromkeys(named)), plan

    def neighbors(self, node: str, depth: int, direction: str) -> dict[str, tuple[int, float]]:
        """Hops and costs of every node within `depth` edges, the node itself left out (Bellman and Ford)."""
        edges = [(tail, head, data["cost"]) for tail, head, data in self.reference.edges(data=True)]
        directed = list(edges) if direction in {"out", "both"} else []
        if direction in {"in", "both"}:
            directed += [(head, tail, cost) for tail, head, cost in edges]
        found = {node: (0, 0.0)}
        for hop in range(1, depth + 1):
            before = dict(found)
            for tail, head, cost in directed:
                if tail in before:
                    hops, known = found.get(head, (hop, math.inf))
                    found[head] = (hops, min(known, before[tail][1] + cost))
        del found[node]
        return found

    def check_neighbors(self, answer: Neighbors, depth: int, direction: str) -> None:
        """The answer has every neighbour, with hops and costs, in the order that is promised."""
        expected = self.neighbors(answer.node, depth, direction)
        assert {neighbor.node: neighbor.hops for neighbor in answer.neighbors} == {
            node: hops for node, (hops, _) in expected.items()
        }
        for neighbor in answer.neighbors:
            assert math.isclose(neighbor.cost, expected[neighbor.node][1], rel_tol=COST_TOLERANCE)
        order = [(neighbor.hops, neighbor.cost, neighbor.node) for neighbor in answer.neighbors]
        assert order == sorted(order)

    def parallel_edges_and_loops(self) -> tuple[int, int]:
        """How many rows (each twice where undirected) are parallel to another, and how many are loops."""
        directed = Counter((source, target) for source, target, _ in self.edges)
        if self.undirected:
            directed += Counter((target, source) for source, target, _ in self.edges)
        loops = sum(count for (tail, head), count in directed.items() if tail == head)
        return sum(directed.values()) - loops - self.reference.number_of_edges(), loops


def _slices(rows: Sequence[str] | Sequence[Edge], size: int = 1_000) -> Iterator[Sequence]:  # type: ignore[type-arg]
    for first in range(0, len(rows), size):
        yield rows[first : first + size]


def service_graph(seed: int, domains: int, nodes_per_domain: int, edges_per_node: int = 4) -> SmallGraph:
    """Domains of services: most edges inside, some across, whole costs 1 to 99."""
    chance = random.Random(seed)
    names = {f"d{d}.n{n}": f"d{d}" for d in range(domains) for n in range(nodes_per_domain)}
    edges: list[Edge] = []
    for node, domain in names.items():
        for _ in range(edges_per_node):
            target = f"{domain}.n{int(nodes_per_domain * chance.random() ** 3)}"
            edges.append((node, target, float(chance.randint(1, 99))))
    for d in range(domains):
        for _ in range(12):
            other = chance.choice([(d + 1) % domains, (d - 1) % domains, chance.randrange(domains)])
            source = f"d{d}.n{chance.randrange(nodes_per_domain)}"
            edges.append((source, f"d{other}.n{chance.randrange(nodes_per_domain)}", float(chance.randint(1, 99))))
    return SmallGraph(names, edges)


def random_pairs(graph: SmallGraph, count: int, seed: int, starts: int = 40) -> list[tuple[str, str]]:
    """Pairs from few starts, so that the reference has few trees to grow."""
    chance = random.Random(seed)
    sources = chance.choices(graph.nodes, k=starts)
    return [(chance.choice(sources), chance.choice(graph.nodes)) for _ in range(count)]


def cheapest_costs(graph: SmallGraph, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """The reference's cost of every pair, infinite where there is no path."""
    trees = {start: graph.costs_from(start) for start in {start for start, _ in pairs}}
    return [trees[start].get(goal, math.inf) for start, goal in pairs]


def hub_heavy_graph(seed: int, centres: int = 6) -> SmallGraph:
    """Services behind a few centres, hubs of hundreds of leaves, and watchers outside that reach everything.

    Each domain has a centre that some sources need and others do not, because a second node is cheaper for them, and
    cheap hubs on which long witness searches end. The centres' domains are joined by a few dear edges.
    """
    chance = random.Random(seed)
    domains: dict[str, str] = {}
    edges: list[Edge] = []
    for d in range(centres):
        ends, leaves = chance.randint(8, 24), chance.randint(100, 500)
        sources = [f"d{d}.source{number}" for number in range(ends)]
        targets = [f"d{d}.target{number}" for number in range(ends)]
        hubs = [f"d{d}.hub{number}" for number in range(chance.randint(1, 2))]
        around = [f"d{d}.leaf{number}" for number in range(leaves)]
        centre, second = f"d{d}.centre", f"d{d}.second"
        domains |= dict.fromkeys([centre, second, *sources, *targets, *hubs, *around], f"d{d}")
        needed = chance.sample(sources, chance.randint(1, 3))
        edges += [(source, centre, 1.0) for source in sources] + [(centre, target, 1.0) for target in targets]
        edges += [(source, second, 0.5) for source in sources if source not in needed]
        edges += [(second, target, 0.5) for target in targets]
        edges += [(source, hub, 0.001) for source in sources for hub in hubs if chance.random() < 0.95]
        edges += [(chance.choice(hubs), leaf, 0.001 * chance.randint(1, 9)) for leaf in around]
        edges += [(source, f"d{d}.detour", 50.0) for source in needed if chance.random() < 0.5]
        edges += [(f"d{d}.detour", target, 50.0) for target in targets]
        domains[f"d{d}.detour"] = f"d{d}"
        watched = [*sources, *targets, *hubs, *around, second]
        edges += [(f"watcher{d}", node, 1000.0) for node in watched]
        domains[f"watcher{d}"] = "watchers"
        edges += [(chance.choice(targets), f"d{(d + 1) % centres}.source{number}", 100.0) for number in range(3)]
    return SmallGraph(domains, edges)
