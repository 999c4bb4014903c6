"""The sort, the search and the hash table of ids, against Python's own."""

from __future__ import annotations

import bisect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planmesh.graph import node_ids_kernels as kernels
from planmesh.graph.model import Int64Array, UInt8Array

UNTIMED = settings(deadline=None)  # the first call compiles kernels
IDS = st.lists(st.binary(min_size=1, max_size=5) | st.sampled_from([b"a", b"ab", b"abc", b"\xff\xff"]), max_size=60)


def table_of(ids: list[bytes]) -> tuple[Int64Array, UInt8Array]:
    offsets = np.zeros(len(ids) + 1, np.int64)
    np.cumsum([len(one) for one in ids], out=offsets[1:])
    return offsets, np.frombuffer(b"".join(ids), np.uint8)


@UNTIMED
@given(IDS)
def test_ids_are_sorted_by_bytes(ids: list[bytes]) -> None:
    offsets, blob = table_of(ids)
    order = kernels.sort_ids(offsets, blob)
    assert sorted(order.tolist()) == list(range(len(ids)))
    assert [ids[node] for node in order.tolist()] == sorted(ids)


@pytest.mark.parametrize("count", [kernels.SORT_INSERTION_MAX, kernels.SORT_INSERTION_MAX + 1, 3_000])
def test_long_common_prefixes_are_sorted_by_their_last_bytes(count: int) -> None:
    ids = [b"node-" * 20 + f"{number:05}".encode() for number in np.random.default_rng(3).permutation(count)]
    ids[0] = b"node-" * 20  # the prefix itself comes first
    order = kernels.sort_ids(*table_of(ids))
    assert [ids[node] for node in order.tolist()] == sorted(ids)


@UNTIMED
@given(IDS, st.binary(min_size=1, max_size=5))
def test_the_position_of_an_id_is_that_of_bisection(ids: list[bytes], wanted: bytes) -> None:
    offsets, blob = table_of(ids)
    order = kernels.sort_ids(offsets, blob)
    place = kernels.place_in_order(offsets, blob, order, np.frombuffer(wanted, np.uint8), 0, len(wanted))
    assert place == bisect.bisect_left(sorted(ids), wanted)


@UNTIMED
@given(st.lists(st.binary(min_size=1, max_size=4), min_size=2, unique=True, max_size=30), st.data())
def test_the_first_disorder_is_found(ids: list[bytes], data: st.DataObject) -> None:
    offsets, blob = table_of(ids)
    order = kernels.sort_ids(offsets, blob)
    assert kernels.first_disorder(offsets, blob, order) == -1
    place = data.draw(st.integers(1, len(ids) - 1))
    order[[place - 1, place]] = order[[place, place - 1]]
    assert kernels.first_disorder(offsets, blob, order) == place
    assert kernels.first_disorder(offsets, blob, np.array([0, 0], np.int32)) == 1


def test_a_grown_table_still_finds_every_slot() -> None:
    table = np.zeros(8, np.uint64)
    hashes = [0xFFFFFFFF, 0xFFFFFFFE, 0x00000001, 0xF0000000]  # three share a position and wrap around the end
    shift = np.uint64(64 - 3)
    slots = [np.uint64(hash_ << 32 | number) for number, hash_ in enumerate(hashes, 1)]
    for slot in slots:
        place = int(slot >> shift)
        while table[place]:
            place = (place + 1) % 8
        table[place] = slot
    larger = np.zeros(16, np.uint64)
    kernels.grow_table(table, larger, 4)
    assert sorted(larger[larger > 0].tolist()) == sorted(int(slot) for slot in slots)
    for slot in slots:
        place = int(slot >> np.uint64(64 - 4))
        while larger[place] != slot:
            assert larger[place] != 0, "a probe reached a free slot first"
            place = (place + 1) % 16


def test_the_hash_depends_on_every_byte_and_the_length() -> None:
    data = np.arange(1, 20, dtype=np.uint8)
    hashes = {int(kernels.hash_bytes(data, 0, end)) for end in range(20)}
    for position in range(19):
        changed = data.copy()
        changed[position] ^= 1
        hashes.add(int(kernels.hash_bytes(changed, 0, 19)))
    assert len(hashes) == 20 + 19
    assert kernels.hash_bytes(data, 3, 9) == kernels.hash_bytes(data[3:].copy(), 0, 6)
