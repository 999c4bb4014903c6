"""Queries of a store: neighbours, paths, patterns. The contract of every GraphStore."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from planmesh.errors import InvalidRequest, NodeUnknown, NoPath, PatternsUnsupported
from planmesh.graph.model import Graph, Int32Array
from planmesh.store.protocol import Direction, GraphStore, PatternLimits
from tests.search.in_process_mesh import build_mesh, make_graph, order_by_partition
from tests.search.random_graphs import partitioned_graphs
from tests.store.contract.rows import contents, fill

CHAIN = [("a", "b", 1.0), ("b", "c", 2.0), ("c", "d", 3.0), ("e", "b", 1.0), ("d", "d", 1.0)]


async def near(store: GraphStore, node: str, depth: int, direction: Direction) -> list[tuple[str, int]]:
    return [(one.id, one.hops) for one in await store.neighbors(node, depth, direction)]


async def test_neighbors(store: GraphStore) -> None:
    await fill(store, list("abcdef"), CHAIN)
    assert await near(store, "b", 1, Direction.OUT) == [("c", 1)]
    assert await near(store, "b", 5, Direction.OUT) == [("c", 1), ("d", 2)]
    assert await near(store, "b", 5, Direction.IN) == [("a", 1), ("e", 1)]
    assert await near(store, "a", 2, Direction.BOTH) == [("b", 1), ("c", 2), ("e", 2)]
    assert await near(store, "d", 1, Direction.OUT) == []
    assert await near(store, "f", 3, Direction.BOTH) == []
    with pytest.raises(NodeUnknown, match="'x'"):
        await store.neighbors("x", 1, Direction.OUT)
    for depth in (0, 6):
        with pytest.raises(InvalidRequest, match="depth from 1 to 5"):
            await store.neighbors("a", depth, Direction.OUT)


async def test_paths(store: GraphStore) -> None:
    await fill(store, list("abcdef"), [*CHAIN, ("a", "c", 2.5), ("c", "a", 0.0)])
    path = await store.shortest_path("a", "d")
    assert (path.nodes, path.step_costs, path.cost) == (["a", "c", "d"], [2.5, 3.0], 5.5)
    assert (await store.shortest_path("c", "b")).cost == 1.0
    same = await store.shortest_path("f", "f")
    assert (same.nodes, same.step_costs, same.cost) == (["f"], [], 0.0)
    with pytest.raises(NoPath):
        await store.shortest_path("a", "f")
    with pytest.raises(NoPath):
        await store.shortest_path("d", "a")
    for start, goal in (("x", "a"), ("a", "x"), ("x", "x")):
        with pytest.raises(NodeUnknown, match="'x'"):
            await store.shortest_path(start, goal)


@given(partitioned=partitioned_graphs())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
async def test_stored_rows_give_the_same_plans(store: GraphStore, partitioned: tuple[Graph, Int32Array]) -> None:
    """Loads a store into a mesh: every plan costs what the reference says, and what the store's own path costs."""
    graph, partition_of = partitioned
    count = graph.node_count
    ids = [f"n{number}" for number in range(count)]
    tails = np.repeat(np.arange(count), np.diff(graph.first_out)).tolist()
    listed = list(zip(tails, graph.head.tolist(), graph.weight.tolist(), strict=True))
    await fill(store, ids, [(ids[tail], ids[head], cost) for tail, head, cost in listed])
    nodes, edges = await contents(store)
    assert set(nodes) == set(ids)
    number = {one: place for place, one in enumerate(ids)}
    read = make_graph(count, [(number[source], number[target], cost) for (source, target), cost in edges.items()])
    ordered, partition_first, new_number = order_by_partition(read, partition_of)
    mesh = build_mesh(ordered, partition_first)
    reference = nx.DiGraph()
    reference.add_nodes_from(range(count))
    reference.add_weighted_edges_from(listed)
    starts = range(0, count, max(1, count // 4))
    for start in starts:
        expected = nx.single_source_dijkstra_path_length(reference, start)
        for goal in range(count):
            planned = mesh.plan(int(new_number[start]), int(new_number[goal]))[0]
            assert planned == pytest.approx(expected.get(goal, np.inf), rel=1e-9, abs=0)
            if goal % 3 == 0:
                await check_path(store, ids[start], ids[goal], expected.get(goal), edges)


async def check_path(
    store: GraphStore, start: str, goal: str, expected: float | None, edges: dict[tuple[str, str], float]
) -> None:
    if expected is None:
        with pytest.raises(NoPath):
            await store.shortest_path(start, goal)
        return
    path = await store.shortest_path(start, goal)
    assert path.cost == pytest.approx(expected, rel=1e-9, abs=0)
    assert (path.nodes[0], path.nodes[-1]) == (start, goal)
    assert path.step_costs == [edges[step] for step in zip(path.nodes, path.nodes[1:], strict=False)]
    assert path.cost == pytest.approx(sum(path.step_costs), rel=1e-9, abs=0)


async def test_a_store_without_patterns_names_those_that_have_them(store: GraphStore) -> None:
    if store.traits.patterns:
        pytest.skip("this store has patterns")
    with pytest.raises(PatternsUnsupported, match="neo4j"):
        await store.match_pattern("MATCH (n) RETURN n", {}, PatternLimits())
