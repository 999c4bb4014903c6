"""Faults planted in one partition's file are found there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from planmesh.snapshot.array_file import open_array_file
from planmesh.snapshot.overlay_file import read_overlay
from planmesh.snapshot.partition_file import read_partition
from planmesh.verify.partitions import LevelOneRows, boundary_faults, counts_of, edges_faults, level_one_faults
from tests.verify.stored_graph import Arrays, StoredGraph, outcome_of


def nan_cost(arrays: Arrays) -> None:
    arrays["index.up_weight"][0] = np.nan


def negative_cost(arrays: Arrays) -> None:
    arrays["out_cost"][0] = -1.0


def dearer_shortcut(arrays: Arrays) -> None:
    arrays["index.up_weight"][shortcut(arrays)] += 1.0


def cheaper_shortcut(arrays: Arrays) -> None:
    arrays["index.up_weight"][shortcut(arrays)] *= 0.5


def cheaper_edge(arrays: Arrays) -> None:
    arrays["index.up_weight"][np.flatnonzero(arrays["index.up_middle"] < 0)[0]] *= 0.5


def wrong_middle(arrays: Arrays) -> None:
    edge = shortcut(arrays)
    right = arrays["index.up_middle"][edge]
    others = np.flatnonzero(arrays["index.rank"] >= 0)
    arrays["index.up_middle"][edge] = others[others != right][0]


def late_middle(arrays: Arrays) -> None:
    arrays["index.up_middle"][shortcut(arrays)] = np.argmax(arrays["index.rank"])


def middle_out_of_range(arrays: Arrays) -> None:
    arrays["index.up_middle"][shortcut(arrays)] = 1_000_000


def swapped_ranks(arrays: Arrays) -> None:
    rank = arrays["index.rank"]
    one, other = np.argmax(rank), np.flatnonzero(rank == 0)[0]
    rank[one], rank[other] = rank[other], rank[one]


def repeated_rank(arrays: Arrays) -> None:
    rank = arrays["index.rank"]
    rank[np.argmax(rank)] = 0


def rank_of_an_overlay_node(arrays: Arrays) -> None:
    arrays["index.rank"][arrays["index.overlay_node"][0]] = arrays["index.rank"].max() + 1


def head_out_of_range(arrays: Arrays) -> None:
    arrays["index.up_head"][0] = 2_000_000_000


def firsts_that_descend(arrays: Arrays) -> None:
    arrays["index.down_first"][1] = 1_000_000_000


def wrong_overlay_number(arrays: Arrays) -> None:
    arrays["index.overlay_number"][arrays["index.overlay_node"][0]] = 1


def other_dtype(arrays: Arrays) -> None:
    arrays["index.rank"] = arrays["index.rank"].astype(np.int64)


def no_array(arrays: Arrays) -> None:
    del arrays["in_cost"]


def one_direction_only(arrays: Arrays) -> None:
    inside = np.flatnonzero((arrays["in_tail"] >= 40) & (arrays["in_tail"] < 80))
    arrays["in_cost"][inside[0]] += 1.0


def shortcut(arrays: Arrays) -> int:
    return int(np.flatnonzero(arrays["index.up_middle"] >= 0)[0])


PLANTED: list[tuple[Callable[[Arrays], None], set[str]]] = [
    (nan_cost, {"costs"}),
    (negative_cost, {"costs"}),
    (dearer_shortcut, {"sum"}),
    (cheaper_shortcut, {"sum"}),
    (cheaper_edge, {"edge cost"}),
    (wrong_middle, {"halves", "sum", "middle"}),
    (late_middle, {"middle", "halves"}),
    (middle_out_of_range, {"range"}),
    (swapped_ranks, {"direction", "middle"}),
    (repeated_rank, {"rank"}),
    (rank_of_an_overlay_node, {"rank"}),
    (head_out_of_range, {"range"}),
    (firsts_that_descend, {"firsts"}),
    (wrong_overlay_number, {"numbers"}),
    (other_dtype, {"arrays"}),
    (no_array, {"arrays"}),
    (one_direction_only, {"reverse"}),
]


@pytest.mark.parametrize(("plant", "checks"), PLANTED, ids=lambda value: getattr(value, "__name__", ""))
async def test_a_planted_fault_of_a_partition_is_found_in_its_file(
    stored: StoredGraph, plant: Callable[[Arrays], None], checks: set[str]
) -> None:
    stored.change("partitions/00001", plant)
    outcome = outcome_of(stored)
    assert not outcome.ok
    of_file = [finding for finding in outcome.findings if finding.file == "partitions/00001"]
    assert {finding.check for finding in of_file} & checks
    assert {finding.partition for finding in outcome.findings} == {"d1"}
    assert all(finding.expected and finding.found and finding.advice for finding in outcome.findings)
    only = outcome_of(stored, partition=1)
    assert [finding for finding in only.findings if finding.file == "partitions/00001"]
    assert only.partition == "d1"
    assert outcome_of(stored, partition=0).ok


async def test_a_cross_edge_of_another_cost_is_found_on_both_sides(stored: StoredGraph) -> None:
    def dearer(arrays: Arrays) -> None:
        crosses = np.flatnonzero((arrays["out_head"] < 40) | (arrays["out_head"] >= 80))
        arrays["out_cost"][crosses[0]] += 5.0

    stored.change("partitions/00001", dearer)
    outcome = outcome_of(stored)
    found = [finding for finding in outcome.findings if finding.check == "cross edge"]
    assert {finding.partition for finding in found} == {"d1"}
    assert all(len(finding.nodes) == 2 for finding in found)


async def test_an_intact_partition_passes_each_check_and_has_the_counts_of_the_manifest(stored: StoredGraph) -> None:
    rows = LevelOneRows.of(read_overlay(open_array_file(stored.snapshot / "overlay")))
    for entry in stored.manifest.partitions:
        partition = read_partition(open_array_file(stored.snapshot / entry.file))
        begin = 40 * entry.number
        assert edges_faults(partition, begin, begin + 40, 120) == []
        assert boundary_faults(partition) == []
        assert level_one_faults(partition, entry.number, rows) == []
        counted = counts_of(partition)
        assert counted == {name: getattr(entry, name) for name in counted}
        assert counted["cross_edges_out"] > 0


async def test_a_partition_of_other_nodes_is_a_fault(stored: StoredGraph) -> None:
    partition = read_partition(open_array_file(stored.snapshot / "partitions/00001"))
    for begin, stop in ((0, 40), (40, 79)):
        [fault] = edges_faults(partition, begin, stop, 120)
        assert (fault.check, fault.expected) == ("range", f"{stop - begin} nodes from {begin}")
    rows = LevelOneRows.of(read_overlay(open_array_file(stored.snapshot / "overlay")))
    [fault] = level_one_faults(partition, 0, rows)
    assert fault.check == "numbers"
