"""Rows that wait in a local file."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from planmesh.errors import InternalError
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.store.row_spool import RowSpool, pair_hashes

AWKWARD = ["a", "ü\u2028", '"\\', "x" * 512]


@pytest.fixture
def spool() -> Iterator[RowSpool]:
    spool = RowSpool()
    yield spool
    spool.close()


def edges(*pairs: tuple[str, str]) -> EdgeRows:
    return EdgeRows.filled([source for source, _ in pairs], [target for _, target in pairs])


def test_rows_come_back_as_often_as_they_are_read(spool: RowSpool) -> None:
    costs = np.array([0.1, 1e298, 5e-324, 2.0])
    for _ in range(2):
        spool.add_nodes(NodeRows(AWKWARD, AWKWARD[::-1], ["", "r", "", ""]))
        spool.add_edges(EdgeRows(AWKWARD, AWKWARD[::-1], costs))
    for _ in range(2):
        assert [(rows.ids, rows.domains, rows.regions) for rows in spool.nodes()] == [
            (AWKWARD, AWKWARD[::-1], ["", "r", "", ""])
        ] * 2
        for rows in spool.edges():
            assert (rows.sources, rows.targets) == (AWKWARD, AWKWARD[::-1])
            assert rows.costs.tobytes() == costs.tobytes()
    assert (spool.node_count, spool.edge_count) == (8, 8)


def test_rows_may_be_added_after_a_reading_began(spool: RowSpool) -> None:
    spool.add_nodes(NodeRows.filled(["a"]))
    reading = spool.nodes()
    assert next(reading).ids == ["a"]
    spool.add_nodes(NodeRows.filled(["b"]))
    assert [rows.ids for rows in reading] == [["b"]]


def test_an_unknown_end_is_found(spool: RowSpool) -> None:
    assert spool.find_unknown_end() is None
    spool.add_nodes(NodeRows.filled(["b", "d"]))
    spool.add_edges(edges(("b", "d")))
    assert spool.find_unknown_end() is None
    spool.add_edges(edges(("d", "b"), ("b", "zz")))
    assert spool.find_unknown_end() == "zz"


def test_without_nodes_every_end_is_unknown(spool: RowSpool) -> None:
    spool.add_edges(edges(("a", "b")))
    assert spool.find_unknown_end() == "a"


def test_repeated_pairs_are_found_across_batches(spool: RowSpool) -> None:
    assert spool.repeated_pairs().tolist() == []
    spool.add_edges(edges(("a", "b"), ("b", "a"), ("a", "ba")))
    spool.add_edges(edges(("aa", "b"), ("a", "b"), ("a", "b")))
    assert spool.repeated_pairs().tolist() == pair_hashes(edges(("a", "b"))).tolist()


def test_a_truncated_file_is_a_defect(spool: RowSpool) -> None:
    spool.add_nodes(NodeRows.filled(["a", "b"]))
    spool._nodes.truncate(spool._nodes.seek(0, 2) - 1)
    with pytest.raises(InternalError, match="truncated"):
        list(spool.nodes())
