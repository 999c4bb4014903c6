from __future__ import annotations

import pytest

from planmesh.errors import InvalidRequest
from planmesh.measure.pair_lines import read_pairs
from planmesh.measure.pairs import random_pairs


def test_pairs_are_read_and_empty_lines_passed_over() -> None:
    assert list(read_pairs(["a\tb\n", "\n", "c d\te\r\n"], "x")) == [("a", "b"), ("c d", "e")]


@pytest.mark.parametrize("line", ["a", "a\tb\tc", "\tb", "a\t", "a\t" + "b" * 3000])
def test_a_line_that_is_no_pair_is_named(line: str) -> None:
    with pytest.raises(InvalidRequest, match=r"pairs\.tsv, line 2"):
        list(read_pairs(["a\tb", line], "pairs.tsv"))


def test_the_same_seed_draws_the_same_pairs_of_different_nodes() -> None:
    ids = ["a", "b", "c", "a"]
    pairs = random_pairs(ids, 500, seed=3)
    assert pairs == random_pairs(ids, 500, seed=3) != random_pairs(ids, 500, seed=4)
    assert len(pairs) == 500
    assert all(start != goal for start, goal in pairs)
    assert set(pairs) == {(start, goal) for start in "abc" for goal in "abc" if start != goal}


def test_one_node_is_paired_with_itself_and_none_is_an_error() -> None:
    assert random_pairs(["a"], 2, 1) == [("a", "a")] * 2
    with pytest.raises(InvalidRequest):
        random_pairs([], 1, 1)
