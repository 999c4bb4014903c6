"""Random graphs of every kind through a real mesh; every answer is compared with networkx or a plain search."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from planmesh.client import Client, Detail, Plan, Strategy
from planmesh.errors import NoPath
from tests.mesh.small_graph import (
    COST_TOLERANCE,
    Edge,
    SmallGraph,
    cheapest_costs,
    hub_heavy_graph,
    random_pairs,
    service_graph,
)

pytestmark = pytest.mark.mesh

STRATEGIES = [
    Strategy.DOMAIN,
    Strategy.HASH,
    Strategy.MINCUT,
    None,
]
COSTS: dict[str, Callable[[random.Random], float]] = {
    "whole": lambda chance: float(chance.randint(0, 99)),
    "tied": lambda chance: float(chance.randint(0, 2)),
    "free": lambda chance: 0.0,
    "float": lambda chance: chance.random() * 10 ** chance.randint(-6, 6),
}
SMALL_GRAPHS = 32
"""Seeds. Each graph has its own kind of costs, strategy, number of partitions and density."""


def random_graph(seed: int) -> SmallGraph:
    """Make a sparse to dense graph, connected or not, with loops and parallel edges, in random domains."""
    chance = random.Random(seed)
    count = chance.randint(1, 40)
    cost = COSTS[list(COSTS)[seed % len(COSTS)]]
    names = [f"node {number}" for number in range(count)]
    domains = {name: f"domain {chance.randrange(1 + count // 4)}" for name in names}
    edges: list[Edge] = [
        (chance.choice(names), chance.choice(names), cost(chance)) for _ in range(chance.randint(0, 4 * count))
    ]
    return SmallGraph(domains, edges, undirected=seed % 3 == 0)


@pytest.mark.parametrize("seed", range(SMALL_GRAPHS))
def test_all_pairs_of_a_small_graph(client: Client, seed: int) -> None:
    graph = random_graph(seed)
    chance = random.Random(1_000 + seed)
    strategy = STRATEGIES[(seed // len(COSTS)) % len(STRATEGIES)]
    partitions = 0 if strategy == Strategy.DOMAIN else chance.randint(1, 1 + len(graph.nodes) // 2)
    report = graph.load(client, "exact", strategy, partitions)
    assert (report.nodes, report.edges) == (len(graph.nodes), graph.reference.number_of_edges())
    assert (report.parallel_edges, report.self_loops) == graph.parallel_edges_and_loops()

    pairs = [(start, goal) for start in graph.nodes for goal in graph.nodes]
    costs = cheapest_costs(graph, pairs)
    answered = set()
    for answer in client.plan_many(pairs, graph="exact", bypass_cache=seed % 2 == 0):
        answered.add(answer.index)
        if math.isinf(costs[answer.index]):
            assert isinstance(answer.error, NoPath), answer
            assert (answer.error.metadata["start"], answer.error.metadata["goal"]) == pairs[answer.index]
            continue
        plan = answer.result()
        assert (plan.start, plan.goal, plan.version) == (*pairs[answer.index], report.version)
        graph.check_plan(plan, costs[answer.index])
    assert answered == set(range(len(pairs)))


@pytest.mark.parametrize("seed", range(8))
def test_all_details_of_all_pairs_of_a_small_graph(client: Client, seed: int) -> None:
    """The costs are those of networkx, and the nodes those of the steps."""
    graph = random_graph(seed)
    graph.load(client, "details", Strategy.HASH, 1 + len(graph.nodes) // 4)
    pairs = [(start, goal) for start in graph.nodes for goal in graph.nodes]
    check_details(client, graph, "details", pairs, bypass_cache=seed % 2 == 0)


@pytest.mark.parametrize("kind", ["service", "hubs"])
def test_all_details_on_a_larger_graph(client: Client, kind: str) -> None:
    graph = hub_heavy_graph(3) if kind == "hubs" else service_graph(seed=11, domains=12, nodes_per_domain=60)
    graph.load(client, "details", Strategy.DOMAIN)
    pairs = random_pairs(graph, 400, seed=5)
    check_details(client, graph, "details", pairs, bypass_cache=True)
    for pair, cost in zip(pairs[:40], cheapest_costs(graph, pairs[:40]), strict=True):
        if math.isinf(cost):
            continue
        plans = [client.plan(*pair, graph="details", detail=detail, bypass_cache=True) for detail in Detail]
        check_plans_of_a_pair(graph, plans, cost)


def check_details(
    client: Client, graph: SmallGraph, name: str, pairs: list[tuple[str, str]], *, bypass_cache: bool
) -> None:
    found = [
        sorted(client.plan_many(pairs, graph=name, detail=detail, bypass_cache=bypass_cache), key=lambda one: one.index)
        for detail in Detail
    ]
    for answers, expected in zip(zip(*found, strict=True), cheapest_costs(graph, pairs), strict=True):
        if math.isinf(expected):
            assert all(isinstance(answer.error, NoPath) for answer in answers), answers
        else:
            check_plans_of_a_pair(graph, [answer.result() for answer in answers], expected)


def check_plans_of_a_pair(graph: SmallGraph, plans: list[Plan], expected_cost: float) -> None:
    """Check the plans of detail COST, NODES and STEPS."""
    cost, nodes, steps = plans
    assert [plan.detail for plan in plans] == list(Detail)
    graph.check_plan(nodes, expected_cost)
    graph.check_plan(steps, expected_cost)
    assert math.isclose(cost.cost, expected_cost, rel_tol=COST_TOLERANCE)
    if all(edge_cost.is_integer() for _, _, edge_cost in graph.edges):
        assert cost.cost == expected_cost
    assert (nodes.nodes, nodes.steps, nodes.partition_runs) == (steps.nodes, steps.steps, steps.partition_runs)
    # A loop of cost 0 may lead a path through further partitions.
    assert set(cost.partitions) >= set(steps.partitions)
    assert (cost.version, nodes.version) == (steps.version,) * 2


@pytest.mark.parametrize("seed", [0, 1, 6, 7])
def test_neighbors(client: Client, seed: int) -> None:
    graph = random_graph(seed)
    graph.load(client, "near", Strategy.HASH, 5)
    for depth in range(1, 6):
        for node in graph.nodes[::7]:
            graph.check_neighbors(client.neighbors(node, depth=depth, graph="near"), depth, "out")
            graph.check_neighbors(client.neighbors(node, depth=depth, graph="near", direction="in"), depth, "in")
            graph.check_neighbors(client.neighbors(node, depth=depth, graph="near", direction="both"), depth, "both")


@pytest.mark.parametrize("strategy", STRATEGIES[:3])
def test_a_larger_graph(client: Client, strategy: Strategy) -> None:
    graph = service_graph(seed=11, domains=12, nodes_per_domain=60)
    graph.load(client, "larger", strategy, 12)
    pairs = random_pairs(graph, 600, seed=12)
    costs = cheapest_costs(graph, pairs)
    crossed = 0
    for answer in client.plan_many(pairs, graph="larger", bypass_cache=True):
        if math.isinf(costs[answer.index]):
            assert isinstance(answer.error, NoPath)
            continue
        plan = answer.result()
        graph.check_plan(plan, costs[answer.index])
        crossed += len(plan.partitions) > 1
    assert crossed > len(pairs) / 2, "most plans must cross partitions for a meaningful test"


def test_repeated_pairs_of_a_batch_are_each_answered(client: Client) -> None:
    graph = SmallGraph({"a": "", "b": ""}, [("a", "b", 3.0)])
    graph.load(client, "repeated")
    pairs = [("a", "b"), ("b", "a"), ("a", "a")] * 300
    answers = sorted(client.plan_many(pairs, graph="repeated"), key=lambda answer: answer.index)
    assert [answer.index for answer in answers] == list(range(len(pairs)))
    for answer, (start, goal) in zip(answers, pairs, strict=True):
        if (start, goal) == ("b", "a"):
            assert isinstance(answer.error, NoPath)
        else:
            assert answer.result().cost == (3.0 if start != goal else 0.0)


def test_ids_of_any_script_come_back_as_they_were(client: Client) -> None:
    names = ["Reykjavík", "東京/駅", "a b", "x" * 512, "'; DROP TABLE nodes; --", "🛰" * 128, "../..", "0"]
    edges = [(names[i], names[(i + 1) % len(names)], 1.5) for i in range(len(names))]
    graph = SmallGraph(dict.fromkeys(names, "d"), edges)
    graph.load(client, "scripts")
    plan = client.plan(names[0], names[-1], graph="scripts")
    graph.check_plan(plan)
    assert [plan.start, *(step.target for step in plan.steps)] == names
    assert client.node(names[3], graph="scripts").id == names[3]


def test_the_cheapest_path_within_a_partition_may_leave_it(client: Client) -> None:
    """Start and goal share a partition, and the path through the neighbouring one is cheaper than any inside."""
    domains = {"a": "left", "b": "left", "c": "left", "x": "right", "y": "right"}
    edges = [("a", "b", 10.0), ("b", "c", 10.0), ("a", "x", 1.0), ("x", "y", 1.0), ("y", "c", 1.0)]
    graph = SmallGraph(domains, edges)
    graph.load(client, "through")
    plan = client.plan("a", "c", graph="through")
    graph.check_plan(plan)
    assert (plan.cost, plan.partitions) == (3.0, ("left", "right"))


def test_large_costs_stay_exact(client: Client) -> None:
    """Whole costs whose sums stay below 2^53 are exact to the last digit."""
    big = 2.0**52
    names = {name: name[0] for name in ("a1", "a2", "b1", "b2")}
    graph = SmallGraph(names, [("a1", "a2", big), ("a2", "b1", 1.0), ("b1", "b2", 2.0), ("a1", "b2", big + 4)])
    graph.load(client, "large-costs")
    assert client.plan("a1", "b2", graph="large-costs").cost == big + 3


HUB_HEAVY_SEEDS = [*range(2), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 12))]
"""1,000 plans each; `make test-long` checks 12,000 of them."""


@pytest.mark.parametrize("seed", HUB_HEAVY_SEEDS)
def test_hub_heavy_graphs(client: Client, seed: int) -> None:
    graph = hub_heavy_graph(seed)
    graph.load(client, "hubs", Strategy.DOMAIN)
    chance = random.Random(seed)
    starts = [node for node in graph.nodes if ".source" in node]
    goals = [node for node in graph.nodes if ".leaf" not in node]
    pairs = [(chance.choice(starts), chance.choice(goals)) for _ in range(1_000)]
    costs = cheapest_costs(graph, pairs)
    for answer in client.plan_many(pairs, graph="hubs", bypass_cache=True):
        if math.isinf(costs[answer.index]):
            assert isinstance(answer.error, NoPath), answer
        else:
            graph.check_plan(answer.result(), costs[answer.index])
