"""The model against networkx, and its batches, which are applied as a whole or not at all."""

from __future__ import annotations

import copy
import math
import random

import networkx as nx
import pytest

from planmesh.client import Change, DeleteEdge, DeleteNode, UpsertEdge, UpsertNode
from tests.live.model import Model, TargetMissingError
from tests.live.random_changes import RandomChanges
from tests.mesh.small_graph import service_graph

GRAPH = service_graph(seed=1, domains=3, nodes_per_domain=12)


def small() -> Model:
    return Model("abc", [("a", "b", 2.0), ("a", "b", 1.0), ("b", "c", 3.0), ("c", "c", 1.0)])


def content(model: Model) -> object:
    return copy.deepcopy((model.states, model.out, model.sources))


def test_random_changes_leave_the_costs_that_networkx_finds() -> None:
    chance = random.Random(2)
    model = Model(GRAPH.nodes, GRAPH.edges)
    draws = RandomChanges(model, chance, 0, len(GRAPH.nodes))
    found = refused = 0
    for _ in range(400):
        before, changes = content(model), draws.batch()
        assert model.refuses(changes) == refuses(model, changes)
        try:
            model.apply(changes)
        except TargetMissingError:
            refused += 1
            assert content(model) == before
        start, goal = draws.pair()
        if model.is_up(start) and model.is_up(goal):
            nodes, edges = draws.avoided([(start, goal)])
            cost = model.cheapest(start, goal, nodes, edges)
            assert cost == reference(model, start, goal, nodes, edges)
            found += math.isfinite(cost)
    assert found > 100
    assert 0 < refused < 200


def refuses(model: Model, changes: list[Change]) -> bool:
    """Whether a copy refuses changes."""
    try:
        copy.deepcopy(model).apply(changes)
    except TargetMissingError:
        return True
    return False


def reference(model: Model, start: str, goal: str, nodes: list[str], edges: list[tuple[str, str]]) -> float:
    graph = nx.DiGraph((tail, head, {"cost": cost}) for tail, out in model.out.items() for head, cost in out.items())
    graph.add_nodes_from(model.states)
    graph.remove_nodes_from([node for node, state in model.states.items() if state == "down"])
    graph.remove_nodes_from(nodes)
    graph.remove_edges_from(edges)
    try:
        return float(nx.dijkstra_path_length(graph, start, goal, weight="cost"))
    except nx.NetworkXNoPath:
        return math.inf


def test_the_cheapest_of_parallel_edges_counts_and_loops_do_not() -> None:
    assert small().out == {"a": {"b": 1.0}, "b": {"c": 3.0}, "c": {}}


def test_a_cost_factor_multiplies_the_first_cost_of_an_edge() -> None:
    model = small()
    model.apply([UpsertEdge("b", "c", cost=50.0), UpsertEdge("b", "c", cost_factor=2.0)])
    assert model.cost("b", "c") == 6.0
    model.apply([DeleteEdge("b", "c"), UpsertEdge("b", "c", cost=5.0), UpsertEdge("b", "c", cost_factor=2.0)])
    assert model.cost("b", "c") == 10.0


def test_a_deleted_node_comes_back_up_and_without_edges() -> None:
    model = small()
    model.apply([UpsertNode("b", state="down"), DeleteNode("b"), UpsertNode("b")])
    assert (model.states["b"], model.out["b"], model.sources["b"], model.out["a"]) == ("up", {}, set(), {})


@pytest.mark.parametrize(
    "change",
    [DeleteNode("x"), DeleteEdge("a", "c"), UpsertEdge("a", "x", cost=1.0), UpsertEdge("a", "c", cost_factor=1.0)],
)
def test_a_batch_without_its_target_changes_nothing(change: Change) -> None:
    model = small()
    before = content(model)
    with pytest.raises(TargetMissingError):
        model.apply([UpsertNode("n"), UpsertEdge("n", "a", cost=1.0), DeleteNode("b"), DeleteEdge("n", "a"), change])
    assert content(model) == before
    deletes = isinstance(change, (DeleteNode, DeleteEdge))
    assert model.refuses([change], ignore_missing=True) is not deletes
    assert content(model) == before
