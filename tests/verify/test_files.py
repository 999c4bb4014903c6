"""Damaged files, rows, counts and ids are findings that name the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from planmesh.verify import Finding
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
