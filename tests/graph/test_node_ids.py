"""Ids of nodes: lookup in both directions, near matches, and a million ids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planmesh.errors import InvalidGraph
from planmesh.graph.node_ids import NEAR_SCAN_MAX, NodeIds, NodeIdsBuilder
from planmesh.graph.rules import Origin

UNTIMED = settings(deadline=None)  # the first call compiles kernels

SOUND_ID = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
SIMILAR_ID = st.text(st.sampled_from("abé"), min_size=1, max_size=6)


@UNTIMED
@given(st.lists(SOUND_ID | SIMILAR_ID, unique=True, max_size=60))
def test_ids_are_found_named_sorted_and_permuted(ids: list[str]) -> None:
    table = NodeIds.from_ids(ids)
    everyone = np.arange(len(ids), dtype=np.int32)
    assert len(table) == len(ids)
    assert table.names(everyone) == ids
    assert table.find_many(ids).tolist() == everyone.tolist()
    assert [table.name(node) for node in table.order.tolist()] == sorted(ids, key=str.encode)
    new_order = np.random.default_rng(len(ids)).permutation(len(ids)).astype(np.int32)
    moved = table.permuted(new_order)
    assert moved.names(everyone) == [ids[node] for node in new_order.tolist()]
    assert moved.find_many(ids).tolist() == np.argsort(new_order).tolist()


@UNTIMED
@given(st.lists(SIMILAR_ID, unique=True, max_size=30), st.lists(SIMILAR_ID | st.text(max_size=3), max_size=30))
def test_unknown_ids_are_not_found(ids: list[str], others: list[str]) -> None:
    table = NodeIds.from_ids(ids)
    expected = [ids.index(one) if one in ids else -1 for one in others]
    assert table.find_many(others).tolist() == expected
    assert [table.find(one) for one in others] == expected


@UNTIMED
@given(st.lists(st.lists(SIMILAR_ID, max_size=8), max_size=8))
def test_lookup_numbers_new_ids_in_order_of_appearance(batches: list[list[str]]) -> None:
    builder = NodeIdsBuilder()
    numbers: dict[str, int] = {}
    for batch in batches:
        assert builder.lookup(batch).tolist() == [numbers.get(one, -1) for one in batch]
        for one in batch:
            numbers.setdefault(one, len(numbers))
        assert builder.lookup(batch, insert=True).tolist() == [numbers[one] for one in batch]
        assert len(builder) == len(numbers)
    assert builder.finish().names(np.arange(len(numbers), dtype=np.int32)) == list(numbers)


def test_a_duplicate_is_refused_with_its_row() -> None:
    builder = NodeIdsBuilder()
    assert builder.add(["a", "b"]).tolist() == [0, 1]
    with pytest.raises(InvalidGraph, match="'b' again") as refused:
        builder.add(["c", "b"], Origin("nodes.csv", "line", 40), "name")
    assert refused.value.metadata == {"source": "nodes.csv", "record": "line 41", "field": "name"}


def test_a_duplicate_within_one_batch_is_refused() -> None:
    with pytest.raises(InvalidGraph, match="'a' again"):
        NodeIdsBuilder().add(["a", "b", "a"])


def test_a_bad_id_is_refused() -> None:
    with pytest.raises(InvalidGraph, match="control"):
        NodeIdsBuilder().add(["a\nb"])
    with pytest.raises(InvalidGraph, match="empty"):
        NodeIdsBuilder().lookup([""], insert=True)


def test_a_line_break_finds_nothing() -> None:
    assert NodeIds.from_ids(["a", "b"]).find_many(["a\nb", "b", "\ud800"]).tolist() == [-1, 1, -1]


def test_numbers_out_of_range_are_refused() -> None:
    table = NodeIds.from_ids(["a"])
    for number in (-1, 1):
        with pytest.raises(IndexError):
            table.name(number)
        with pytest.raises(IndexError):
            table.names(np.array([number], dtype=np.int32))
    assert table.names(np.zeros(0, np.int32)) == []


def test_arrays_may_be_read_only() -> None:
    arrays = NodeIds.from_ids(["b", "a", "c"]).arrays()
    for array in arrays.values():
        array.flags.writeable = False
    table = NodeIds.from_arrays(arrays)
    assert table.find("a") == 1
    assert table.names(np.array([2, 0], np.int32)) == ["c", "b"]
    assert table.permuted(np.array([2, 1, 0], np.int32)).find("c") == 0
    assert table.near("aa") == ["a"]


def test_a_million_random_ids() -> None:
    random = np.random.default_rng(7)
    drawn = np.unique(random.integers(0, 2**60, 1_000_000))
    random.shuffle(drawn)
    builder = NodeIdsBuilder()
    for first in range(0, len(drawn), 50_000):
        builder.add([f"node-{number:x}" for number in drawn[first : first + 50_000].tolist()])
    table = builder.finish()
    sample = random.integers(0, len(drawn), 20_000)
    names = [f"node-{number:x}" for number in drawn[sample].tolist()]
    assert table.find_many(names).tolist() == sample.tolist()
    assert table.names(sample.astype(np.int32)) == names
    assert (table.find_many([f"{name}!" for name in names[:1000]]) == -1).all()
    ascending = table.names(table.order[:: len(drawn) // 1000])
    assert ascending == sorted(ascending, key=str.encode)
    assert np.array_equal(np.sort(table.order), np.arange(len(drawn)))


@pytest.mark.parametrize(("wanted", "expected"), [("Berln", "Berlin"), ("berlin", "Berlin"), ("Munchen", "München")])
def test_near_ids_of_a_small_graph(wanted: str, expected: str) -> None:
    table = NodeIds.from_ids(["Berlin", "Paris", "München", "cable-waypoint-1", "東京"])
    assert table.near(wanted)[0] == expected


@pytest.mark.parametrize("wanted", ["d07n01", "D007N012", "d007-n012", "xd007n012", "d070n012", "d007n012 "])
def test_near_ids_of_a_large_graph(wanted: str) -> None:
    ids = [f"d{number // 1000:03d}n{number % 1000:03d}" for number in range(NEAR_SCAN_MAX * 3)]
    near = NodeIds.from_ids(ids).near(wanted)
    assert 1 <= len(near) <= 3
    assert set(near) <= set(ids)


def test_near_ids_of_nothing() -> None:
    assert NodeIds.from_ids([]).near("a") == []
    assert NodeIds.from_ids(["a"]).near("") == []
    assert NodeIds.from_ids(["aaaa"]).near("zzzzzz") == []
    assert NodeIds.from_ids(["aaaa"]).near("x" * 100_000) == []
