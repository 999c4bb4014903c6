from __future__ import annotations

from random import Random

import numpy as np
import pytest

from planmesh.search import mixed_search
from planmesh.search.changed_path import ROUNDS_MAX
from planmesh.search.delta import DOWN, GONE, NOTHING_BLOCKED, UP, Delta, DeltaFull
from planmesh.search.mixed_kernels import Side, with_more_room
from planmesh.search.reference import dijkstra
from tests.exactness.graphs import COSTS, FAMILIES
from tests.search.changing_graph import KINDS, RAISES, ChangingGraph
from tests.search.in_process_mesh import build_mesh, make_graph, order_by_partition


def make(seed: int, nodes_max: int = 24) -> tuple[ChangingGraph, Random]:
    random = Random(seed)
    family, price = FAMILIES[seed % len(FAMILIES)], random.choice(list(COSTS.values()))
    count, edges = family(random, random.randint(4, nodes_max))
    costed = [(edge[0], edge[1], float(edge[2]) if len(edge) == 3 else price(random)) for edge in edges]
    partitions = random.randint(1, max(1, count // 4))
    partition_of = np.array([random.randrange(partitions) for _ in range(count)], np.int32)
    dense = np.unique(partition_of, return_inverse=True)[1].astype(np.int32)
    graph, first, _ = order_by_partition(make_graph(count, costed), dense)
    return ChangingGraph(build_mesh(graph, first)), random


@pytest.mark.parametrize("kinds", [KINDS, RAISES], ids=["all", "raises"])
@pytest.mark.parametrize("block", range(4))
def test_paths_are_cheapest_at_every_version(block: int, kinds: tuple[str, ...]) -> None:
    """Random changes of graphs of all shapes; every version is checked while and after later ones are added."""
    rounds, opened = set(), set()
    for seed in range(60 * block, 60 * (block + 1)):
        changing, random = make(seed, nodes_max=24 if kinds == KINDS else 60)
        for _ in range(random.randint(1, 10)):
            changing.begin_version()
            for _ in range(random.randint(1, 3)):
                changing.change(random, kinds)
            for _ in range(6):
                version = random.choice([len(changing.versions) - 1, random.randrange(len(changing.versions))])
                start, goal = (random.randrange(changing.newest.node_count) for _ in range(2))
                found = changing.check(version, start, goal, random, random.choice([0, 1, ROUNDS_MAX]))
                if found is not None:
                    rounds.add(found.rounds)
                    opened.add(found.opened)
    assert kinds == KINDS or {1, 2} <= rounds, "both the first search and later ones answer"
    assert len(opened) > 3


@pytest.mark.parametrize("labels", [1, 2])
def test_searches_that_run_out_of_room_go_on(labels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    grown = 0

    def counted(side: Side) -> Side:
        nonlocal grown
        grown += 1
        return with_more_room(side)

    monkeypatch.setattr(mixed_search, "LABELS_FIRST", labels)
    monkeypatch.setattr(mixed_search, "SETTLE_MAX", 1)
    monkeypatch.setattr(mixed_search, "HELD_MAX", 1)
    monkeypatch.setattr(mixed_search, "with_more_room", counted)
    for seed in range(60):
        changing, random = make(seed)
        changing.begin_version()
        for _ in range(4):
            changing.change(random)
        for _ in range(5):
            start, goal = (random.randrange(changing.newest.node_count) for _ in range(2))
            changing.check(1, start, goal, random)
    assert grown > 50


def test_distances_to_many_are_those_of_a_plain_search() -> None:
    reached = 0
    for seed in range(120):
        changing, random = make(seed)
        changing.begin_version()
        for _ in range(random.randint(1, 6)):
            changing.change(random)
        up = [node for node in range(changing.newest.node_count) if changing.newest.away.get(node, UP) == UP]
        if len(up) < 2:
            continue
        start, targets = random.choice(up), random.sample(up, min(4, len(up)))
        graph = changing.newest.graph()
        expected = dijkstra(graph.first_out, graph.head, graph.weight, start)[0][targets]
        found = changing.search.distances(
            changing.delta.view(1),
            changing.all_touched([start, *targets]),
            start,
            np.array(targets, np.int32),
            NOTHING_BLOCKED,
        )
        np.testing.assert_allclose(found, expected)
        reached += int(np.isfinite(found).sum())
    assert reached > 100


def test_a_checkpoint_that_raises_ends_the_search_and_leaves_no_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed_search, "SETTLE_MAX", 1)
    graph, first, _ = order_by_partition(make_graph(6, [(k, k + 1, 1.0) for k in range(5)]), np.zeros(6, np.int32))
    changing = ChangingGraph(build_mesh(graph, first))
    view, opened = changing.delta.view(0), np.ones(1, np.uint8)

    def stop() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        changing.search.path(view, opened, 0, 5, NOTHING_BLOCKED, stop)
    assert changing.search.path(view, opened, 0, 5, NOTHING_BLOCKED).cost == 5


def test_a_full_delta_says_so_and_changes_nothing() -> None:
    delta = Delta(np.array([0, 2], np.int32), np.array([-1, -1], np.int32), capacity=2)
    delta.set_cost(0, 1, 1.0, 3.0, 1)
    delta.set_cost(0, 1, 1.0, 2.0, 2)
    with pytest.raises(DeltaFull):
        delta.set_cost(0, 1, 1.0, 5.0, 3)
    delta.set_state(0, DOWN, 3)
    assert delta.add_node(3) == 2
    with pytest.raises(DeltaFull):
        delta.add_node(4)
    assert [delta.view(version).cost(0, 1) for version in range(4)] == [1.0, 3.0, 2.0, 2.0]
    assert [delta.view(version).state(2) for version in (2, 3)] == [GONE, UP]
    assert delta.node_end == 3
    assert delta.size == 4
