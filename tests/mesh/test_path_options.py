"""Plans with options on a real mesh, before and after updates: avoided things, waypoints, bounds and alternatives."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from typing import Any

import networkx as nx
import pytest

from planmesh.client import Client, Plan, changes
from planmesh.errors import InvalidRequest, NodeDown, NodeUnknown, NoPath
from tests.conftest import RunningMesh
from tests.mesh.small_graph import SmallGraph, service_graph

pytestmark = pytest.mark.mesh

GRAPH = "path-options"
SERVED = service_graph(seed=5, domains=4, nodes_per_domain=30, edges_per_node=3)


class Model:
    """The graph as the updates have left it."""

    def __init__(self, served: SmallGraph) -> None:
        self.graph: nx.DiGraph = served.reference.copy()
        self.domains = dict(served.domains)

    def without(self, nodes: list[str], edges: list[tuple[str, str]], partitions: list[str]) -> nx.DiGraph:
        left = self.graph.copy()
        left.remove_nodes_from([*nodes, *(node for node, domain in self.domains.items() if domain in partitions)])
        left.remove_edges_from(edges)
        return left


def cost_of(graph: nx.DiGraph, plan: Plan) -> float:
    """Check that a plan is a path of the graph, and return its cost."""
    assert plan.nodes[0] == plan.start
    assert plan.nodes[-1] == plan.goal
    assert [graph.edges[edge]["cost"] for edge in pairwise(plan.nodes)] == list(plan.step_costs)
    return plan.cost


def cheapest(graph: nx.DiGraph, start: str, goal: str) -> float:
    try:
        return float(nx.dijkstra_path_length(graph, start, goal, weight="cost"))
    except nx.NetworkXNoPath:
        return math.inf


@pytest.fixture(scope="module")
def model(client: Client) -> Model:
    SERVED.load(client, GRAPH)
    return Model(SERVED)


def change_at_random(client: Client, model: Model, chance: random.Random, *, only_dearer: bool) -> int:
    """Update the served graph and the model; return the version."""
    batch: list[Any] = []
    for _ in range(6):
        source, target = chance.choice(list(model.graph.edges))
        cost = float(chance.randint(1, 99))
        if only_dearer:
            cost += model.graph.edges[source, target]["cost"]
        batch.append(changes.UpsertEdge(source, target, cost=cost))
        model.graph.edges[source, target]["cost"] = cost
    if not only_dearer:
        source, target = chance.sample(list(model.graph), 2)
        batch.append(changes.UpsertEdge(source, target, cost=3.0))
        model.graph.add_edge(source, target, cost=3.0)
    return client.update_graph(batch, graph=GRAPH).version


def test_plans_with_options_are_the_cheapest_that_fit(model: Model, client: Client) -> None:
    chance = random.Random(3)
    version, found = 0, dict.fromkeys(("avoid", "via", "alternatives", "overlap", "none"), 0)
    for round_ in range(90):
        if round_ >= 20 and round_ % 5 == 0:
            version = change_at_random(client, model, chance, only_dearer=round_ < 55)
        start, goal = chance.sample(list(model.graph), 2)
        others = [node for node in model.graph if node not in {start, goal}]
        nodes, edges = chance.sample(others, 6), chance.sample(list(model.graph.edges), 6)
        used = {model.domains[start], model.domains[goal]}
        partitions = [name for name in ("d0", "d1", "d2", "d3") if name not in used][: chance.randint(0, 1)]
        avoid: Any = {"avoid_nodes": nodes, "avoid_edges": edges, "avoid_partitions": partitions}
        left = model.without(nodes, edges, partitions)
        expected = cheapest(left, start, goal)
        options: Any = {"graph": GRAPH, "min_version": version, "detail": chance.choice(["nodes", "steps"])}
        if math.isinf(expected):
            with pytest.raises(NoPath):
                client.plan(start, goal, **avoid, **options)
            found["none"] += 1
            continue
        assert cost_of(left, client.plan(start, goal, **avoid, **options)) == expected
        assert client.plan(start, goal, **avoid, **{**options, "detail": "cost"}).cost == expected
        found["avoid"] += 1

        stops = [start, *chance.sample(list(left), 2), goal]
        legs = [cheapest(left, *leg) for leg in pairwise(stops)]
        if all(map(math.isfinite, legs)):
            plan = client.plan(start, goal, via=stops[1:-1], **avoid, **options)
            assert cost_of(left, plan) == sum(legs)
            places = iter(plan.nodes)
            assert all(stop in places for stop in stops), "the stops are passed in order"
            found["via"] += 1

        paths = nx.shortest_simple_paths(left, start, goal, weight="cost")
        ranked = [nx.path_weight(left, path, "cost") for path, _ in zip(paths, range(5), strict=False)]
        plan = client.plan(start, goal, alternatives=4, **avoid, **options)
        found_paths = [plan, *plan.alternatives]
        assert [cost_of(left, path) for path in found_paths] == ranked
        assert len({path.nodes for path in found_paths}) == len(found_paths)
        bounded = client.plan(start, goal, alternatives=4, max_cost=ranked[0] * 1.2, **avoid, **options)
        assert [path.cost for path in bounded.alternatives] == [cost for cost in ranked[1:] if cost <= ranked[0] * 1.2]
        found["alternatives"] += len(ranked) > 1

        apart = client.plan(start, goal, alternatives=2, max_overlap=0, **avoid, **options)
        taken: set[tuple[str, str]] = set()
        for path in [apart, *apart.alternatives]:
            rest = left.copy()
            rest.remove_edges_from(taken)
            assert cost_of(left, path) == cheapest(rest, start, goal)
            taken |= set(pairwise(path.nodes))
        found["overlap"] += len(apart.alternatives) > 0
    assert min(found.values()) > 3, found


def test_a_path_that_costs_too_much_is_no_path(model: Model, client: Client) -> None:
    start, goal = next(iter(model.graph.edges))
    cost = client.plan(start, goal, graph=GRAPH).cost
    assert client.plan(start, goal, graph=GRAPH, max_cost=cost).cost == cost
    with pytest.raises(NoPath, match=f"costs {cost!r}, more than max_cost") as caught:
        client.plan(start, goal, graph=GRAPH, max_cost=cost - 0.5)
    assert caught.value.metadata["cost"] == repr(cost)


def test_what_cannot_be_planned_is_refused(model: Model, client: Client) -> None:
    start, goal = next(iter(model.graph.edges))
    with pytest.raises(InvalidRequest, match=r"^start: expected a node that is not avoided"):
        client.plan(start, goal, graph=GRAPH, avoid_partitions=[model.domains[start]])
    with pytest.raises(NodeUnknown, match="nowhere"):
        client.plan(start, goal, graph=GRAPH, via=["nowhere"])
    other = next(node for node in model.graph if node not in {start, goal})
    with pytest.raises(InvalidRequest, match=r"^waypoints\[0\]: expected a node that is not among avoid.nodes"):
        client.plan(start, goal, graph=GRAPH, via=[other], avoid_nodes=[other])
    down = client.update_graph([changes.UpsertNode(other, state="down")], graph=GRAPH).version
    with pytest.raises(NodeDown, match=other):
        client.plan(start, goal, graph=GRAPH, via=[other], min_version=down)
    client.update_graph([changes.UpsertNode(other, state="up")], graph=GRAPH)


def test_pairs_of_a_batch_have_options_too(model: Model, client: Client) -> None:
    pairs = [edge for edge, _ in zip(model.graph.edges, range(20), strict=False)]
    answers = list(client.plan_many(pairs, graph=GRAPH, alternatives=2, detail="nodes"))
    assert len(answers) == len(pairs)
    for answer in answers:
        assert answer.plan is not None
        alone = client.plan(*pairs[answer.index], graph=GRAPH, alternatives=2, detail="nodes")
        assert [path.nodes for path in alone.alternatives] == [path.nodes for path in answer.plan.alternatives]


def test_the_command_line_prints_alternatives(model: Model, mesh: RunningMesh) -> None:
    start, goal = next(iter(model.graph.edges))
    value = mesh.json("plan", start, goal, "--graph", GRAPH, "--alternatives", "2", "--max-overlap", "0.5")
    assert len(value["alternatives"]) == 2
    assert value["cost"] <= value["alternatives"][0]["cost"] <= value["alternatives"][1]["cost"]
    assert "alternatives" not in mesh.json("plan", start, goal, "--graph", GRAPH)
    shown = mesh.cli("plan", start, goal, "--graph", GRAPH, "--alternatives", "2", "--max-overlap", "0.5").stdout
    assert "alternative 1: cost" in shown
    assert "alternative 2: cost" in shown
    assert mesh.json("plan", start, goal, "--graph", GRAPH, "--via", goal)["steps"][-1]["target"] == goal
    refused = mesh.cli("plan", start, goal, "--graph", GRAPH, "--alternatives", "21", code=2)
    assert "--alternatives" in refused.stderr
