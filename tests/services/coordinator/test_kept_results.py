"""The caches are bounded in bytes, measured with tracemalloc, and keep nothing else in memory."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Callable

import numpy as np
import pytest

from planmesh.internal.v1 import task_pb2
from services.coordinator.answer_cache import AnswerKey
from services.coordinator.kept_results import ENTRY_BYTES, BoundedByBytes, KeptResults
from services.coordinator.versioned_graph import LocalResult, Segments

BOUND_BYTES = 2**20
STRAY_BYTES = 128 * 1024
"""Tolerance for other allocations of the interpreter meanwhile."""


def unpacked(lengths: list[int]) -> Segments:
    nodes, count = sum(lengths), len(lengths)
    result = task_pb2.UnpackResult(
        nodes=np.zeros(nodes, np.int32).tobytes(),
        costs=np.zeros(nodes - count).tobytes(),
        lengths=np.array(lengths, np.int32).tobytes(),
    )
    return Segments(result, np.int32(0), count)


def keep_segments(kept: KeptResults, length: int, entry: int) -> None:
    # One segment of a reply with many is cached. It must count with its own size, not with the reply's.
    kept.keep_segment("identity", (4, entry, 70_000 + entry, 90_000 + entry), unpacked([length] * 50).cut(7))


def keep_local_results(kept: KeptResults, length: int, entry: int) -> None:
    nodes, distances = np.zeros(length, np.int32), np.zeros(length)
    result = LocalResult(nodes, distances, unpacked([3] * length))
    kept.keep_local_result("identity", 70_000 + entry, result, backward=bool(entry % 2))


@pytest.mark.parametrize("keep", [keep_segments, keep_local_results])
@pytest.mark.parametrize("length", [2, 30, 3_000])
def test_memory_stays_within_the_bound_however_large_the_entries_are(
    keep: Callable[[KeptResults, int, int], None], length: int
) -> None:
    kept = KeptResults(BOUND_BYTES, BOUND_BYTES)
    entries = 3 * BOUND_BYTES // (ENTRY_BYTES + 12 * length)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for entry in range(entries):
            keep(kept, length, entry)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert BOUND_BYTES / 2 < kept.size_bytes <= BOUND_BYTES
    assert after - before <= BOUND_BYTES + STRAY_BYTES


def test_a_cached_segment_does_not_keep_its_reply_in_memory() -> None:
    kept = KeptResults()
    segments = unpacked([2, 1_000, 2])
    reply = [weakref.ref(array) for array in (segments._nodes, segments._costs)]
    kept.keep_segment("identity", (4, 0, 0, 1), segments.cut(0))
    del segments
    gc.collect()
    assert [held() for held in reply] == [None, None]
    found = kept.segment("identity", (4, 0, 0, 1))
    assert found is not None
    assert [array.base for array in found] == [None, None]
    assert [len(array) for array in found] == [2, 1]


def test_a_value_above_the_bound_is_not_cached_and_evicts_nothing() -> None:
    kept = KeptResults(BOUND_BYTES, BOUND_BYTES)
    keep_segments(kept, 10, entry=1)
    kept.keep_segment("identity", (4, 2, 0, 1), unpacked([BOUND_BYTES]).cut(0))
    assert kept.segment("identity", (4, 2, 0, 1)) is None
    assert kept.segment("identity", (4, 1, 70_001, 90_001)) is not None


def test_the_most_recently_used_entries_are_kept() -> None:
    entries: BoundedByBytes[AnswerKey, bytes] = BoundedByBytes(10, lambda _, answer: len(answer))
    for name in ("a", "b"):
        entries.put(("", name, "", ""), b"12345")
    entries.get(("", "a", "", ""))
    entries.put(("", "c", "", ""), b"1")
    assert [entries.get(("", name, "", "")) for name in ("a", "b", "c")] == [b"12345", None, b"1"]
    assert (entries.size_bytes, len(entries)) == (6, 2)
