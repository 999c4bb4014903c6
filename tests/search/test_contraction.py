"""Contraction installs all the shortcuts that a node needs, or none."""

from __future__ import annotations

import numpy as np
import pytest

from planmesh.graph.model import Graph, Int32Array
from planmesh.search.contraction import Contraction, ContractionLimits, contract
from planmesh.search.contraction_kernel import Bound
from planmesh.search.hierarchy import Hierarchy, expand_edge, make_path, make_path_space
from planmesh.search.reference import dijkstra
from tests.search.in_process_mesh import InProcessMesh, build_mesh, check_plan, make_graph, order_by_partition

LEAVES = 400
"""More edges than a witness search of five nodes may follow, and fewer than one of twenty may."""

SOURCES, TARGETS = range(1, 16), range(16, 31)


def mesh_with_a_hub_that_exhausts_long_searches(detour: bool) -> tuple[InProcessMesh, Int32Array]:
    """Build a mesh with a centre that only the last source needs, because a second node is cheaper for the others.

    Short witness searches skip a cheap hub and find the second node. Longer ones expand the hub, settle its leaves
    until they must stop, and find nothing. So more shortcuts seem necessary than the stop rule allows.
    """
    centre, second, hub = 0, 31, 32
    leaves = range(33, 33 + LEAVES)
    edges = [(source, centre, 1.0) for source in SOURCES] + [(centre, target, 1.0) for target in TARGETS]
    edges += [(source, second, 0.5) for source in SOURCES[:-1]] + [(second, target, 0.5) for target in TARGETS]
    edges += [(source, hub, 0.001) for source in SOURCES] + [(hub, leaf, 0.001) for leaf in leaves]
    outside, count = leaves.stop, leaves.stop + 1
    edges += [(outside, node, 1000.0) for node in range(leaves.stop) if node != centre]
    partition_of = [0] * leaves.stop + [1]
    if detour:
        edges += [(SOURCES[-1], count, 50.0)] + [(count, target, 50.0) for target in TARGETS]
        count += 1
        partition_of.append(0)
    graph, partition_first, new_number = order_by_partition(make_graph(count, edges), np.array(partition_of, np.int32))
    return build_mesh(graph, partition_first), new_number


@pytest.mark.parametrize("detour", [False, True])
def test_a_node_that_needs_more_shortcuts_than_allowed_stays(detour: bool) -> None:
    mesh, number = mesh_with_a_hub_that_exhausts_long_searches(detour)
    start = int(number[SOURCES[-1]])
    distances, _, _ = dijkstra(mesh.graph.first_out, mesh.graph.head, mesh.graph.weight, start)
    for target in TARGETS:
        goal = int(number[target])
        plan = mesh.plan(start, goal)
        assert plan[0] == distances[goal] == 2.0
        check_plan(mesh, start, goal, plan)


def graph_around_a_centre(sources: int, targets: int) -> Graph:
    """Build a graph in which every path from a source to a target passes through the last node."""
    centre = sources + targets
    edges = [(source, centre, 1.0) for source in range(sources)]
    edges += [(centre, sources + target, 1.0) for target in range(targets)]
    return make_graph(centre + 1, edges)


def contracted_centre(limits: ContractionLimits) -> Contraction:
    graph = graph_around_a_centre(5, 5)
    only_centre = np.zeros(11, bool)
    only_centre[10] = True
    return contract(graph.first_out, graph.head, graph.weight, only_centre, limits)


def test_a_node_gets_all_of_its_shortcuts() -> None:
    result = contracted_centre(ContractionLimits())
    assert result.rank[10] == 0
    assert len(result.remaining_head) == 25


ALLOWS_24 = ContractionLimits(growth_factor_cheap=0, growth_factor=0, growth_slack_cheap=24, growth_slack=24)


@pytest.mark.parametrize(
    ("limits", "bound"),
    [
        (ALLOWS_24, "GROWTH_SIMULATED"),
        (ContractionLimits(shortcuts_max=24), "SHORTCUTS"),
        (ContractionLimits(pairs_max=24), "PAIRS"),
    ],
)
def test_a_node_that_needs_one_more_than_allowed_gets_none(limits: ContractionLimits, bound: str) -> None:
    result = contracted_centre(limits)
    assert result.rank[10] == -1
    assert len(result.remaining_head) == 10
    assert result.reached[Bound[bound]] > 0


@pytest.mark.parametrize(
    "bounds",
    [
        {"settle_simulated_max": 0},
        {"growth_slack": -1},
        {"table_nodes_max": -1},
        {"pairs_max": -1},
        {"shortcuts_max": 0},
        {"witness_heap_max": 0},
        {"edges_per_settled_max": 0},
        {"tie_tolerance": 0.0},
        {"tie_tolerance": 1.0},
    ],
)
def test_bounds_out_of_range_are_refused(bounds: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        ContractionLimits(**bounds)  # type: ignore[arg-type]


def test_shortcuts_that_contain_each_other_are_an_error() -> None:
    """In this damaged index, the halves of a shortcut through a node are shortcuts through the same node."""
    first = np.array([0, 2, 2], np.int32)
    ends = np.array([0, 1], np.int32)
    middle = np.zeros(2, np.int32)
    weight = np.ones(2)
    rank = np.array([0, -1], np.int32)
    hierarchy = Hierarchy(rank, first, ends, weight, middle, first, ends, weight, middle)
    with pytest.raises(AssertionError, match="nest deeper than there are nodes"):
        expand_edge(hierarchy, make_path_space(2), make_path(4), 0, 1, 1, 0, 2.0)
