"""The queue of nodes behaves as a sorted list of (key, node), whatever happens to the keys."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from planmesh.search.node_queue import NodeQueue, clear_queue, least_key, make_node_queue, queue_pop, queue_put

NODES = 12
ACTIONS = st.lists(st.none() | st.tuples(st.integers(0, NODES - 1), st.integers(0, 6).map(float)), max_size=80)
"""None takes the next node; a pair puts a node into the queue or changes its key."""


def check_places(queue: NodeQueue, expected: dict[int, float]) -> None:
    """Check that `place` is the position of each queued node, and -1 for the others."""
    assert queue.size[0] == len(expected)
    for node in range(NODES):
        place = int(queue.place[node])
        if node in expected:
            assert (queue.node[place], queue.key[place]) == (node, expected[node])
        else:
            assert place == -1


@given(ACTIONS)
def test_the_least_key_comes_first_and_ties_go_to_the_lower_node(actions: list[tuple[int, float] | None]) -> None:
    queue = make_node_queue(NODES)
    expected: dict[int, float] = {}
    for action in actions:
        if action is not None:
            node, key = action
            queue_put(queue, node, key)
            expected[node] = key
        elif expected:
            first = min(expected, key=lambda node: (expected[node], node))
            assert least_key(queue) == expected.pop(first)
            assert queue_pop(queue) == first
        check_places(queue, expected)
    assert least_key(queue) == min(expected.values(), default=np.inf)


def test_a_cleared_queue_is_empty_and_can_be_used_again() -> None:
    queue = make_node_queue(NODES)
    for node in (3, 5, 1):
        queue_put(queue, node, float(node))
    clear_queue(queue)
    check_places(queue, {})
    assert least_key(queue) == np.inf
    queue_put(queue, 5, 2.0)
    check_places(queue, {5: 2.0})
