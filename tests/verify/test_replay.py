"""The replay of a log over rows, apart from the catalog."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.internal.v1 import partition_pb2
from planmesh.verify.replay import BaseRows, ExpectedEdge, Names, Replay, Values
from planmesh.versions.row_files import RowFiles
from tests.verify.changed_graph import Change, edge, node, without_node


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = RowFiles(tmp_path)
    files.add_nodes(NodeRows(["a", "b", "c"], ["d", "", ""], ["", "", ""]))
    files.add_edges(EdgeRows(["a", "a", "b", "c"], ["b", "b", "c", "c"], np.array([3.0, 2.0, 5.0, 1.0])))
    files.finish()
    return tmp_path


def replayed(folder: Path, changes: list[Change], *, undirected: bool = False, from_load: bool = True) -> Replay:
    batch = partition_pb2.ChangeBatch(version=2, changes=changes)
    rows = BaseRows.read(folder, Names.of([batch], []), undirected=undirected, on_rows=lambda _: None)
    replay = Replay(rows, from_load=from_load)
    replay.apply(batch)
    return replay


def test_of_parallel_edges_the_cheapest_counts_and_loops_count_nothing(folder: Path) -> None:
    replay = replayed(folder, [without_node("a"), without_node("c")])
    gone = Values(complete=True)
    assert replay.edges == {("a", "b"): ExpectedEdge(None, gone, 2.0), ("b", "c"): ExpectedEdge(None, gone, 5.0)}
    assert replay.faults == []


def test_edges_of_an_undirected_load_lead_both_ways(folder: Path) -> None:
    assert set(replayed(folder, [without_node("a")], undirected=True).edges) == {("a", "b"), ("b", "a")}


def test_only_a_log_from_the_load_on_says_what_it_does_not_set(folder: Path) -> None:
    changes = [node("a", attributes={"k": "v"}), edge("a", "b", attributes={"k": ""})]
    whole, later = replayed(folder, changes), replayed(folder, changes, from_load=False)
    assert (whole.nodes["a"].domain, whole.nodes["a"].state) == ("d", "")
    assert (later.nodes["a"].domain, later.nodes["a"].state) == (None, None)
    assert (whole.edges["a", "b"].loaded_cost, later.edges["a", "b"].loaded_cost) == (2.0, None)
    found = {"k": "v", "older": "yes"}
    assert (whole.nodes["a"].values.match(found), later.nodes["a"].values.match(found)) == (False, True)
    assert later.edges["a", "b"].values.match({"older": "yes"})


def test_a_node_that_is_created_again_has_no_edges(folder: Path) -> None:
    replay = replayed(folder, [without_node("a"), node("a"), edge("a", "b", cost=7.0)])
    assert replay.edges["a", "b"] == ExpectedEdge(7.0, Values(complete=True), 7.0)
    assert replay.nodes["a"].present
    assert replay.nodes["a"].domain == ""
