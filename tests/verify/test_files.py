"""Damaged files, rows, counts and ids are findings that name the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from planmesh.errors import VersionGone
from planmesh.snapshot.array_file import open_array_file, write_array_file
from planmesh.snapshot.directory import read_directory
from planmesh.verify import Finding
from planmesh.verify.files import (
    FLOAT64,
    INT32,
    INT64,
    array_faults,
    directory_faults,
    manifest_count_findings,
    names_of,
    raise_if_replaced,
)
from tests.snapshot.damage import delete, flip_a_bit
from tests.verify.stored_graph import Arrays, StoredGraph, checks_of, outcome_of


@pytest.mark.parametrize(("damage", "check"), [(flip_a_bit, "checksum"), (delete, "missing")])
@pytest.mark.parametrize("file", ["directory", "overlay", "report", "partitions/00002", "manifest.json"])
async def test_a_damaged_file_is_named(
    stored: StoredGraph, file: str, damage: Callable[[Path], None], check: str
) -> None:
    damage(stored.snapshot / file)
    outcome = outcome_of(stored)
    found = outcome.findings
    assert [(one.check, one.file) for one in found] == [(check, file)]
    assert found[0].partition == ("d2" if file.startswith("partitions") else "")
    assert "planmesh up" in found[0].advice
    assert outcome.skipped


@pytest.mark.parametrize("name", ["nodes.parquet", "edges.parquet"])
async def test_damaged_rows_are_named(stored: StoredGraph, name: str) -> None:
    flip_a_bit(stored.rows / name)
    found: list[Finding] = outcome_of(stored).findings
    assert [(one.check, one.file) for one in found] == [("checksum", f"rows/g/1/{name}")]
    assert "planmesh load" in found[0].advice


async def test_counts_that_do_not_add_up_are_named(stored: StoredGraph) -> None:
    stored.recount(1, exits=stored.manifest.partitions[1].exits + 1)
    assert checks_of(outcome_of(stored)) == {("count", "partitions/00001", "d1")}


async def test_ids_that_name_two_nodes_are_found(stored: StoredGraph) -> None:
    def repeat_an_id(arrays: Arrays) -> None:
        arrays["ids.blob"][0:4] = arrays["ids.blob"][4:8]

    stored.change("directory", repeat_an_id)
    assert {finding.check for finding in outcome_of(stored).findings} == {"ids"}


def test_arrays_must_exist_with_one_dimension_and_their_dtype(tmp_path: Path) -> None:
    write_array_file(tmp_path / "file", {"a": np.zeros(2, np.int32), "b": np.zeros(2), "c": np.zeros((1, 2), np.int32)})
    file = open_array_file(tmp_path / "file")
    assert array_faults(file, {"a": INT32, "b": FLOAT64}) == []
    found = array_faults(file, {"a": INT64, "b": FLOAT64, "c": INT32, "d": INT32})
    assert [(fault.expected, fault.found) for fault in found] == [
        ("a: int64[]", "int32 of shape (2,)"),
        ("c: int32[]", "int32 of shape (1, 2)"),
        ("an array d", "none"),
    ]


async def test_totals_must_be_the_sums_over_the_partitions(stored: StoredGraph) -> None:
    manifest = stored.manifest
    assert manifest_count_findings(manifest) == []
    counts = manifest.counts.model_copy(update={"edges": manifest.counts.edges + 1, "overlay_nodes": 0})
    found = manifest_count_findings(manifest.model_copy(update={"counts": counts}))
    assert [(one.check, one.file, one.expected) for one in found] == [
        ("count", "manifest.json", f"{counts.edges} edges in all partitions"),
        ("count", "manifest.json", "0 overlay nodes in all partitions"),
    ]


async def test_a_directory_must_match_the_manifest(stored: StoredGraph) -> None:
    directory, manifest = read_directory(open_array_file(stored.snapshot / "directory")), stored.manifest
    assert directory_faults(directory, manifest) == []
    first = directory.partition_first.copy()
    first[1] += 1
    order = directory.ids.order.copy()
    order[0] = order[1]
    codes = directory.domains.codes.copy()
    codes[5] = 3
    for changed, check in (
        (replace(directory, partition_first=first), "firsts"),
        (replace(directory, partition_names=["d0", "d2", "d1"]), "names"),
        (replace(directory, ids=replace(directory.ids, order=order)), "numbers"),
        (replace(directory, ids=replace(directory.ids, offsets=directory.ids.offsets[:-1])), "firsts"),
        (replace(directory, domains=replace(directory.domains, codes=codes)), "labels"),
        (replace(directory, regions=replace(directory.regions, codes=codes[1:])), "labels"),
    ):
        assert [fault.check for fault in directory_faults(changed, manifest)] == [check]
    assert names_of(directory, [0, 119]) == ("n000", "n119")
    assert names_of(directory, [0, 120]) == names_of(directory, [-1]) == names_of(None, [0]) == ()


def test_only_a_newer_version_makes_a_missing_folder_a_replaced_one(tmp_path: Path) -> None:
    folder = tmp_path / "g" / "9"
    raise_if_replaced(folder)
    folder.parent.mkdir()
    (folder.parent / "8").mkdir()
    raise_if_replaced(folder)
    (folder.parent / "10").mkdir()
    with pytest.raises(VersionGone, match="verify that one"):
        raise_if_replaced(folder)
    folder.mkdir()
    raise_if_replaced(folder)
