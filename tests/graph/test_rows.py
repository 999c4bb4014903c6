"""Rows: columns that a source does not have are filled in."""

from __future__ import annotations

import numpy as np

from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.graph.rules import Origin


def test_missing_labels_are_empty() -> None:
    rows = NodeRows.filled(["a", "b"], None, ["eu", ""], Origin("nodes.csv", "line", 7))
    assert (len(rows), rows.domains, rows.regions) == (2, ["", ""], ["eu", ""])
    assert rows.origin.record(1) == "line 8"
    assert NodeRows.filled(["a"], []).domains == [""]


def test_a_missing_cost_is_one() -> None:
    rows = EdgeRows.filled(["a", "b"], ["b", "c"])
    assert (len(rows), rows.costs.tolist()) == (2, [1.0, 1.0])
    assert rows.costs.dtype == np.float64
    given = np.array([0.5])
    assert EdgeRows.filled(["a"], ["b"], given).costs is given
