"""Row files give back the rows that were written, and refuse damage; seals say what is complete."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from planmesh.errors import SnapshotError
from planmesh.graph.rows import ROWS_PER_BATCH, EdgeRows, NodeRows
from planmesh.versions.row_files import (
    EDGES_NAME,
    NODES_NAME,
    ROWS_PER_GROUP,
    SEAL_NAME,
    RowFacts,
    RowFiles,
    SealedRows,
    read_edges,
    read_nodes,
    read_seal,
    verify_rows,
    write_seal,
)
from tests.snapshot.damage import DAMAGES


def write_rows(folder: Path, nodes: int = 3) -> RowFacts:
    files = RowFiles(folder)
    for start in range(0, nodes, 50_000):
        ids = [f"n{number}" for number in range(start, min(start + 50_000, nodes))]
        files.add_nodes(NodeRows(ids, ["d"] * len(ids), [""] * len(ids)))
    files.add_edges(EdgeRows(["n0", "n1"], ["n1", "n2"], np.array([0.1, 1e298])))
    assert (files.nodes.rows, files.edges.rows) == (nodes, 2)
    return files.finish()


def test_rows_are_read_in_order(tmp_path: Path) -> None:
    facts = write_rows(tmp_path)
    verify_rows(tmp_path, facts)
    [nodes] = read_nodes(tmp_path, facts.nodes)
    assert (nodes.ids, nodes.domains, nodes.regions) == (["n0", "n1", "n2"], ["d"] * 3, [""] * 3)
    [edges] = read_edges(tmp_path, facts.edges)
    assert (edges.sources, edges.targets, edges.costs.tolist()) == (["n0", "n1"], ["n1", "n2"], [0.1, 1e298])


def test_equal_rows_give_equal_files(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    assert write_rows(tmp_path / "one") == write_rows(tmp_path / "other")


def test_many_rows_are_written_in_groups_and_read_in_batches(tmp_path: Path) -> None:
    count = ROWS_PER_GROUP + 70_000
    facts = write_rows(tmp_path, count)
    with pq.ParquetFile(tmp_path / NODES_NAME) as file:
        groups = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
    assert sum(groups) == count
    assert len(groups) > 1
    assert max(groups) <= ROWS_PER_GROUP
    batches = list(read_nodes(tmp_path, facts.nodes))
    assert max(map(len, batches)) <= ROWS_PER_BATCH
    assert [one for batch in batches for one in batch.ids] == [f"n{number}" for number in range(count)]


def test_an_abandoned_file_is_closed_without_its_rows(tmp_path: Path) -> None:
    files = RowFiles(tmp_path)
    files.add_nodes(NodeRows(["a"], [""], [""]))
    files.abandon()
    assert pq.read_metadata(tmp_path / NODES_NAME).num_rows == 0


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", [NODES_NAME, EDGES_NAME])
def test_damaged_rows_are_refused_by_name(tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    facts = write_rows(tmp_path)
    damage(tmp_path / name)
    with pytest.raises(SnapshotError, match=rf"^{name}: .*the received rows are damaged; load the graph again"):
        verify_rows(tmp_path, facts)
    with pytest.raises(SnapshotError, match=rf"{name}: .*load the graph again"):
        list(read_nodes(tmp_path, facts.nodes) if name == NODES_NAME else read_edges(tmp_path, facts.edges))


def test_a_seal_is_read_and_an_unreadable_one_seals_nothing(tmp_path: Path) -> None:
    assert read_seal(tmp_path) is None
    assert read_seal(tmp_path / "missing") is None
    sealed = SealedRows("token", write_rows(tmp_path), 3, 2)
    write_seal(tmp_path, sealed)
    assert read_seal(tmp_path) == sealed
    assert read_seal(tmp_path / NODES_NAME) is None  # a file instead of a folder
    for raw in (b"", b"[]", b"{}", b'{"token":"t","facts":{"nodes":{}},"nodes":1,"edges":1}'):
        (tmp_path / SEAL_NAME).write_bytes(raw)
        assert read_seal(tmp_path) is None
