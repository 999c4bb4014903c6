"""Versions are found in data folders, without a mesh."""

from __future__ import annotations

from pathlib import Path

import pytest

from planmesh.errors import GraphUnknown, SnapshotError
from planmesh.verify import find_snapshot
from tests.verify.stored_graph import StoredGraph


async def test_an_unknown_graph_or_folder_is_an_error(stored: StoredGraph, tmp_path: Path) -> None:
    with pytest.raises(GraphUnknown, match="graphs there: g"):
        find_snapshot(stored.data, "other")
    with pytest.raises(SnapshotError, match="--data"):
        find_snapshot(tmp_path / "empty", "g")
