"""The binary heap returns its entries in ascending order of their keys."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from planmesh.search.binary_heap import heap_pop, heap_push

KEYS = st.lists(st.integers(0, 9).map(float) | st.floats(0, 1e300), max_size=40)


@given(KEYS)
def test_entries_leave_in_ascending_order_with_their_nodes(keys: list[float]) -> None:
    heap_key, heap_node = np.empty(40, np.float64), np.empty(40, np.int32)
    size = 0
    for node, key in enumerate(keys):
        size = heap_push(heap_key, heap_node, size, key, node)
    assert size == len(keys)
    taken = []
    while size:
        taken.append((float(heap_key[0]), int(heap_node[0])))
        size = heap_pop(heap_key, heap_node, size)
    assert [key for key, _ in taken] == sorted(keys)
    assert sorted(taken) == sorted((key, node) for node, key in enumerate(keys))


@given(st.lists(st.none() | st.integers(0, 5).map(float), max_size=60))
def test_pushes_and_pops_in_any_order(actions: list[float | None]) -> None:
    """None removes the first entry."""
    heap_key, heap_node = np.empty(60, np.float64), np.empty(60, np.int32)
    size, expected = 0, []
    for key in actions:
        if key is not None:
            size = heap_push(heap_key, heap_node, size, key, 7)
            expected.append(key)
        elif expected:
            assert heap_key[0] == min(expected)
            expected.remove(min(expected))
            size = heap_pop(heap_key, heap_node, size)
        assert size == len(expected)
