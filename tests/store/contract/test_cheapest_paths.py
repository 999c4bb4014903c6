"""Cheapest paths of every store on infrastructure-like graphs, compared with networkx. The contract of all stores.

Hubs, chains of hubs, ties, free edges, costs of nine orders of magnitude and several components exercise the bounds of
a search.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import networkx as nx
import pytest

from planmesh.errors import LimitExceeded, NoPath
from planmesh.graph.model import COST_MAX
from planmesh.store import rings
from planmesh.store.protocol import Direction, GraphStore
from planmesh.store.redis import store as redis_store
from planmesh.store.sqlite import search as sqlite_search
from tests.store.contract.rows import fill

Edges = list[tuple[str, str, float]]

PAIRS: Final = 40
"""Pairs queried in each graph: the first ones of all pairs in random order."""


def hub_beside_a_centre(_draw: random.Random) -> Edges:
    """Sources and targets around an expensive centre; most paths are cheaper past a hub with many leaves."""
    edges = [(f"s{one}", "centre", 1.0) for one in range(8)]
    edges += [("centre", f"t{one}", 1.0) for one in range(8)]
    edges += [(f"s{one}", "beside", 0.5) for one in range(7)] + [("beside", f"t{one}", 0.5) for one in range(8)]
    edges += [(f"s{one}", "hub", 0.001) for one in range(8)] + [("hub", f"leaf{one}", 0.001) for one in range(60)]
    return [*edges, ("s7", "detour", 50.0), ("detour", "t0", 50.0)]


def stars_of_stars(draw: random.Random) -> Edges:
    """Two rings of hubs, each with leaves connected in both directions."""
    edges: Edges = []
    for hub in range(6):
        edges.append((f"h{hub}", f"h{(hub + 1) % 6}", draw.choice((0.0, 1.0, 2.0))))
        for leaf in range(10):
            edges += [(f"h{hub}", f"l{hub}.{leaf}", draw.choice((1.0, 2.0)))]
            edges += [(f"l{hub}.{leaf}", f"h{draw.randrange(6)}", draw.choice((0.0, 1.0)))]
    return edges


def preferential(draw: random.Random) -> Edges:
    """Hubs from preferential attachment, in one direction or both, with costs of nine orders of magnitude."""
    graph = nx.barabasi_albert_graph(50, 3, seed=draw.randrange(1 << 30))
    edges: Edges = []
    for one, other in graph.edges:
        edges.append((f"n{one}", f"n{other}", 10.0 ** draw.uniform(-9, 0)))
        if draw.random() < 0.6:
            edges.append((f"n{other}", f"n{one}", 10.0 ** draw.uniform(-9, 0)))
    return edges


def free_and_tied(draw: random.Random) -> Edges:
    """Mostly free edges, so that most paths are tied, and circles without cost."""
    return [(f"n{draw.randrange(24)}", f"n{draw.randrange(24)}", draw.choice((0.0, 0.0, 0.0, 1.0))) for _ in range(70)]


def chain_of_cliques(draw: random.Random) -> Edges:
    """A chain of cliques, each joined to the next by one directed edge."""
    edges: Edges = []
    for clique in range(5):
        names = [f"c{clique}.{one}" for one in range(6)]
        edges += [(one, other, float(draw.randrange(1, 50))) for one in names for other in names if one != other]
        if clique:
            edges.append((f"c{clique - 1}.{draw.randrange(6)}", names[draw.randrange(6)], float(draw.randrange(9))))
    return edges


def two_components(draw: random.Random) -> Edges:
    """Two copies of a graph without an edge between them."""
    edges = preferential(draw)
    return edges + [(f"x{source}", f"x{target}", cost) for source, target, cost in edges]


def dearest(draw: random.Random) -> Edges:
    """Edges of the highest allowed cost beside cheap ones: no sum is infinite."""
    costs = (COST_MAX, COST_MAX / 2, 1.0)
    return [(f"n{one}", f"n{one + step}", draw.choice(costs)) for one in range(40) for step in (1, 3)]


MAKERS: Final = [
    hub_beside_a_centre,
    stars_of_stars,
    preferential,
    free_and_tied,
    chain_of_cliques,
    two_components,
    dearest,
]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: str(make.__name__))
async def test_paths_are_the_cheapest(store: GraphStore, make: Callable[[random.Random], Edges]) -> None:
    draw = random.Random(make.__name__)
    costs: dict[tuple[str, str], float] = {}
    for source, target, cost in make(draw):
        costs[source, target] = min(cost, costs.get((source, target), cost))
    reference = nx.DiGraph()
    reference.add_weighted_edges_from((source, target, cost) for (source, target), cost in costs.items())
    ids = sorted(reference.nodes)
    await fill(store, ids, [(source, target, cost) for (source, target), cost in costs.items()])
    expected = dict(nx.all_pairs_dijkstra_path_length(reference))
    pairs = [(start, goal) for start in ids for goal in ids]
    draw.shuffle(pairs)
    for start, goal in pairs[:PAIRS]:
        if goal not in expected[start]:
            with pytest.raises(NoPath):
                await store.shortest_path(start, goal)
            continue
        path = await store.shortest_path(start, goal)
        assert path.cost == pytest.approx(expected[start][goal], rel=1e-12, abs=0)
        assert (path.nodes[0], path.nodes[-1]) == (start, goal)
        assert path.step_costs == [costs[step] for step in zip(path.nodes, path.nodes[1:], strict=False)]
        assert len(set(path.nodes)) == len(path.nodes)


async def test_the_bound_of_neighbours_and_one_more(store: GraphStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (rings, sqlite_search, redis_store):
        monkeypatch.setattr(module, "NEIGHBORS_MAX", 9)
    leaves = [f"l{one}" for one in range(9)]
    await fill(store, ["hub", *leaves, "far"], [*(("hub", leaf, 1.0) for leaf in leaves), ("l0", "far", 1.0)])
    assert len(await store.neighbors("hub", 1, Direction.OUT)) == 9
    with pytest.raises(LimitExceeded) as refused:
        await store.neighbors("hub", 2, Direction.OUT)
    assert refused.value.metadata["bound"] == "NEIGHBORS_MAX"
