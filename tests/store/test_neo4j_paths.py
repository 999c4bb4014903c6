"""Cheapest paths in Neo4j: both plugins, costs that neither can search with, projections while the graph changes."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from planmesh.errors import InvalidGraph, StoreRefused
from tests.servers.neo4j_server import Neo4jServer
from tests.store.contract.rows import edge_rows, fill
from tests.store.opened import opened

pytestmark = pytest.mark.stores


@pytest.fixture
def url(neo4j_server: Neo4jServer) -> str:
    neo4j_server.empty()
    return neo4j_server.url


async def test_both_plugins_find_the_same_paths(url: str) -> None:
    edges = [
        (f"n{one}", f"n{(one * 7 + step) % 60}", float(1 + one * step % 11)) for one in range(60) for step in (1, 3)
    ]
    async with opened(f"{url}?path_finder=gds") as gds, opened(f"{url}?path_finder=apoc") as apoc:
        await fill(gds, [f"n{one}" for one in range(60)], edges)
        for goal in range(1, 60, 6):
            by_one, by_other = await gds.shortest_path("n0", f"n{goal}"), await apoc.shortest_path("n0", f"n{goal}")
            assert by_one.cost == by_other.cost == sum(by_one.step_costs) == sum(by_other.step_costs)


async def test_costs_that_apoc_treats_as_equal_are_refused(url: str) -> None:
    """APOC treats costs as equal that differ by 1e-8 or less, and would answer with a dearer path, unnoticed."""
    ids = [f"n{number}" for number in range(5)]
    dearer = [("n0", "n4", 9e-9)]
    cheaper = [(one, other, 1e-9) for one, other in itertools.pairwise(ids)]
    async with opened(f"{url}?path_finder=apoc") as apoc, opened(f"{url}?path_finder=gds") as gds:
        await fill(apoc, ids, [*dearer, *cheaper])
        assert (await gds.shortest_path("n0", "n4")).nodes == ids
        with pytest.raises(StoreRefused, match=r"APOC .* 1e-08 .* from 'n\d' to 'n\d'"):
            await apoc.shortest_path("n0", "n4")
        await fill(apoc, ids, [("n0", "n4", 0.9), *((one, other, 0.1) for one, other, _ in cheaper)])
        assert (await apoc.shortest_path("n0", "n4")).nodes == ids


async def test_paths_do_not_lead_over_nodes_of_another_label(url: str, neo4j_server: Neo4jServer) -> None:
    with neo4j_server.session() as session:
        session.run(
            "CREATE (a:Node {id: 'a'}), (b:Node {id: 'b'}), (x:Other {id: 'b'}), (a)-[:EDGE {cost: 1}]->(x), "
            "(x)-[:EDGE {cost: 1}]->(b), (a)-[:EDGE {cost: 5}]->(b)"
        ).consume()
    async with opened(f"{url}?path_finder=gds") as gds, opened(f"{url}?path_finder=apoc") as apoc:
        assert (await gds.shortest_path("a", "b")).cost == 5.0
        with pytest.raises(StoreRefused, match="nodes without the label Node"):
            await apoc.shortest_path("a", "b")


@pytest.mark.parametrize("finder", ["gds", "apoc"])
@pytest.mark.parametrize(
    "cost", ["", "{cost: 'x'}", "{cost: true}", "{cost: -1}", "{cost: 0.0/0.0}", "{cost: 1.0/0.0}", "{cost: 1e308}"]
)
async def test_an_invalid_cost_of_another_client_is_an_error(
    url: str, neo4j_server: Neo4jServer, finder: str, cost: str
) -> None:
    with neo4j_server.session() as session:
        session.run(
            "CREATE (a:Node {id: 'a'}), (b:Node {id: 'b'}), (c:Node {id: 'c'}), (a)-[:EDGE {cost: 1}]->(b), "
            f"(b)-[:EDGE {cost}]->(c), (a)-[:EDGE {{cost: 5}}]->(c)"
        ).consume()
    async with opened(f"{url}?path_finder={finder}") as store:
        with pytest.raises(InvalidGraph, match="from 'b' to 'c'"):
            await store.shortest_path("a", "c")


async def test_a_projection_is_never_older_than_the_graph(url: str, neo4j_server: Neo4jServer) -> None:
    async with opened(f"{url}?path_finder=gds") as store:
        await fill(store, ["a", "b", "c"], [("a", "b", 5.0), ("a", "c", 1.0)])
        assert (await store.shortest_path("a", "b")).cost == 5.0
        await store.upsert_edges(edge_rows([("c", "b", 1.0)]))
        assert (await store.shortest_path("a", "b")).nodes == ["a", "c", "b"]
        with neo4j_server.session() as session:
            session.run("CALL gds.graph.list() YIELD graphName CALL gds.graph.drop(graphName) YIELD nodeCount FINISH")
        assert (await store.shortest_path("a", "b")).cost == 2.0
    with neo4j_server.session() as session:
        left = session.run("CALL gds.graph.list() YIELD graphName RETURN count(graphName)").single()
        assert left is not None
        assert left[0] == 0


async def test_searches_continue_while_projections_are_replaced(url: str, neo4j_server: Neo4jServer) -> None:
    """No search reads a graph older than the last write, or a projection that another one dropped."""
    async with opened(f"{url}?path_finder=gds") as store:
        await fill(store, ["a", "b"], [("a", "b", 1.0)])
        written, ended = 1.0, asyncio.Event()

        async def search() -> None:
            while not ended.is_set():
                least = written
                assert (await store.shortest_path("a", "b")).cost >= least

        searches = [asyncio.create_task(search()) for _ in range(6)]
        for cost in range(2, 22):
            await store.upsert_edges(edge_rows([("a", "b", float(cost))]))
            written = float(cost)
        ended.set()
        await asyncio.gather(*searches)
        assert len(store._paths._searches) <= 7  # type: ignore[attr-defined]
    with neo4j_server.session() as session:
        left = session.run("CALL gds.graph.list() YIELD graphName RETURN count(graphName)").single()
        assert left is not None
        assert left[0] == 0
