"""Writing rows and reading them back: the contract of every GraphStore."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planmesh.errors import InvalidGraph, InvalidRequest, LimitExceeded, NodeUnknown
from planmesh.graph.model import COST_MAX
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.store.protocol import ROWS_PER_CALL_MAX, GraphStore, StoredNode
from planmesh.store.urls import open_store
from tests.store.contract.rows import contents, edge_rows, fill, node_rows, read_all

IDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
LABELS = st.tuples(st.sampled_from(["", "core", "édge"]), st.sampled_from(["", "eu west", "us"]))
COSTS = st.floats(0, COST_MAX)

AWKWARD_IDS = [
    *("'", '"', "`", "\\", "$id", "{}", "a b", "a:b", "a|b", "🙂", "ünïcödé", "77", "-0", "null", "%s", "?"),
    *("'; DROP TABLE node; --", "') DETACH DELETE n //", "*", "[x]", "é" * 256, " leading", "trailing ", "\u200b"),
]


async def test_an_empty_store(store: GraphStore) -> None:
    health = await store.health()
    assert health.server
    assert health.latency_s > 0
    assert await contents(store) == ({}, {})
    assert await store.revision() == await store.revision() != ""
    with pytest.raises(NodeUnknown):
        await store.get_node("a")


@given(nodes=st.dictionaries(IDS, LABELS, max_size=12), data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
async def test_rows_come_back_bit_by_bit(
    store: GraphStore, nodes: dict[str, tuple[str, str]], data: st.DataObject
) -> None:
    ends = st.sampled_from(list(nodes) or ["x"])
    pairs = data.draw(st.lists(st.tuples(ends, ends), max_size=20, unique=True)) if nodes else []
    edges = [(*pair, data.draw(COSTS)) for pair in pairs]
    revision = await fill(store, nodes, edges)
    assert await store.revision() == revision
    assert await contents(store) == (nodes, {(source, target): cost + 0.0 for source, target, cost in edges})
    for node, (domain, region) in nodes.items():
        assert await store.get_node(node) == StoredNode(node, domain, region)


async def test_awkward_ids_are_only_values(store: GraphStore) -> None:
    await store.upsert_nodes(NodeRows(AWKWARD_IDS, AWKWARD_IDS[::-1], AWKWARD_IDS))
    ring = [(one, other, 1.5) for one, other in zip(AWKWARD_IDS, AWKWARD_IDS[1:] + AWKWARD_IDS[:1], strict=True)]
    await store.upsert_edges(edge_rows(ring))
    nodes, edges = await contents(store)
    assert nodes == {one: (other, one) for one, other in zip(AWKWARD_IDS, AWKWARD_IDS[::-1], strict=True)}
    assert edges == {(source, target): cost for source, target, cost in ring}
    path = await store.shortest_path(AWKWARD_IDS[0], AWKWARD_IDS[-1])
    assert path.nodes == AWKWARD_IDS
    await store.delete_edges([(source, target) for source, target, _ in ring[::2]])
    await store.delete_nodes(AWKWARD_IDS[1:])
    assert await contents(store) == ({AWKWARD_IDS[0]: (AWKWARD_IDS[-1], AWKWARD_IDS[0])}, {})


async def test_upserts_add_and_change(store: GraphStore) -> None:
    await store.upsert_nodes(node_rows({"a": ("x", "y"), "b": ("", "")}))
    await store.upsert_edges(edge_rows([("a", "b", 1.0), ("b", "a", 2.0), ("a", "a", 3.0)]))
    before = await store.revision()
    assert await store.revision() == before
    await store.upsert_nodes(node_rows({"b": ("new", ""), "c": ("", "z")}))
    after_nodes = await store.revision()
    await store.upsert_edges(edge_rows([("a", "b", 5.0), ("b", "c", 0.25)]))
    after_edges = await store.revision()
    assert len({before, after_nodes, after_edges}) == 3
    assert await contents(store) == (
        {"a": ("x", "y"), "b": ("new", ""), "c": ("", "z")},
        {("a", "b"): 5.0, ("b", "a"): 2.0, ("a", "a"): 3.0, ("b", "c"): 0.25},
    )


async def test_of_parallel_edges_in_one_batch_the_cheapest_is_kept(store: GraphStore) -> None:
    await store.upsert_nodes(node_rows(["a", "b"]))
    await store.upsert_edges(edge_rows([("a", "b", 3.0), ("a", "b", 1.0), ("a", "b", 2.0)]))
    assert (await contents(store))[1] == {("a", "b"): 1.0}
    await store.upsert_edges(edge_rows([("a", "b", 4.0)]))
    assert (await contents(store))[1] == {("a", "b"): 4.0}


async def test_a_repeated_node_has_its_last_labels(store: GraphStore) -> None:
    await store.upsert_nodes(NodeRows(["a", "b", "a"], ["1", "2", "3"], ["", "", "r"]))
    assert (await contents(store))[0] == {"a": ("3", "r"), "b": ("2", "")}


async def test_an_edge_to_nowhere_is_refused_with_its_batch(store: GraphStore) -> None:
    await store.upsert_nodes(node_rows(["a", "b"]))
    before = await store.revision()
    with pytest.raises(NodeUnknown, match="nowhere"):
        await store.upsert_edges(edge_rows([("a", "b", 1.0), ("a", "nowhere", 1.0)]))
    if store.traits.atomic_batches:
        assert (await contents(store))[1] == {}
        assert await store.revision() == before


async def test_deleting(store: GraphStore) -> None:
    await fill(store, ["a", "b", "c"], [("a", "b", 1.0), ("b", "c", 2.0), ("c", "a", 3.0), ("b", "b", 4.0)])
    before = await store.revision()
    await store.delete_edges([("a", "b"), ("a", "c"), ("x", "y")])
    after = await store.revision()
    assert after != before
    assert (await contents(store))[1] == {("b", "c"): 2.0, ("c", "a"): 3.0, ("b", "b"): 4.0}
    await store.delete_nodes(["b", "unknown", "b"])
    assert await store.revision() != after
    assert await contents(store) == ({"a": ("", ""), "c": ("", "")}, {("c", "a"): 3.0})


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        (NodeRows(["a", ""], ["", ""], ["", ""]), "field id: expected a text that is not empty"),
        (NodeRows(["a\n"], [""], [""]), "no control characters"),
        (NodeRows(["x" * 513], [""], [""]), "at most 512 bytes"),
        (NodeRows(["a", "b"], [""], ["", ""]), "field domain"),
        (edge_rows([("a", "b", -1.0)]), "field cost: expected a finite cost"),
        (edge_rows([("a", "b", float("nan"))]), "field cost: expected a finite cost"),
        (edge_rows([("a", "b", float("inf"))]), "field cost: expected a finite cost"),
        (edge_rows([("a", "", 1.0)]), "field target"),
        (EdgeRows(["a", "b"], ["b", "a"], np.array([1.0])), "field cost"),
    ],
    ids=["empty-id", "line-break", "long-id", "no-domain", "negative", "nan", "infinite", "empty-end", "no-cost"],
)
async def test_bad_rows_are_refused_and_change_nothing(
    store: GraphStore, rows: NodeRows | EdgeRows, complaint: str
) -> None:
    await store.upsert_nodes(node_rows(["a", "b"]))
    before = await store.revision()
    with pytest.raises(InvalidGraph, match=complaint):
        await (store.upsert_nodes(rows) if isinstance(rows, NodeRows) else store.upsert_edges(rows))

    async def replace() -> None:
        async with store.replace() as replacement:
            await replacement.add_nodes(node_rows(["a", "b"]))
            await (replacement.add_nodes(rows) if isinstance(rows, NodeRows) else replacement.add_edges(rows))

    with pytest.raises(InvalidGraph, match=complaint):
        await replace()
    assert await contents(store) == ({"a": ("", ""), "b": ("", "")}, {})
    assert await store.revision() == before


async def test_bounds_of_a_call(store: GraphStore) -> None:
    many = [str(number) for number in range(ROWS_PER_CALL_MAX + 1)]
    with pytest.raises(LimitExceeded, match="65,536"):
        await store.upsert_nodes(NodeRows(many, many, many))
    with pytest.raises(LimitExceeded, match="65,536"):
        await store.upsert_edges(EdgeRows(many, many, np.zeros(len(many))))
    with pytest.raises(LimitExceeded, match="65,536"):
        await store.delete_nodes(many)
    with pytest.raises(LimitExceeded, match="65,536"):
        await store.delete_edges(list(zip(many, many, strict=True)))


async def test_calls_without_rows_succeed(store: GraphStore) -> None:
    await store.upsert_nodes(node_rows([]))
    await store.upsert_edges(edge_rows([]))
    await store.delete_nodes([])
    await store.delete_edges([])
    assert await contents(store) == ({}, {})


async def test_many_batches(store: GraphStore) -> None:
    count = 20_000
    ids = [f"node-{number}" for number in range(count)]
    async with store.replace() as replacement:
        for first in range(0, count, 7_000):
            await replacement.add_nodes(node_rows(ids[first : first + 7_000]))
        for first in range(0, count, 7_000):
            rows = range(first, min(first + 7_000, count))
            await replacement.add_edges(edge_rows([(ids[one], ids[(one * 7 + 1) % count], float(one)) for one in rows]))
        await replacement.commit()
    nodes, edges = await contents(store)
    assert set(nodes) == set(ids)
    assert edges == {(ids[one], ids[(one * 7 + 1) % count]): float(one) for one in range(count)}


async def test_concurrent_writers_lose_nothing(store: GraphStore) -> None:
    await store.upsert_nodes(node_rows(["hub"]))

    async def write(writer: int) -> None:
        for number in range(5):
            node = f"{writer}-{number}"
            await store.upsert_nodes(node_rows([node]))
            await store.upsert_edges(edge_rows([("hub", node, float(number)), (node, "hub", float(writer))]))

    await asyncio.gather(*(write(writer) for writer in range(6)))
    nodes, edges = await contents(store)
    assert len(nodes) == 31
    assert edges == {
        **{("hub", f"{writer}-{number}"): float(number) for writer in range(6) for number in range(5)},
        **{(f"{writer}-{number}", "hub"): float(writer) for writer in range(6) for number in range(5)},
    }


async def test_the_graph_is_there_after_reopening(store_url: str) -> None:
    store = await open_store(store_url)
    revision = await fill(store, {"a": ("d", "r"), "b": ("", "")}, [("a", "b", 2.5)])
    await store.close()
    store = await open_store(store_url)
    assert await store.revision() == revision
    assert await contents(store) == ({"a": ("d", "r"), "b": ("", "")}, {("a", "b"): 2.5})
    await store.close()


async def test_two_open_stores_see_each_others_writes(store_url: str) -> None:
    one, other = await open_store(store_url), await open_store(store_url)
    await one.upsert_nodes(node_rows(["a"]))
    revision = await other.revision()
    assert (await contents(other))[0] == {"a": ("", "")}
    await other.upsert_nodes(node_rows(["b"]))
    assert await one.revision() != revision
    assert set((await contents(one))[0]) == {"a", "b"}
    await one.close()
    await other.close()


async def test_a_reading_is_one_state_or_reports_a_change(store: GraphStore) -> None:
    await fill(store, ["a", "b"], [("a", "b", 1.0)])
    async with store.read() as reading:
        nodes = [one async for rows in reading.nodes() for one in rows.ids]
        await store.upsert_nodes(node_rows(["c"]))
        await store.upsert_edges(edge_rows([("b", "c", 1.0)]))
        edges = [one async for rows in reading.edges() for one in zip(rows.sources, rows.targets, strict=True)]
        unchanged = await reading.unchanged()
    assert sorted(nodes) == ["a", "b"]
    if store.traits.consistent_reads:
        assert unchanged
        assert edges == [("a", "b")]
    else:
        assert not unchanged


async def test_a_reading_can_be_left_halfway(store: GraphStore) -> None:
    ids = [str(number) for number in range(10_000)]
    await fill(store, ids, [])
    async with store.read() as reading:
        async for rows in reading.nodes():
            assert rows.ids
            break
    async with store.read() as reading:
        assert len((await read_all(reading))[0]) == 10_000


async def test_no_request_is_quoted_as_a_password(store: GraphStore) -> None:
    with pytest.raises(InvalidRequest):
        await store.neighbors("a", 0, "out")  # type: ignore[arg-type]
    assert "@" not in store.url
