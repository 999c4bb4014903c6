from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.coordinator.neighbors import first_layer, next_layer

Edge = tuple[int, int, float]

EDGES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7), st.sampled_from([0.0, 1.0, 2.5, 9.0])), max_size=30)


def by_enumeration(edges: list[Edge], source: int, depth: int) -> dict[int, tuple[int, float]]:
    """Fewest hops, and least cost of any walk of at most `depth` edges: by walking all of them."""
    best: dict[int, tuple[int, float]] = {source: (0, 0.0)}
    ends: dict[int, float] = {source: 0.0}
    for hop in range(1, depth + 1):
        further: dict[int, float] = {}
        for tail, head, cost in edges:
            if tail in ends:
                further[head] = min(further.get(head, np.inf), ends[tail] + cost)
        ends = further
        for node, cost in ends.items():
            hops, known = best.get(node, (hop, np.inf))
            best[node] = (hops, min(known, cost))
    return best


@given(EDGES, st.integers(1, 5))
def test_layers_give_the_fewest_hops_and_the_least_cost_within_them(edges: list[Edge], depth: int) -> None:
    layer = first_layer(0)
    for hop in range(1, depth + 1):
        from_cost = dict(zip(layer.nodes[layer.improved].tolist(), layer.costs[layer.improved].tolist(), strict=True))
        walked = [(head, from_cost[tail] + cost) for tail, head, cost in edges if tail in from_cost]
        if not walked:
            break
        ends, costs = zip(*walked, strict=True)
        layer = next_layer(layer, hop, np.array(ends, np.int32), np.array(costs, np.float64))
    found = {
        node: (hops, cost)
        for node, hops, cost in zip(layer.nodes.tolist(), layer.hops.tolist(), layer.costs.tolist(), strict=True)
    }
    assert found == by_enumeration(edges, 0, depth)
