"""The choice of a reader by suffix, and files that no reader can read."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planmesh.errors import InvalidGraph
from planmesh.ingest import open_source

Read = Callable[..., Any]
Write = Callable[[str, str | bytes], Path]
Refusal = Callable[..., dict[str, str]]

EDGES = "source,target\n" + "".join(f"n{number},n{number + 1}\n" for number in range(200_000))


@pytest.mark.parametrize("name", ["e.xlsx", "e", "e.csv.bz2", "g.tar.gz", "e.parquet.gz"])
def test_an_unknown_suffix(write: Write, name: str) -> None:
    with pytest.raises(InvalidGraph, match=r"\.json, \.graphml, \.gml, \.csv, \.tsv, \.parquet, \.gr"):
        open_source(write(name, "x"))


@pytest.mark.parametrize(
    "name", ["e.csv", "e.tsv.gz", "g.json", "g.gml", "g.graphml", "e.parquet", "x.gr", "e.nothing"]
)
def test_a_file_that_is_missing_or_a_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidGraph, match="No such file") as refused:
        open_source(tmp_path / name)
    assert refused.value.metadata["source"] == str(tmp_path / name)
    (tmp_path / name).mkdir()
    with pytest.raises(InvalidGraph, match="got a directory"):
        open_source(tmp_path / name)


def test_a_node_file_that_is_missing_or_of_unknown_format(write: Write, tmp_path: Path) -> None:
    edges = write("e.csv", EDGES)
    with pytest.raises(InvalidGraph, match="No such file"):
        open_source(edges, tmp_path / "n.csv")
    with pytest.raises(InvalidGraph, match=r"\.csv, \.tsv, \.parquet, \.co"):
        open_source(edges, write("n.json", "{}"))


def test_a_node_file_beside_a_whole_graph(write: Write) -> None:
    with pytest.raises(InvalidGraph, match="contains its nodes"):
        open_source(write("g.json", "{}"), write("n.csv", "id\n"))


def test_a_column_of_nodes_without_a_node_file(refusal: Refusal, write: Write) -> None:
    got = refusal(write("e.csv", EDGES), domain="section")
    assert got["field"] == "section"
    assert "--nodes" in got["message"]


@pytest.mark.parametrize("name", ["g.gml", "g.graphml", "x.gr"])
def test_ends_cannot_be_renamed_where_the_format_names_them(refusal: Refusal, write: Write, name: str) -> None:
    assert "format prescribes it" in refusal(write(name, "x"), source="from")["message"]


@pytest.mark.parametrize("name", ["e.csv.gz", "e.tsv.gz", "x.gr.gz", "g.json.gz", "g.gml.gz", "g.graphml.gz"])
def test_a_truncated_or_damaged_gzip_file_is_refused(refusal: Refusal, tmp_path: Path, name: str) -> None:
    text = EDGES.replace(",", "\t") if ".tsv" in name else EDGES
    if ".gr." in name:
        text = "p sp 200001 200000\n" + "".join(f"a {number} {number + 1} 1\n" for number in range(1, 200_001))
    packed = gzip.compress(text.encode(), mtime=0)
    path = tmp_path / name
    path.write_bytes(packed[: len(packed) // 2])
    got = refusal(path)
    assert got["source"] == name
    assert "ends too early" in got["message"]
    if ".csv" in name:
        assert got["record"].startswith("line ")
    middle = len(packed) // 2
    path.write_bytes(packed[:middle] + b"\xff" * 64 + packed[middle + 64 :])
    assert "invalid gzip file" in refusal(path)["message"] or refusal(path)["source"] == name
    path.write_bytes(text.encode())
    assert "invalid gzip file" in refusal(path)["message"]


def test_bytes_read_grow_up_to_the_total(write: Write) -> None:
    source = open_source(write("e.csv.gz", EDGES), write("n.csv", "id\n" + "".join(f"n{n}\n" for n in range(200_001))))
    seen = [source.bytes_read]
    seen += [source.bytes_read for _ in source.batches()]
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert seen[-1] == source.bytes_total
    assert len(set(seen)) > 3


def test_a_source_that_is_not_read_to_the_end_closes_its_files(write: Write) -> None:
    batches = open_source(write("e.csv", EDGES)).batches()
    assert len(next(batches)) == 8192
    batches.close()  # type: ignore[attr-defined]
