"""Labels become groups with distinct names."""

from __future__ import annotations

import numpy as np

from planmesh.partition.groups import UNASSIGNED, Labels, group_by, group_by_both, unique


def labels(*names: str | None) -> Labels:
    known = sorted({name for name in names if name is not None})
    return Labels(np.array([-1 if name is None else known.index(name) for name in names], np.int32), known)


def test_nodes_without_a_label_are_a_group() -> None:
    groups = group_by(labels("a", None, "b", "", "a"), None)
    assert [groups.names[group] for group in groups.of.tolist()] == ["a", UNASSIGNED, "b", UNASSIGNED, "a"]
    assert groups.size().sum() == 5
    assert (groups.size() > 0).all()


def test_labels_that_no_node_has_are_left_out() -> None:
    groups = group_by(Labels(np.array([2, 2], np.int32), ["x", "y", "z"]), None)
    assert groups.names == ["z"]


def test_a_group_has_the_region_of_most_of_its_nodes() -> None:
    groups = group_by(labels("a", "a", "a", "b", "b"), labels("eu", "us", "us", "eu", None))
    assert groups.region is not None
    by_name = dict(zip(groups.names, groups.region.tolist(), strict=True))
    assert by_name["a"] == 1
    assert by_name["b"] in (0, 2)


def test_domains_within_regions() -> None:
    groups = group_by_both(labels("a", "b", "a", None), labels("eu", "eu", "us", "us"))
    assert [groups.names[group] for group in groups.of.tolist()] == ["eu/a", "eu/b", "us/a", f"us/{UNASSIGNED}"]
    assert groups.region is not None
    assert [int(groups.region[group]) for group in groups.of.tolist()] == [0, 0, 1, 1]


def test_repeated_names_get_a_number() -> None:
    assert unique(["a", "a", "a (2)", "a"]) == ["a", "a (3)", "a (2)", "a (4)"]
    assert len(set(unique(["x"] * 50))) == 50


def test_any_is_true_if_a_node_has_a_label() -> None:
    assert labels("a", None).any()
    assert not labels(None, None).any()
    assert not labels("", None).any()
    assert not Labels(np.zeros(0, np.int32), []).any()
