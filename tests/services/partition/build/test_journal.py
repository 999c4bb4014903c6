"""The journal of a build, and the partitions that a resumed build keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from planmesh.errors import SnapshotDamaged
from planmesh.snapshot.build_folder import BuildFolder
from services.partition.build.journal import (
    JOURNAL_NAME,
    UnfinishedBuild,
    find_unfinished,
    forget_journal,
    read_journal,
    recover,
    write_journal,
)
from services.partition.build.prepared import PreparedGraph
from tests.services.partition.small_build import OPTIONS, LocalIndexes, build_small, prepare_small
from tests.snapshot.damage import flip_a_bit


@pytest.fixture
def prepared(tmp_path: Path) -> tuple[BuildFolder, PreparedGraph]:
    return prepare_small(tmp_path / "build")


def write(build: tuple[BuildFolder, PreparedGraph], rows: str = "token") -> UnfinishedBuild:
    folder, prepared = build
    return UnfinishedBuild(folder, write_journal(folder, OPTIONS, rows, "digest", 5.0, prepared))


def test_a_journal_is_read_back(prepared: tuple[BuildFolder, PreparedGraph]) -> None:
    folder, graph = prepared
    assert read_journal(folder.path) is None
    write(prepared)
    journal = read_journal(folder.path)
    assert journal is not None
    assert (journal.options, journal.rows, journal.content, journal.started_unix_s) == (OPTIONS, "token", "digest", 5.0)
    assert journal.prepared == graph
    forget_journal(folder)
    assert read_journal(folder.path) is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"checksum": "x", "content": "y"}'])
def test_a_damaged_journal_is_an_error(prepared: tuple[BuildFolder, PreparedGraph], content: bytes) -> None:
    folder, _ = prepared
    (folder.path / JOURNAL_NAME).write_bytes(content)
    with pytest.raises(SnapshotDamaged, match=JOURNAL_NAME):
        read_journal(folder.path)


def test_only_the_newest_build_of_a_graph_with_sealed_rows_is_resumed(tmp_path: Path) -> None:
    builds = [prepare_small(tmp_path / name) for name in ("1", "2", "3", "4", "5")]
    for build, rows in zip(builds[:3], ("old", "new", "committed"), strict=True):
        write(build, rows)
    (builds[3][0].path / JOURNAL_NAME).write_bytes(b"damaged")
    found = find_unfinished(tmp_path.iterdir(), ["old", "new"])
    assert [(build.folder.path.name, build.journal.rows) for build in found] == [("2", "new")]


async def test_finished_partitions_are_recovered_and_a_damaged_one_is_forgotten(
    prepared: tuple[BuildFolder, PreparedGraph],
) -> None:
    folder, graph = prepared
    built, _ = await build_small(folder, graph, LocalIndexes())
    unfinished = write(prepared)
    assert recover(unfinished) == built.partitions
    flip_a_bit(folder.snapshot_path / built.partitions[1].file)
    assert recover(unfinished) == {0: built.partitions[0]}
    assert not folder.facts_path(1).exists()
    flip_a_bit(folder.input_path)
    with pytest.raises(SnapshotDamaged, match="input"):
        recover(unfinished)
