"""The proof finds a fault exactly when some distance is wrong."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from planmesh.graph.model import BoolArray, Graph
from planmesh.search.hierarchy import Hierarchy, make_search_space
from planmesh.search.index_proof import (
    compare_with_plain_search,
    costs_differ,
    hub_pairs,
    prove_distances,
    whole_hierarchy,
)
from planmesh.search.partition_index import PartitionIndex, build_partition_index
from planmesh.search.reference import dijkstra
from planmesh.search.verification import Fault, index_faults
from planmesh.search.verification_kernels import distance_between
from tests.search.in_process_mesh import make_graph
from tests.search.random_graphs import LIMITS, graphs


def proof_of(hierarchy: Hierarchy, graph: Graph, at_once: int = 3) -> list[Fault]:
    rows = graph.first_out, graph.head, graph.weight
    return [fault for proven in prove_distances(hierarchy, *rows, at_once) for fault in proven.faults]


def wrong_distances(hierarchy: Hierarchy, graph: Graph) -> list[tuple[int, int]]:
    count = graph.node_count
    forward, backward = make_search_space(count), make_search_space(count)
    wrong: list[tuple[int, int]] = []
    for start in range(count):
        plain, _, _ = dijkstra(graph.first_out, graph.head, graph.weight, start)
        found = [distance_between(hierarchy, forward, backward, start, goal) for goal in range(count)]
        wrong += [(start, goal) for goal in range(count) if costs_differ(float(plain[goal]), found[goal])]
    return wrong


def without(hierarchy: Hierarchy, side: str, edge: int) -> Hierarchy:
    """Return a copy of the hierarchy without one edge."""
    end = "up_head" if side == "up" else "down_tail"
    first = getattr(hierarchy, f"{side}_first").copy()
    first[first > edge] -= 1
    changed = {name: np.delete(getattr(hierarchy, name), edge) for name in (end, f"{side}_weight", f"{side}_middle")}
    arrays = hierarchy._replace(**{f"{side}_first": first}, **changed)
    for array in arrays:
        array.flags.writeable = False
    return arrays


@st.composite
def indexed_graphs(draw: st.DrawFn) -> tuple[Graph, PartitionIndex]:
    graph = draw(graphs(14))
    boundary = draw(st.lists(st.booleans(), min_size=graph.node_count, max_size=graph.node_count))
    limits = draw(LIMITS)
    options = () if limits is None else (limits,)
    rows = graph.first_out, graph.head, graph.weight
    return graph, build_partition_index(*rows, np.array(boundary, bool), *options)


@given(indexed_graphs(), st.integers(0, 2**31))
def test_a_fault_is_found_exactly_when_a_distance_is_wrong(drawn: tuple[Graph, PartitionIndex], place: int) -> None:
    graph, index = drawn
    rows = graph.first_out, graph.head, graph.weight
    assert index_faults(index, *rows) == []
    hierarchy = whole_hierarchy(index)
    assert proof_of(hierarchy, graph) == []
    assert wrong_distances(hierarchy, graph) == []
    sides = {"up": len(hierarchy.up_head), "down": len(hierarchy.down_tail)}
    for side, edges in sides.items():
        if edges:
            damaged = without(hierarchy, side, place % edges)
            assert bool(proof_of(damaged, graph)) == bool(wrong_distances(damaged, graph))


def star(sources: int, targets: int) -> tuple[Graph, BoolArray]:
    """Build edges from the sources to node 0 and from there to the targets. All nodes but 0 are boundary nodes."""
    edges = [(1 + source, 0, 1.0) for source in range(sources)]
    edges += [(0, 1 + sources + target, 2.0) for target in range(targets)]
    graph = make_graph(1 + sources + targets, edges)
    is_boundary = np.ones(graph.node_count, bool)
    is_boundary[0] = False
    return graph, is_boundary


def test_shortcuts_that_a_bound_cut_off_are_found_with_their_ends() -> None:
    """As after a contraction that stopped early: the last source of a hub has no shortcuts."""
    graph, is_boundary = star(3, 4)
    hierarchy = whole_hierarchy(build_partition_index(graph.first_out, graph.head, graph.weight, is_boundary))
    assert proof_of(hierarchy, graph) == []
    for _ in range(4):  # all from source 3, in both directions
        hierarchy = without(hierarchy, "up", int(np.flatnonzero(hierarchy.up_middle >= 0)[-1]))
        hierarchy = without(hierarchy, "down", int(np.flatnonzero(hierarchy.down_tail == 3)[-1]))
    assert np.count_nonzero(hierarchy.up_middle >= 0) == np.count_nonzero(hierarchy.down_middle >= 0) == 8
    faults = proof_of(hierarchy, graph, at_once=100)
    assert [(fault.check, fault.times, fault.expected) for fault in faults] == [
        ("distance", 4, "a cost of at most 3.0")
    ]
    assert faults[0].nodes[0] == 3


def test_hub_pairs_lead_from_neighbours_to_neighbours_of_the_same_hub() -> None:
    graph, is_boundary = star(3, 4)
    hierarchy = whole_hierarchy(build_partition_index(graph.first_out, graph.head, graph.weight, is_boundary))
    pairs = hub_pairs(hierarchy, 1, 10, np.random.default_rng(1))
    assert len(pairs) == 4
    assert {goal for _, goal in pairs} == {4, 5, 6, 7}
    assert {start for start, _ in pairs} < {1, 2, 3}
    assert compare_with_plain_search(hierarchy, graph.first_out, graph.head, graph.weight, pairs) == (4, [])
