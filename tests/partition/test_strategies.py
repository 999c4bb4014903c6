"""For any labels, every node has a partition, none is empty, names are distinct, and bounds hold, deterministically."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planmesh.errors import InvalidRequest, LimitExceeded
from planmesh.graph.adjacency import build_graph
from planmesh.graph.model import PARTITIONS_MAX, Graph
from planmesh.graph.node_ids import NodeIds
from planmesh.partition.groups import Labels
from planmesh.partition.size_bounds import SizeBounds
from planmesh.partition.strategies import (
    Partitioning,
    Strategy,
    choose_strategy,
    default_partitions,
    number_by_partition,
    partition,
)

MakeGraph = Callable[..., Graph]


def assert_sound(outcome: Partitioning, nodes: int) -> None:
    assert outcome.partition_of.dtype == np.int32
    assert len(outcome.partition_of) == nodes
    assert sorted(set(outcome.partition_of.tolist())) == list(range(outcome.partition_count))
    assert len(set(outcome.names)) == len(outcome.names)


def sizes(outcome: Partitioning) -> dict[str, int]:
    return dict(zip(outcome.names, np.bincount(outcome.partition_of).tolist(), strict=True))


def labels(*runs: tuple[str, int]) -> Labels:
    """Make labels for consecutive nodes: (name, number of nodes) for each run."""
    return Labels(np.repeat(np.arange(len(runs)), [count for _, count in runs]).astype(np.int32), [n for n, _ in runs])


@st.composite
def cases(draw: st.DrawFn) -> tuple[Graph, dict[str, Any]]:
    nodes = draw(st.integers(1, 40))
    node = st.integers(0, nodes - 1)
    rows = draw(st.lists(st.tuples(node, node), max_size=120))
    tails, heads = np.asarray(rows, np.int32).reshape(-1, 2).T
    graph, _, _ = build_graph(nodes, tails, heads, np.ones(len(rows)))

    def drawn(count: int) -> Labels:
        code = draw(st.lists(st.integers(-1, count - 1), min_size=nodes, max_size=nodes))
        return Labels(
            np.array(code, np.int32), [draw(st.sampled_from(["", "a", "b", "small.1", "a.1"])) for _ in range(count)]
        )

    nodes_min = draw(st.integers(1, 6))
    bounds = SizeBounds(nodes_min, draw(st.integers(2 * nodes_min, 40)), draw(st.integers(nodes_min, 2 * nodes_min)))
    return graph, {
        "strategy": draw(st.sampled_from([None, *Strategy])),
        "partitions": draw(st.sampled_from([0, 0, 1, min(2, nodes), nodes])),
        "domains": draw(st.none() | st.just(drawn(draw(st.integers(1, 30))))),
        "regions": draw(st.none() | st.just(drawn(draw(st.integers(1, 4))))),
        "ids": NodeIds.from_ids([f"n{i}" for i in range(nodes)]),
        "bounds": bounds,
    }


@settings(deadline=None, max_examples=300)
@given(cases())
def test_invariants(case: tuple[Graph, dict[str, Any]]) -> None:
    graph, arguments = case
    needed = {Strategy.DOMAIN: ["domains"], Strategy.REGION: ["regions"], Strategy.HYBRID: ["domains", "regions"]}
    if any(arguments[name] is None or not arguments[name].any() for name in needed.get(arguments["strategy"], [])):
        with pytest.raises(InvalidRequest, match="needs the"):
            partition(graph, **arguments)
        return
    outcome = partition(graph, **arguments)
    assert_sound(outcome, graph.node_count)
    again = partition(graph, **arguments)
    assert np.array_equal(outcome.partition_of, again.partition_of)
    assert (outcome.names, outcome.warnings) == (again.names, again.warnings)
    wanted = arguments["partitions"]
    if outcome.strategy in (Strategy.MINCUT, Strategy.STREAM) and wanted:
        assert outcome.partition_count == wanted
    elif wanted:
        assert outcome.partition_count <= wanted
    elif outcome.strategy not in (Strategy.MINCUT, Strategy.STREAM, Strategy.HASH):
        assert np.bincount(outcome.partition_of).max() <= arguments["bounds"].nodes_max


def test_domains_stay_as_they_are(make_graph: MakeGraph) -> None:
    outcome = partition(make_graph(6, [(0, 1), (2, 3), (4, 5), (1, 2)]), domains=labels(("a", 2), ("b", 2), ("c", 2)))
    assert outcome.strategy is Strategy.DOMAIN
    assert sizes(outcome) == {"a": 2, "b": 2, "c": 2}
    assert outcome.warnings == []


def test_a_domain_with_half_the_graph_is_split(square: Graph) -> None:
    outcome = partition(square, Strategy.DOMAIN, domains=labels(("big", 6_000), ("b", 2_000), ("c", 2_000)))
    assert_sound(outcome, 10_000)
    assert sorted(outcome.names) == ["b", "big.1", "big.2", "c"]
    assert sum(size for name, size in sizes(outcome).items() if name.startswith("big")) == 6_000
    assert max(sizes(outcome).values()) < 5_000
    [warning] = outcome.warnings
    assert "'big' has 6,000 of 10,000 nodes (60%)" in warning
    assert "split into 2" in warning


def test_domains_of_one_node_each_are_merged(square: Graph) -> None:
    names = [f"host-{node}" for node in range(10_000)]
    outcome = partition(square, Strategy.DOMAIN, domains=Labels(np.arange(10_000, dtype=np.int32), names))
    assert_sound(outcome, 10_000)
    assert 10 <= outcome.partition_count <= 40
    assert all(name.startswith("small.") for name in outcome.names)
    [warning] = outcome.warnings
    assert warning.startswith("10,000 domains of fewer than 2 nodes each (10,000 nodes in all)")


def test_a_small_domain_joins_the_neighbour_of_most_edges(make_graph: MakeGraph) -> None:
    ring = [(i, i + 1) for i in range(7)] + [(i, i + 1) for i in range(8, 15)]
    graph = make_graph(17, [*ring, (16, 0), (16, 8), (16, 9)])
    outcome = partition(graph, domains=labels(("a", 8), ("b", 8), ("tiny", 1)))
    assert sizes(outcome) == {"a": 8, "b": 9}
    regions = Labels(np.array([0] * 8 + [1] * 8 + [0], np.int32), ["eu", "us"])
    assert sizes(partition(graph, domains=labels(("a", 8), ("b", 8), ("tiny", 1)), regions=regions)) == {"a": 9, "b": 8}


def test_a_small_domain_without_any_edge_joins_the_smallest(make_graph: MakeGraph) -> None:
    graph = make_graph(10, [(0, 1), (5, 6)])
    assert sizes(partition(graph, domains=labels(("a", 5), ("b", 4), ("tiny", 1)))) == {"a": 5, "b": 5}


def test_regions_keep_their_names_up_to_the_bound(square: Graph) -> None:
    outcome = partition(square, Strategy.REGION, regions=labels(("africa", 9_000), ("asia", 1_000)))
    assert sizes(outcome) == {"africa": 9_000, "asia": 1_000}
    assert outcome.warnings == []


def test_hybrid_keeps_the_domains_of_a_region_together(square: Graph) -> None:
    domains = Labels((np.arange(10_000) // 500 % 10).astype(np.int32), [f"d{i}" for i in range(10)])
    regions = Labels((np.arange(10_000) // 2_500).astype(np.int32), ["eu", "us", "as", "af"])
    outcome = partition(square, Strategy.HYBRID, domains=domains, regions=regions)
    assert_sound(outcome, 10_000)
    assert set(outcome.names) == {
        f"{['eu', 'us', 'as', 'af'][v // 2_500]}/d{v // 500 % 10}" for v in range(0, 10_000, 500)
    }
    order = [name.split("/")[0] for name in outcome.names]
    assert len([place for place in range(1, len(order)) if order[place] != order[place - 1]]) == 3


def test_partitions_is_an_upper_bound_for_labels(square: Graph) -> None:
    domains = Labels((np.arange(10_000) // 100).astype(np.int32), [f"d{i}" for i in range(100)])
    outcome = partition(square, Strategy.DOMAIN, domains=domains, partitions=8)
    assert outcome.partition_count == 8
    assert "100 domains were merged into the 8 partitions requested" in outcome.warnings
    assert partition(square, Strategy.DOMAIN, domains=domains, partitions=200).partition_count == 100


def test_hash_spreads_the_nodes_and_depends_on_ids_only(square: Graph) -> None:
    names = [f"node-{node}" for node in range(10_000)]
    outcome = partition(square, Strategy.HASH, ids=NodeIds.from_ids(names), partitions=10)
    assert_sound(outcome, 10_000)
    assert 850 < min(sizes(outcome).values()) <= max(sizes(outcome).values()) < 1_150
    reversed_ids = partition(square, Strategy.HASH, ids=NodeIds.from_ids(names[::-1]), partitions=10)
    assert np.array_equal(reversed_ids.partition_of[::-1], outcome.partition_of)


def test_hash_leaves_out_empty_partitions_with_a_warning(make_graph: MakeGraph) -> None:
    ids = NodeIds.from_ids([str(number) for number in range(20)])
    outcome = partition(make_graph(20, []), Strategy.HASH, ids=ids, partitions=20)
    assert_sound(outcome, 20)
    assert outcome.partition_count < 20
    assert "would have no node" in outcome.warnings[0]


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [(1, 1), (1_000, 1), (3_815, 4), (20_000, 16), (264_346, 16), (1_000_000, 61), (10_000_000, 610)],
)
def test_the_default_number(nodes: int, expected: int) -> None:
    assert default_partitions(nodes) == expected


def test_neighbours_have_close_numbers(square: Graph) -> None:
    outcome = partition(square, Strategy.MINCUT, partitions=64)
    assert outcome.names == [f"cut.{number}" for number in range(1, 65)]
    tails = np.repeat(np.arange(10_000), np.diff(square.first_out))
    apart = np.abs(outcome.partition_of[tails] - outcome.partition_of[square.head])
    shuffled = np.random.default_rng(1).permutation(64)[outcome.partition_of]
    apart_at_random = np.abs(shuffled[tails] - shuffled[square.head])
    assert apart[apart > 0].mean() < 0.6 * apart_at_random[apart_at_random > 0].mean()


def test_nodes_are_numbered_by_partition() -> None:
    numbering = number_by_partition(np.array([2, 0, 1, 0, 2], np.int32), 3)
    assert numbering.new_order.tolist() == [1, 3, 2, 0, 4]
    assert numbering.new_number.tolist() == [3, 0, 2, 1, 4]
    assert numbering.partition_first.tolist() == [0, 2, 3, 5]


def test_the_default_strategy_depends_on_the_labels() -> None:
    some, none = labels(("a", 1)), Labels(np.array([-1], np.int32), [])
    assert choose_strategy(some, some) is Strategy.DOMAIN
    assert choose_strategy(none, some) is Strategy.REGION
    assert choose_strategy(None, none) is Strategy.MINCUT


def test_a_strategy_without_its_labels_is_refused(make_graph: MakeGraph) -> None:
    graph = make_graph(3, [(0, 1)])
    for strategy in (Strategy.DOMAIN, Strategy.REGION, Strategy.HYBRID):
        with pytest.raises(InvalidRequest, match=f"strategy {strategy.value} needs the"):
            partition(graph, strategy)


def test_numbers_of_partitions_out_of_range_are_refused(make_graph: MakeGraph) -> None:
    graph = make_graph(3, [(0, 1)])
    with pytest.raises(InvalidRequest, match="got 4 partitions for 3 nodes"):
        partition(graph, Strategy.MINCUT, partitions=4)
    with pytest.raises(InvalidRequest, match="got -1"):
        partition(graph, Strategy.MINCUT, partitions=-1)
    with pytest.raises(LimitExceeded) as refused:
        partition(graph, Strategy.MINCUT, partitions=PARTITIONS_MAX + 1)
    assert refused.value.metadata["bound"] == "PARTITIONS_MAX"


def test_a_graph_without_nodes(make_graph: MakeGraph) -> None:
    assert partition(make_graph(0, [])).partition_count == 0


@pytest.mark.parametrize(("nodes", "nodes_min"), [(10, 2), (63_666, 15), (1_000_000, 244), (10_000_000, 256)])
def test_bounds_grow_with_the_graph(nodes: int, nodes_min: int) -> None:
    bounds = SizeBounds.for_graph(nodes)
    assert bounds.nodes_min == nodes_min
    assert bounds.nodes_max == 16_384
    assert bounds.nodes_min <= bounds.merged_nodes <= bounds.nodes_max // 2


def test_there_are_never_too_many_partitions() -> None:
    for nodes in (10_000_000, 100_000_000, 2_000_000_000):
        assert nodes / SizeBounds.for_graph(nodes).nodes_min <= PARTITIONS_MAX
