"""Versions are found in data folders, without a mesh."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from planmesh.errors import GraphUnknown, SnapshotError
from planmesh.verify import find_snapshot
from planmesh.versions.embedded import CATALOG_NAME
from tests.verify.stored_graph import StoredGraph


async def test_an_unknown_graph_or_folder_is_an_error(stored: StoredGraph, tmp_path: Path) -> None:
    with pytest.raises(GraphUnknown, match="graphs there: g"):
        find_snapshot(stored.data, "other")
    with pytest.raises(SnapshotError, match="--data"):
        find_snapshot(tmp_path / "empty", "g")


async def test_the_newest_version_is_found_from_the_folder_of_a_mesh_or_a_service(
    stored: StoredGraph, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(stored.data / "store" / CATALOG_NAME)) as catalog, catalog:
        row = list(catalog.execute("SELECT * FROM version").fetchone())
        for version in (10, 9):
            row[1] = version
            catalog.execute(f"INSERT INTO version VALUES ({','.join('?' * len(row))})", row)
    found = find_snapshot(stored.data, "g")
    assert found.stored.version == 10
    assert (found.snapshot, found.rows) == (
        stored.data / "snapshots" / "g" / "10",
        stored.data / "store" / "rows" / "g" / "10",
    )
    assert found.manifest == stored.manifest
    mesh = tmp_path / "mesh"
    mesh.mkdir()
    stored.data.rename(mesh / "store")  # a local mesh has the partition service's folder under this name
    assert find_snapshot(mesh, "g").snapshot == mesh / "store" / "snapshots" / "g" / "10"


@pytest.mark.parametrize("description", ["", "[]", "{}", '{"manifest": 5}'])
async def test_a_version_without_a_manifest_is_an_error(stored: StoredGraph, description: str) -> None:
    with closing(sqlite3.connect(stored.data / "store" / CATALOG_NAME)) as catalog, catalog:
        catalog.execute("UPDATE version SET description = ?", (description,))
    with pytest.raises(SnapshotError, match="expected the manifest of version 1 of graph 'g', found none"):
        find_snapshot(stored.data, "g")
