"""Batches of changes, each applied once: the contract of every GraphStore."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import numpy as np
import pytest

from planmesh.errors import Conflict, InvalidGraph, InvalidRequest, LimitExceeded, NodeUnknown
from planmesh.graph.rows import EdgeRows
from planmesh.store.protocol import (
    CHANGED_EDGES_MAX,
    CHANGED_NODES_MAX,
    POSITION_MAX,
    Direction,
    GraphStore,
    StoreChanges,
)
from planmesh.store.urls import open_store
from tests.store.contract.changed import applied, changes, random_batch, state_of
from tests.store.contract.rows import contents, edge_rows, fill, node_rows, read_all

BATCHES_PER_SEED = 50
CHECKED_EVERY = 10

PLAIN = ("", "")
SMALL = ({"a": ("x", ""), "b": PLAIN, "c": PLAIN}, {("a", "b"): 1.0, ("b", "c"): 2.0, ("c", "a"): 3.0})


async def with_small(store: GraphStore) -> None:
    await fill(store, SMALL[0], [(*pair, cost) for pair, cost in SMALL[1].items()])


@pytest.mark.parametrize("seed", range(4))
async def test_batches_have_the_effect_of_a_model(store: GraphStore, seed: int) -> None:
    """Four seeds: 200 batches, some of which are repeated."""
    draw = random.Random(seed)
    state = await state_of(store)
    assert state == ({}, {}, 0)
    for number in range(1, BATCHES_PER_SEED + 1):
        batch = random_batch(draw, state)
        await store.apply_changes(batch)
        state = applied(state, batch)
        if number % CHECKED_EVERY == 0:
            await store.apply_changes(batch)
            assert await state_of(store) == state
    assert len(state[0]) > 5
    assert len(state[1]) > 5


async def test_the_order_of_the_fields(store: GraphStore) -> None:
    """Deletions come before the creation of the same edges, so edges of a recreated node can be written again."""
    await with_small(store)
    await store.apply_changes(
        changes(
            1,
            deleted=["c"],
            recreated={"a": ("new", "")},
            upserted={"b": ("changed", ""), "d": PLAIN},
            cut=[("b", "c"), ("a", "b"), ("x", "y")],
            joined={("d", "a"): 4.0, ("b", "a"): 5.0, ("a", "a"): -0.0},
        )
    )
    assert await state_of(store) == (
        {"a": ("new", ""), "b": ("changed", ""), "d": PLAIN},
        {("d", "a"): 4.0, ("b", "a"): 5.0, ("a", "a"): 0.0},
        1,
    )


async def test_a_recreated_node_has_no_old_edges(store: GraphStore) -> None:
    await with_small(store)
    await store.apply_changes(changes(1, recreated={"a": PLAIN, "new": ("", "eu")}))
    assert await contents(store) == ({"a": PLAIN, "b": PLAIN, "c": PLAIN, "new": ("", "eu")}, {("b", "c"): 2.0})
    assert await store.neighbors("a", 1, Direction.BOTH) == []


async def test_a_repeated_or_older_version_does_nothing(store: GraphStore) -> None:
    await with_small(store)
    batch = changes(5, upserted={"d": PLAIN}, joined={("a", "d"): 1.0})
    before = await store.revision()
    await store.apply_changes(batch)
    after = await store.revision()
    assert after != before
    await store.apply_changes(batch)
    await store.apply_changes(changes(5, deleted=["a", "b", "c"]))
    await store.apply_changes(changes(4, deleted=["d"]))
    assert await store.revision() == after
    await store.upsert_edges(edge_rows([("a", "d", 9.0)]))  # a repeat does not undo a later write
    await store.apply_changes(batch)
    assert await state_of(store) == ({**SMALL[0], "d": PLAIN}, {**SMALL[1], ("a", "d"): 9.0}, 5)


async def test_a_batch_without_rows_moves_the_position(store: GraphStore) -> None:
    await store.apply_changes(StoreChanges(3))
    assert await state_of(store) == ({}, {}, 3)


@pytest.mark.parametrize(
    "joined",
    [{("a", "nowhere"): 1.0}, {("c", "a"): 1.0}, {("d", "a"): 1.0, ("b", "c"): 1.0}],
    ids=["unknown", "deleted", "source-deleted"],
)
async def test_an_unknown_end_leaves_the_batch_without_effect(
    store: GraphStore, joined: dict[tuple[str, str], float]
) -> None:
    await with_small(store)
    before = await store.revision()
    with pytest.raises(NodeUnknown, match=r"'(nowhere|c)'"):
        await store.apply_changes(
            changes(1, deleted=["c"], recreated={"b": ("new", "")}, upserted={"d": PLAIN}, joined=joined)
        )
    assert await state_of(store) == (*SMALL, 0)
    assert await store.revision() == before
    await store.apply_changes(changes(2, upserted={"nowhere": PLAIN}, joined={("a", "nowhere"): 1.0}))
    assert await store.position() == 2


async def test_the_position_is_there_after_reopening(store_url: str) -> None:
    store = await open_store(store_url)
    assert await store.position() == 0
    await store.apply_changes(changes(POSITION_MAX, upserted={"a": PLAIN}))
    await store.close()
    store = await open_store(store_url)
    assert await state_of(store) == ({"a": PLAIN}, {}, POSITION_MAX)
    await store.close()


async def test_a_replacement_sets_the_position(store: GraphStore) -> None:
    await store.apply_changes(changes(7, upserted={"x": PLAIN}))
    async with store.replace(position=40) as replacement:
        await replacement.add_nodes(node_rows(["a"]))
        if store.traits.atomic_replacement:
            assert await store.position() == 7
        await replacement.commit()
    assert await state_of(store) == ({"a": PLAIN}, {}, 40)
    await store.apply_changes(changes(40, deleted=["a"]))
    await store.apply_changes(changes(41, upserted={"b": PLAIN}))
    assert await state_of(store) == ({"a": PLAIN, "b": PLAIN}, {}, 41)
    async with store.replace(position=50) as replacement:
        await replacement.add_nodes(node_rows(["left out"]))
    assert await state_of(store) == ({"a": PLAIN, "b": PLAIN}, {}, 41)
    await fill(store, ["c"], [])
    assert await state_of(store) == ({"c": PLAIN}, {}, 0)
    await store.apply_changes(changes(1, deleted=["c"]))
    assert await state_of(store) == ({}, {}, 1)


async def test_invalid_batches_are_refused(store: GraphStore) -> None:
    await with_small(store)
    before = await state_of(store)
    cheap = {("a", "b"): 1.0}
    for batch, complaint in (
        (changes(1, deleted=["a"], upserted={"a": PLAIN}), "each node once in a batch of changes, got 'a' twice"),
        (changes(1, deleted=["a", "a"]), "got 'a' twice"),
        (changes(1, recreated={"d": PLAIN}, upserted={"d": PLAIN}), "got 'd' twice"),
        (changes(1, cut=[("a", "b")], joined=cheap), r"each edge once in a batch of changes, got \('a', 'b'\) twice"),
        (changes(1, upserted={"": PLAIN}), "field id: expected a text that is not empty"),
        (changes(1, recreated={"a\n": PLAIN}), "no control characters"),
        (changes(1, joined={("a", "b"): float("nan")}), "field cost: expected a finite cost"),
        (replace(changes(1), upserted_edges=EdgeRows(["a"], ["b", "c"], np.array([1.0]))), "field target"),
    ):
        with pytest.raises(InvalidGraph, match=complaint):
            await store.apply_changes(batch)
    for version in (0, -1, POSITION_MAX + 1):
        with pytest.raises(InvalidRequest, match="expected a version from 1 to 9007199254740991"):
            await store.apply_changes(changes(version))
    with pytest.raises(InvalidRequest, match="expected a version from 0"):
        async with store.replace(position=-1):
            pass
    assert await state_of(store) == before


async def test_the_bounds_of_a_batch(store: GraphStore) -> None:
    """As many rows as allowed, in all fields together, are applied; one more is refused."""
    nodes = [f"n{number}" for number in range(CHANGED_NODES_MAX)]
    edges = {(one, nodes[number // 2]): float(number) for number, one in enumerate(nodes)}
    assert len(edges) == CHANGED_EDGES_MAX
    await store.apply_changes(changes(1, upserted=dict.fromkeys(nodes, PLAIN), joined=edges))
    assert await state_of(store) == (dict.fromkeys(nodes, PLAIN), edges, 1)
    third = CHANGED_NODES_MAX // 3
    half = list(edges)[: CHANGED_EDGES_MAX // 2]
    fields = {
        "deleted": nodes[:third],
        "recreated": dict.fromkeys(nodes[third : 2 * third], ("r", "")),
        "upserted": dict.fromkeys(nodes[2 * third :], ("u", "")),
        "cut": half,
        "joined": {(one, one): 0.5 for one in nodes[-CHANGED_EDGES_MAX // 2 :]},
    }
    batch = changes(2, **fields)  # type: ignore[arg-type]
    expected = applied(await state_of(store), batch)
    for more in ({"deleted": [*nodes[:third], "x"]}, {"cut": [*half, ("x", "y")]}):
        with pytest.raises(LimitExceeded, match="at most 10,000 changed"):
            await store.apply_changes(changes(2, **{**fields, **more}))  # type: ignore[arg-type]
    await store.apply_changes(batch)
    assert await state_of(store) == expected


async def test_readers_see_a_batch_whole_or_not_at_all(store: GraphStore) -> None:
    """Every batch recreates all nodes under a new domain, with another ring of edges between them."""
    if not store.traits.atomic_batches:
        pytest.skip("this store applies a batch in steps that can be seen")
    ids = [f"n{number}" for number in range(40)]

    def batch(version: int) -> StoreChanges:
        ring = {(one, ids[(number + version) % len(ids)]): float(version) for number, one in enumerate(ids)}
        return changes(version, recreated=dict.fromkeys(ids, (str(version), "")), joined=ring)

    await store.apply_changes(batch(1))
    ended, read_whole = asyncio.Event(), asyncio.Event()

    async def read() -> None:
        while not ended.is_set():
            try:
                async with store.read() as reading:
                    nodes, edges = await read_all(reading)
                    unchanged = await reading.unchanged()
            except (AssertionError, Conflict):
                if store.traits.consistent_reads:
                    raise
                continue  # the reading saw two states, and would report that
            if unchanged:
                read_whole.set()
                (domain,) = {domain for domain, _ in nodes.values()}
                expected = applied(({}, {}, 0), batch(int(domain)))
                assert (nodes, edges) == expected[:2]

    readers = [asyncio.create_task(read()) for _ in range(2)]
    for version in range(2, 30):
        await store.apply_changes(batch(version))
        if version % 9 == 0:
            read_whole.clear()
            await asyncio.wait([asyncio.ensure_future(read_whole.wait()), *readers], return_when="FIRST_COMPLETED")
    ended.set()
    await asyncio.gather(*readers)
    assert read_whole.is_set()


async def test_concurrent_writers_of_the_same_batches_apply_each_once(store_url: str) -> None:
    """Two processes may hold the log for a moment: each batch takes effect once, in order."""
    one, other = await open_store(store_url), await open_store(store_url)
    if not one.traits.atomic_batches:
        await one.close()
        await other.close()
        pytest.skip("only one process may apply changes to this store at a time")
    draw = random.Random(3)
    state = await state_of(one)
    batches = []
    for _ in range(20):
        batches.append(random_batch(draw, state))
        state = applied(state, batches[-1])

    async def write(store: GraphStore) -> None:
        for batch in batches:
            await store.apply_changes(batch)

    await asyncio.gather(write(one), write(other))
    assert await state_of(other) == state
    await one.close()
    await other.close()
