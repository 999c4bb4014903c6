"""Reachable nodes and blast radii on a real mesh, before and after updates, against networkx."""

from __future__ import annotations

import math
import random
from typing import Any

import networkx as nx
import pytest

from planmesh.client import Client, DeleteNode, Reachable, UpsertEdge, UpsertNode
from planmesh.errors import InvalidRequest, LimitExceeded, NodeDown, NodeUnknown, VersionGone
from tests.conftest import RunningMesh
from tests.mesh.small_graph import service_graph

pytestmark = pytest.mark.mesh

GRAPH = "reach"
SERVED = service_graph(seed=8, domains=5, nodes_per_domain=40, edges_per_node=2)


class Model:
    """The graph as the updates have left it, and which nodes are down."""

    def __init__(self) -> None:
        self.graph: nx.DiGraph = SERVED.reference.copy()
        self.down: set[str] = set()

    def today(self, nodes: Any = (), edges: Any = ()) -> nx.DiGraph:
        left = self.graph.copy()
        left.remove_nodes_from([*self.down, *nodes])
        left.remove_edges_from(edges)
        return left

    def costs(self, graph: nx.DiGraph, node: str, *, upstream: bool = False) -> dict[str, float]:
        found = nx.single_source_dijkstra_path_length(graph.reverse() if upstream else graph, node, weight="cost")
        return {other: float(cost) for other, cost in found.items() if other != node}


@pytest.fixture(scope="module")
def model(client: Client) -> Model:
    SERVED.load(client, GRAPH)
    return Model()


def change(client: Client, model: Model, chance: random.Random) -> int:
    """Change costs, take a node down or up, delete one, add one; return the version."""
    batch: list[Any] = []
    for _ in range(4):
        source, target = chance.choice(list(model.graph.edges))
        cost = float(chance.randint(1, 99))
        batch.append(UpsertEdge(source, target, cost=cost))
        model.graph.edges[source, target]["cost"] = cost
    node = chance.choice(list(model.graph))
    state = "up" if node in model.down else "down"
    batch.append(UpsertNode(node, state=state))
    model.down ^= {node}
    gone = chance.choice([other for other in model.graph if other not in model.down])
    batch.append(DeleteNode(gone))
    model.graph.remove_node(gone)
    new = f"new.{chance.getrandbits(40):x}"
    before, after = chance.sample(list(model.graph), 2)
    batch += [UpsertNode(new), UpsertEdge(before, new, cost=2.0), UpsertEdge(new, after, cost=1.0)]
    model.graph.add_edge(before, new, cost=2.0)
    model.graph.add_edge(new, after, cost=1.0)
    return client.update_graph(batch, graph=GRAPH).version


def check_hits(found: Reachable, graph: nx.DiGraph, expected: dict[str, float], *, upstream: bool) -> None:
    assert {hit.node: hit.cost for hit in found.hits} == expected
    assert found.total == len(expected)
    assert [hit.cost for hit in found.hits] == sorted(expected.values())
    assert sum(one.hits for one in found.partitions) == len(expected)
    for one in found.partitions:
        costs = [hit.cost for hit in found.hits if hit.partition == one.partition]
        assert (one.hits, one.cost) == (len(costs), min(costs))
    for hit in found.hits:
        nodes = found.path(hit.node)
        assert nx.path_weight(graph, nodes[::-1] if upstream else nodes, "cost") == hit.cost


@pytest.mark.parametrize("upstream", [False, True])
def test_hits_are_all_nodes_within_the_cost(model: Model, client: Client, upstream: bool) -> None:
    chance = random.Random(4 + upstream)
    version, sizes = 0, set()
    for round_ in range(24):
        if round_ >= 8:
            version = change(client, model, chance)
        node = chance.choice([other for other in model.graph if other not in model.down])
        bound = chance.choice([None, 0.0, 30.0, 80.0])
        others = [other for other in model.graph if other != node]
        avoided, cut = chance.sample(others, 2), chance.sample(list(model.graph.edges), 2)
        graph = model.today(avoided, cut)
        expected = model.costs(graph, node, upstream=upstream)
        expected = {other: cost for other, cost in expected.items() if bound is None or cost <= bound}
        options: Any = {"graph": GRAPH, "min_version": version, "avoid_nodes": avoided, "avoid_edges": cut}
        found = client.reachable(node, direction="in" if upstream else "out", max_cost=bound, **options)
        check_hits(found, graph, expected, upstream=upstream)
        sizes.add(min(len(expected), 100))
        if expected:
            counted = client.reachable(
                node, direction="in" if upstream else "out", max_cost=bound, counts_only=True, **options
            )
            assert (counted.total, counted.partitions, counted.hits) == (found.total, found.partitions, ())
            full = client.reachable(
                node, direction="in" if upstream else "out", max_cost=bound, max_hits=len(expected), **options
            )
            assert full.total == len(expected)
        if len(expected) > 1:
            with pytest.raises(LimitExceeded, match="more than 1 nodes"):
                client.reachable(node, direction="in" if upstream else "out", max_cost=bound, max_hits=1, **options)
    assert len(sizes) > 5


def test_a_failure_takes_away_what_has_no_other_path(model: Model, client: Client) -> None:
    chance = random.Random(6)
    lost = dearer = 0
    for round_ in range(20):
        version = change(client, model, chance) if round_ % 4 == 3 else 0
        up = [other for other in model.graph if other not in model.down]
        nodes, edges = chance.sample(up, round_ % 3), chance.sample(list(model.graph.edges), 2)
        sources = chance.sample([other for other in up if other not in nodes], 3) if round_ % 2 else []
        growth = chance.choice([None, 1.0, 1.3])
        bound = chance.choice([None, 60.0])
        found = client.blast_radius(
            nodes, edges, sources=sources, min_growth=growth, max_cost=bound, graph=GRAPH, min_version=version
        )
        today, failed = model.today(), model.today(nodes, edges)
        judged = sources or sorted(
            {tail for node in nodes for tail in today.predecessors(node)} | {tail for tail, _ in edges if tail in today}
        )
        judged = [node for node in judged if node not in nodes]
        assert sorted(found.sources) == sorted(judged)
        expected = {}
        for source in judged:
            after = model.costs(failed, source)
            for node, cost in model.costs(today, source).items():
                if node not in nodes and (bound is None or cost <= bound):
                    left = after.get(node, math.inf)
                    if math.isinf(left) or (growth is not None and left > cost * growth):
                        expected[source, node] = (cost, left)
        assert {(one.source, one.node): (one.cost_before, one.cost_after) for one in found.affected} == expected
        assert found.lost == sum(math.isinf(after) for _, after in expected.values())
        assert found.dearer == len(expected) - found.lost
        lost, dearer = lost + found.lost, dearer + found.dearer
    assert lost > 3
    assert dearer > 3


def test_bad_questions_are_refused(model: Model, client: Client) -> None:
    node, other = [one for one in model.graph if one not in model.down][:2]
    with pytest.raises(NodeUnknown):
        client.reachable("nowhere", graph=GRAPH)
    with pytest.raises(VersionGone):
        client.reachable(node, graph=GRAPH, at_version=0)
    with pytest.raises(InvalidRequest, match=r"^node: expected a node that is not among avoid\.nodes"):
        client.reachable(node, graph=GRAPH, avoid_nodes=[node])
    with pytest.raises(InvalidRequest, match=r"^sources\[0\]: expected a node that does not fail"):
        client.blast_radius([node], sources=[node], graph=GRAPH)
    with pytest.raises(InvalidRequest, match=r"^nodes: expected nodes or edges that fail, got neither"):
        client.blast_radius(graph=GRAPH)
    version = client.update_graph([UpsertNode(other, state="down")], graph=GRAPH).version
    with pytest.raises(NodeDown, match=other):
        client.reachable(other, graph=GRAPH, min_version=version)
    client.update_graph([UpsertNode(other, state="up")], graph=GRAPH)


def test_the_command_line_shows_them(model: Model, mesh: RunningMesh) -> None:
    graph = model.today()
    node = max(graph, key=graph.out_degree)
    value = mesh.json("reach", node, "--graph", GRAPH, "--within", "50")
    assert value["total"] == len(value["hits"]) == sum(cost <= 50 for cost in model.costs(graph, node).values())
    counts = mesh.cli("reach", node, "--graph", GRAPH, "--upstream", "--counts").stdout
    assert counts.startswith("nodes\tleast cost\tpartition\n")
    shown = mesh.cli("reach", node, "--graph", GRAPH, "--within", "50", "--paths").stdout
    assert " → " in shown
    blast = mesh.json("blast", node, "--graph", GRAPH, "--growth", "1.1")
    assert blast["lost"] + blast["dearer"] == len(blast["affected"])
    tail, head = next((tail, head) for tail, head in graph.edges if graph.in_degree(head) == 1)
    assert f"lost\t{head}\t" in mesh.cli("blast", "--edge", f"{tail}:{head}", "--graph", GRAPH).stdout
    assert "expected a NODE" in mesh.cli("blast", "--graph", GRAPH, code=2).stderr
