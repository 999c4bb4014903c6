"""Lists of indexes: searches and expansions in many partitions by one call give what single calls give."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from planmesh.search.batch_local import BatchLocalSearch
from planmesh.search.index_list import IndexList
from planmesh.search.local_search import LocalSearch
from planmesh.search.partition_index import PartitionIndex, build_partition_index
from planmesh.search.unpack import SegmentKind
from tests.search.in_process_mesh import make_graph

PARTITIONS = 6


@pytest.fixture(scope="module")
def indexes() -> list[PartitionIndex]:
    """The partitions of a random graph, cut at random: many boundary nodes, and shortcuts between them."""
    draw = np.random.default_rng(7)
    found = []
    for _ in range(PARTITIONS):
        nodes = int(draw.integers(20, 60))
        ends, costs = draw.integers(0, nodes, (3 * nodes, 2)).tolist(), draw.integers(1, 20, 3 * nodes).tolist()
        graph = make_graph(nodes, [(tail, head, float(cost)) for (tail, head), cost in zip(ends, costs, strict=True)])
        found.append(build_partition_index(graph.first_out, graph.head, graph.weight, draw.random(nodes) < 0.3))
    return found


def drawn(indexes: list[PartitionIndex], count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(count)
    partitions = draw.integers(0, len(indexes), count).astype(np.int32)
    sizes = np.array([index.node_count for index in indexes])
    return partitions, (draw.random(count) * sizes[partitions]).astype(np.int32), draw.integers(0, 2, count)


@pytest.mark.parametrize("room", [1, 4_096])
@pytest.mark.parametrize("kept", [1, 3, PARTITIONS])
def test_searches_together_are_searches_alone(indexes: list[PartitionIndex], kept: int, room: int) -> None:
    listed, local = IndexList(kept), LocalSearch()
    for count in (1, 2, 40):
        partitions, nodes, backward = drawn(indexes, count)
        places = listed.places(partitions, indexes.__getitem__)
        found = BatchLocalSearch(local).search_many(listed, places, nodes, backward.astype(np.uint8), room)
        first = np.concatenate([[0], np.cumsum(found.counts)])
        for position in range(count):
            alone = LocalSearch().search(
                indexes[partitions[position]], int(nodes[position]), bool(backward[position]), with_segments=False
            )
            begin, end = first[position], first[position + 1]
            np.testing.assert_array_equal(found.nodes[begin:end], alone.nodes)
            np.testing.assert_array_equal(found.distances[begin:end], alone.distances)
            assert found.settled[position] == alone.settled


def test_meetings_together_are_meetings_alone(indexes: list[PartitionIndex]) -> None:
    listed = IndexList(PARTITIONS)
    partitions, starts, _ = drawn(indexes, 50)
    goals = np.array(
        [(start + 7) % indexes[partition].node_count for partition, start in zip(partitions, starts, strict=True)]
    )
    goals = goals.astype(np.int32)
    places = listed.places(partitions, indexes.__getitem__)
    costs, settled = BatchLocalSearch(LocalSearch()).meet_many(listed, places, starts, goals)
    for position, partition in enumerate(partitions.tolist()):
        alone = LocalSearch().meet(indexes[partition], int(starts[position]), int(goals[position]))
        assert (costs[position], settled[position]) == alone


def segments_of(indexes: list[PartitionIndex]) -> list[tuple[int, int, int, int]]:
    """Return rows of partition, kind and ends: each way from a node to the overlay and back, and all overlay edges."""
    rows = []
    for partition, index in enumerate(indexes):
        for node in range(0, index.node_count, 3):
            for backward in (False, True):
                labels = LocalSearch().search(index, node, backward).nodes.tolist()
                for label in labels[:2]:
                    kind = SegmentKind.GOAL if backward else SegmentKind.START
                    rows.append((partition, int(kind), *((label, node) if backward else (node, label))))
        share = index.overlay_share
        for tail in range(index.overlay_count):
            heads = share.head[share.first_out[tail] : share.first_out[tail + 1]].tolist()
            rows += [(partition, int(SegmentKind.EDGE), tail, head) for head in heads]
    Random(1).shuffle(rows)
    return rows


def test_segments_together_are_segments_alone(indexes: list[PartitionIndex]) -> None:
    rows = np.array(segments_of(indexes), np.int32)
    assert len(set(rows[:, 1].tolist())) == 3
    listed = IndexList(2)
    places = listed.places(rows[:, 0], indexes.__getitem__)
    assert len(listed) == PARTITIONS, "one call may need more than the list otherwise keeps"
    together = BatchLocalSearch(LocalSearch(path_room=1))
    found = together.unpack_many(listed, places, rows[:, 1].astype(np.uint8), rows[:, 2], rows[:, 3])
    first = np.concatenate([[0], np.cumsum(found.lengths)])
    for position, (partition, kind, one, two) in enumerate(rows.tolist()):
        alone = LocalSearch().unpack(
            indexes[partition], np.array([kind], np.uint8), np.array([one], np.int32), np.array([two], np.int32)
        )
        begin, end = first[position], first[position + 1]
        np.testing.assert_array_equal(found.nodes[begin:end], alone.nodes)
        np.testing.assert_array_equal(found.costs[begin - position : end - position - 1], alone.costs)


def test_a_full_list_begins_again(indexes: list[PartitionIndex]) -> None:
    listed, asked = IndexList(2), []

    def index_of(partition: int) -> PartitionIndex:
        asked.append(partition)
        return indexes[partition]

    for partitions in ([0], [1], [0, 1], [2], [0]):
        listed.places(np.array(partitions, np.int32), index_of)
        assert len(listed) <= 2
    assert asked == [0, 1, 2, 0]


@pytest.mark.parametrize("node", [-1, 1_000])
def test_a_number_that_is_not_a_nodes_is_refused(indexes: list[PartitionIndex], node: int) -> None:
    listed, together = IndexList(9), BatchLocalSearch(LocalSearch())
    places = listed.places(np.array([0, 1], np.int32), indexes.__getitem__)
    ends, fine = np.array([0, node], np.int32), np.zeros(2, np.int32)
    with pytest.raises(ValueError, match="expected local nodes of 2 partitions"):
        together.search_many(listed, places, ends, np.zeros(2, np.uint8))
    with pytest.raises(ValueError, match="expected local nodes of 2 partitions"):
        together.meet_many(listed, places, fine, ends)
    with pytest.raises(ValueError, match="at segment 1 of kind 1"):
        together.unpack_many(listed, places, np.ones(2, np.uint8), ends, fine)
    with pytest.raises(ValueError, match="got 9 at segment 0"):
        together.unpack_many(listed, places, np.full(2, 9, np.uint8), fine, fine)


def test_nothing_is_searched_for_nothing(indexes: list[PartitionIndex]) -> None:
    listed, together = IndexList(9), BatchLocalSearch(LocalSearch())
    none = np.empty(0, np.int32)
    places = listed.places(none, indexes.__getitem__)
    assert len(together.search_many(listed, places, none, np.empty(0, np.uint8)).counts) == 0
    assert len(together.meet_many(listed, places, none, none)[0]) == 0
    assert len(together.unpack_many(listed, places, np.empty(0, np.uint8), none, none).lengths) == 0
