"""Parquet files: column types, labels, and refusals with their row."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

Read = Callable[..., Any]
Refusal = Callable[..., dict[str, str]]


def written(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=3)
    return path


@pytest.mark.parametrize(
    "ends",
    [
        pa.array(["1", "2", "3", "1"]),
        pa.array([1, 2, 3, 1]),
        pa.array([1, 2, 3, 1], pa.uint8()),
        pa.array(["1", "2", "3", "1"], pa.large_string()),
        pa.array(["1", "2", "3", "1"]).dictionary_encode(),
    ],
)
@pytest.mark.parametrize(
    "costs",
    [
        pa.array([1.0, 2.5, 0.0, 7.0]),
        pa.array([1.0, 2.5, 0.0, 7.0], pa.float32()),
        pa.array([Decimal("1.0"), Decimal("2.5"), Decimal("0.0"), Decimal("7.0")]),
    ],
)
def test_types_that_hold_ids_and_costs(read: Read, tmp_path: Path, ends: Any, costs: Any) -> None:
    graph = read(written(tmp_path / "e.parquet", source=ends, target=ends.take(pa.array([3, 0, 1, 2])), cost=costs))
    assert graph.edges == [("1", "1", 1.0), ("2", "1", 2.5), ("3", "2", 0.0), ("1", "3", 7.0)]
    assert graph.edge_places == ["row 1", "row 2", "row 3", "row 4"]


def test_missing_labels_are_empty(read: Read, tmp_path: Path) -> None:
    nodes = written(tmp_path / "n.parquet", id=["a", "b"], domain=["x", None], region=pa.nulls(2))
    graph = read(written(tmp_path / "e.parquet", source=["a"], target=["b"]), nodes)
    assert (graph.domains, graph.regions) == (["x", ""], ["", ""])
    assert graph.edges == [("a", "b", 1.0)]


@pytest.mark.parametrize(
    ("columns", "record", "field", "says"),
    [
        ({"source": ["a"], "to": ["b"]}, "row 1", "target", "'source', 'to'"),
        ({"source": ["a", None], "target": ["b", "c"]}, "row 2", "source", "got none"),
        ({"source": [True], "target": ["b"]}, "row 1", "source", "got bool"),
        ({"source": [1.5], "target": ["b"]}, "row 1", "source", "got double"),
        ({"source": ["a"], "target": [["b"]]}, "row 1", "target", "got list"),
        ({"source": ["a"], "target": ["b"], "cost": ["1"]}, "row 1", "cost", "got string"),
        ({"source": ["a"], "target": ["b"], "cost": [True]}, "row 1", "cost", "got bool"),
        ({"source": ["a"], "target": ["b"], "cost": [datetime.date(2026, 1, 1)]}, "row 1", "cost", "got date"),
        ({"source": ["a"] * 5, "target": ["b"] * 5, "cost": [1, 1, 1, 1, None]}, "row 5", "cost", "got none"),
        ({"source": ["a"] * 5, "target": ["b"] * 5, "cost": [1, 1, 1, -1, 2]}, "row 4", "cost", "-1.0"),
        ({"source": ["a", ""], "target": ["b", "c"]}, "row 2", "source", "not empty"),
    ],
)
def test_bad_columns_are_refused(
    refusal: Refusal, tmp_path: Path, columns: dict[str, Any], record: str, field: str, says: str
) -> None:
    got = refusal(written(tmp_path / "e.parquet", **columns))
    assert (got["source"], got["record"], got["field"]) == ("e.parquet", record, field)
    assert says in got["message"]


def test_row_numbers_continue_across_batches(refusal: Refusal, tmp_path: Path) -> None:
    count = 20_000
    costs = [1.0] * count
    costs[17_000] = -1.0
    path = tmp_path / "e.parquet"
    pq.write_table(pa.table({"source": ["a"] * count, "target": ["b"] * count, "cost": costs}), path)
    assert refusal(path)["record"] == "row 17001"


def test_a_truncated_file_is_refused(refusal: Refusal, tmp_path: Path) -> None:
    path = written(tmp_path / "e.parquet", source=["a"], target=["b"])
    path.write_bytes(path.read_bytes()[:-20])
    assert "invalid Parquet file" in refusal(path)["message"]
    path.write_bytes(b"")
    assert "invalid Parquet file" in refusal(path)["message"]


def test_a_damaged_page_is_refused(refusal: Refusal, tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    table = pa.table({"source": [f"node {number}" for number in range(5000)], "target": ["b"] * 5000})
    pq.write_table(table, path, write_page_checksum=True, use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[40:400] = b"\xff" * 360
    path.write_bytes(bytes(data))
    assert refusal(path)["source"] == "e.parquet"
