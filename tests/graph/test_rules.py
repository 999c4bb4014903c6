"""Rules for rows report the first invalid row and its field, whatever else is in the batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planmesh.errors import InvalidGraph
from planmesh.graph.model import COST_MAX, ID_BYTES_MAX, NODES_MAX
from planmesh.graph.packed_strings import pack, unpack
from planmesh.graph.rules import (
    Origin,
    check_edge_rows,
    check_node_rows,
    find_cost_fault,
    find_id_fault,
    find_label_fault,
)

UNTIMED = settings(deadline=None)  # the first call compiles kernels

ANY_TEXT = st.text(st.characters(codec=None), max_size=12)


def is_sound(text: str) -> bool:
    """Apply the rule for ids, one character at a time."""
    try:
        size_bytes = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        return False
    return 1 <= size_bytes <= ID_BYTES_MAX and not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text)


@UNTIMED
@given(st.lists(ANY_TEXT, max_size=20))
def test_the_first_bad_id_is_found(ids: list[str]) -> None:
    fault = find_id_fault(ids)
    expected = next((row for row, text in enumerate(ids) if not is_sound(text)), None)
    assert (fault.row if fault else None) == expected


@UNTIMED
@given(st.lists(ANY_TEXT, max_size=20))
def test_unpacking_restores_the_packed_texts(texts: list[str]) -> None:
    assert unpack(pack(texts)) == texts


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("", "not empty"),
        ("a\nb", "U+000A"),
        ("a\x00", "U+0000"),
        ("\x7f", "U+007F"),
        ("a\x85", "U+0085"),
        ("\ud800", "U+D800"),
        ("x" * (ID_BYTES_MAX + 1), "512 bytes"),
        ("é" * 257, "514"),
    ],
)
def test_a_bad_id_is_refused_with_its_row(bad: str, says: str) -> None:
    fault = find_id_fault(["good", "höhe 7", bad, ""])
    assert fault is not None
    assert fault.row == 2
    assert says in fault.message


@pytest.mark.parametrize("good", ["a", "x" * ID_BYTES_MAX, "é" * 256, "東京", " space ", "a,b\u00a0c", "👩‍🚀"])
def test_a_good_id_passes(good: str) -> None:
    assert find_id_fault(["z", good]) is None


def test_a_label_may_be_empty_but_not_bad() -> None:
    assert find_label_fault(["", "eu"], "region") is None
    fault = find_label_fault(["", "e\tu"], "region")
    assert fault is not None
    assert (fault.row, fault.field) == (1, "region")


@pytest.mark.parametrize("bad", [-1.0, -1e-300, math.nan, math.inf, -math.inf, 2 * COST_MAX])
def test_a_bad_cost_is_refused(bad: float) -> None:
    fault = find_cost_fault(np.array([0.0, 1.5, bad, -3.0]))
    assert fault is not None
    assert fault.row == 2


def test_no_path_is_so_dear_that_its_cost_is_infinite() -> None:
    """Infinity means "not reached", so a search could not find a path with an infinite sum."""
    longest = COST_MAX * (NODES_MAX - 1)
    assert math.isfinite(2 * longest)


def test_good_costs_pass_and_minus_zero_becomes_zero() -> None:
    costs = check_edge_rows(Origin(), ["a", "a"], ["b", "c"], np.array([-0.0, COST_MAX]))
    assert costs is not None
    assert not np.signbit(costs).any()
    assert check_edge_rows(Origin(), ["a"], ["b"]) is None


def test_the_first_row_wins_over_the_first_column() -> None:
    with pytest.raises(InvalidGraph) as refused:
        check_edge_rows(Origin("e.csv", "line", 10), ["a", "b", ""], ["x", "", "z"], np.array([1.0, 1.0, -1.0]))
    assert refused.value.metadata == {"source": "e.csv", "record": "line 11", "field": "target"}
    assert str(refused.value).startswith("e.csv, line 11, field target: ")


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(InvalidGraph, match="2 rows, got 1 values"):
        check_node_rows(Origin(), ["a", "b"], ["x"])
    with pytest.raises(InvalidGraph, match="1 rows, got 2 values"):
        check_edge_rows(Origin(), ["a"], ["b"], np.array([1.0, 2.0]))


def test_errors_use_the_field_names_of_the_caller() -> None:
    with pytest.raises(InvalidGraph) as refused:
        check_node_rows(Origin("n.csv"), ["a"], ["\x01"], domain_field="section")
    assert refused.value.metadata["field"] == "section"
