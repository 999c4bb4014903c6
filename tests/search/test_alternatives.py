"""Alternatives against all simple paths of small graphs that change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

import networkx as nx
import numpy as np
import pytest

from planmesh.graph.model import Float64Array, Int32Array
from planmesh.search import alternatives
from planmesh.search.alternatives import Edge, RankedPath, Ranking, rank, shared
from planmesh.search.delta import NOTHING_BLOCKED, UP, make_blocked
from planmesh.search.reference import dijkstra
from tests.search.changing_graph import ChangingGraph, Model
from tests.search.in_process_mesh import build_mesh, make_graph, order_by_partition
from tests.search.test_changed_path import make


class Finder:
    """Searches one version of a changing graph, and counts its searches."""

    def __init__(self, changing: ChangingGraph, version: int, goal: int, random: Random) -> None:
        self.changing, self.version, self.goal = changing, version, goal
        self.searches = 0
        self.costs = changing.search.costs_to(changing.delta.view(version), goal, NOTHING_BLOCKED)
        self.distance_max = random.choice([0.0, 1.0, 3.0, np.inf, np.inf])
        self.distances: Float64Array | None = None

    def path(self, start: int, nodes: Sequence[int], edges: Sequence[Edge]) -> RankedPath | None:
        self.searches += 1
        found = self.changing.path(self.version, start, self.goal, make_blocked(nodes, edges))
        return RankedPath.of(found.nodes, found.costs) if np.isfinite(found.cost) else None

    def least_costs(self, nodes: Int32Array) -> Float64Array:
        bounds = self.costs.of(nodes, self.distance_max)
        if self.distances is None:
            self.distances = self.reversed_distances()
        assert (bounds <= self.distances[nodes] * (1 + 1e-9)).all()
        return bounds

    def reversed_distances(self) -> Float64Array:
        model = self.changing.versions[self.version]
        graph = model.graph()
        tails = np.repeat(np.arange(model.node_count), np.diff(graph.first_out)).tolist()
        rows = list(zip(graph.head.tolist(), tails, graph.weight.tolist(), strict=True))
        into = make_graph(model.node_count, rows)
        return dijkstra(into.first_out, into.head, into.weight, self.goal)[0]

    def edges_from(self, node: int) -> Iterator[tuple[int, float]]:
        model = self.changing.versions[self.version]
        for (tail, head), cost in model.costs.items():
            if tail == node and np.isfinite(cost) and model.away.get(head, UP) == UP:
                yield head, cost


def make_dense(seed: int, nodes_max: int) -> tuple[ChangingGraph, Random]:
    """Return a random graph with many paths between two nodes, many of the same cost, some for nothing."""
    random = Random(seed)
    count = random.randint(4, min(nodes_max, 8))
    pairs = [(tail, head) for tail in range(count) for head in range(count) if tail != head]
    chosen = random.sample(pairs, min(len(pairs), random.randint(2 * count, 3 * count)))
    costed = [(tail, head, random.randint(0, 6) / 2) for tail, head in chosen]
    partition_of = np.array([random.randrange(3) for _ in range(count)], np.int32)
    dense = np.unique(partition_of, return_inverse=True)[1].astype(np.int32)
    graph, first, _ = order_by_partition(make_graph(count, costed), dense)
    return ChangingGraph(build_mesh(graph, first)), random


def simple_paths(model: Model, start: int, goal: int) -> list[tuple[float, list[int]]]:
    """Return all paths without loops, with their costs, cheapest first."""
    plain = model.graph()
    graph = nx.DiGraph()
    graph.add_nodes_from(range(model.node_count))
    for tail in range(model.node_count):
        for edge in range(plain.first_out[tail], plain.first_out[tail + 1]):
            graph.add_edge(tail, int(plain.head[edge]), cost=float(plain.weight[edge]))
    paths = [[start]] if start == goal else list(nx.all_simple_paths(graph, start, goal))
    return sorted((sum(graph.edges[edge]["cost"] for edge in nx.utils.pairwise(path)), path) for path in paths)


def cases(seeds: range, nodes_max: int) -> Iterator[tuple[Finder, int, list[tuple[float, list[int]]], Random]]:
    for seed in seeds:
        changing, random = make(seed, nodes_max) if seed % 3 == 0 else make_dense(seed, nodes_max)
        changing.begin_version()
        for _ in range(random.randint(0, 5)):
            changing.change(random)
        model = changing.newest
        up = [node for node in range(model.node_count) if model.away.get(node, UP) == UP]
        if len(up) < 2 or len(model.costs) > 60:
            continue
        for _ in range(4):
            start, goal = random.choice(up), random.choice(up)
            yield Finder(changing, 1, goal, random), start, simple_paths(model, start, goal), random


def check_paths(ranking: Ranking, model: Model, start: int, goal: int) -> None:
    seen = set()
    for path in ranking.paths:
        nodes = path.nodes.tolist()
        assert (nodes[0], nodes[-1]) == (start, goal)
        assert len(set(nodes)) == len(nodes)
        assert [model.costs[edge] for edge in path.edges()] == path.costs.tolist()
        seen.add(tuple(nodes))
    assert len(seen) == len(ranking.paths)


@pytest.mark.parametrize("block", range(4))
def test_the_cheapest_paths_without_loops_are_found_in_order(block: int) -> None:
    several = 0
    for finder, start, expected, random in cases(range(60 * block, 60 * (block + 1)), nodes_max=11):
        wanted = random.choice([0, 3, 20, 20])
        ranking = rank(finder, start, finder.goal, wanted)
        assert ranking.is_complete
        check_paths(ranking, finder.changing.newest, start, finder.goal)
        costs = [cost for cost, _ in expected[: wanted + 1]]
        np.testing.assert_allclose([path.cost for path in ranking.paths], costs)
        several += len(costs) > 2
    assert several > 20


def test_a_bound_of_the_cost_ends_the_ranking_after_the_cheapest() -> None:
    cut = 0
    for finder, start, expected, _ in cases(range(120), nodes_max=10):
        if not expected:
            continue
        bound = expected[0][0] * 1.5
        ranking = rank(finder, start, finder.goal, 10, cost_max=bound)
        fitting = [cost for cost, _ in expected[:11] if cost <= bound]
        np.testing.assert_allclose([path.cost for path in ranking.paths], fitting)
        cut += len(fitting) < min(11, len(expected))
    assert cut > 20


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.7])
def test_each_alternative_is_the_cheapest_that_shares_little_enough(overlap: float) -> None:
    several = 0
    for finder, start, expected, _ in cases(range(150), nodes_max=10):
        if len(expected) > alternatives.EXAMINED_MAX or start == finder.goal:
            continue
        ranking = rank(finder, start, finder.goal, 5, overlap)
        check_paths(ranking, finder.changing.newest, start, finder.goal)
        assert ranking.is_complete
        model = finder.changing.newest
        chosen: list[RankedPath] = []
        for found in ranking.paths:
            left = [
                path
                for cost, nodes in expected
                for path in [as_path(model, nodes)]
                if all(fits(path, before, overlap) for before in chosen)
            ]
            assert abs(left[0].cost - found.cost) <= 1e-9 * max(1.0, found.cost)
            assert all(fits(found, before, overlap) for before in chosen)
            chosen.append(found)
        if len(ranking.paths) < 6:
            assert not [
                nodes for _, nodes in expected if all(fits(as_path(model, nodes), before, overlap) for before in chosen)
            ]
        several += len(ranking.paths) > 1
    assert several > 20


def fits(path: RankedPath, before: RankedPath, overlap: float) -> bool:
    """An overlap of 0 means no common edge, not even one that costs nothing."""
    return shared(path, before) <= overlap if overlap else not set(path.edges()) & set(before.edges())


def as_path(model: Model, nodes: list[int]) -> RankedPath:
    costs = np.array([model.costs[edge] for edge in nx.utils.pairwise(nodes)])
    return RankedPath(np.array(nodes, np.int32), costs, float(costs.sum()))


def test_a_ranking_that_examines_too_many_paths_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alternatives, "EXAMINED_MAX", 2)
    bounded = 0
    for finder, start, expected, _ in cases(range(80), nodes_max=10):
        ranking = rank(finder, start, finder.goal, 5, 0.1)
        assert ranking.is_complete or len(expected) >= 2
        bounded += not ranking.is_complete
    assert bounded > 10


def test_bounds_save_most_searches() -> None:
    """Without them every node of every path found would be searched from."""
    searches = nodes = 0
    for finder, start, expected, _ in cases(range(200), nodes_max=11):
        if len(expected) > 5:
            ranking = rank(finder, start, finder.goal, 3)
            searches += finder.searches
            nodes += sum(len(path.nodes) - 1 for path in ranking.paths)
    assert 0 < searches < nodes


def test_the_checkpoint_is_called_for_each_path_and_may_stop() -> None:
    def stop() -> None:
        raise TimeoutError

    finder, start, _, _ = next(case for case in cases(range(50), nodes_max=8) if case[2])
    with pytest.raises(TimeoutError):
        rank(finder, start, finder.goal, 3, checkpoint=stop)
