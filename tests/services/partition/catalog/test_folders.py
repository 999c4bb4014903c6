from __future__ import annotations

from pathlib import Path

from planmesh.snapshot.array_file import ASIDE_PREFIX
from services.partition.catalog.folders import REMOVED_PREFIX, Folders, remove_folder


def make_snapshot(folders: Folders, graph: str, version: str) -> Path:
    path = folders.snapshots / graph / version
    path.mkdir(parents=True)
    (path / "manifest.json").write_text("{}")
    return path


def test_a_build_becomes_a_version_by_a_rename(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    folders.create()
    build = folders.new_build("g")
    (build.snapshot_path / "manifest.json").write_text("{}")
    (build.snapshot_path / "partitions" / f"{ASIDE_PREFIX}00000.1.x").write_text("half")
    path = folders.publish(build, "g", 3)
    assert path == tmp_path / "snapshots" / "g" / "3"
    assert (path / "manifest.json").exists()
    assert not build.snapshot_path.exists()
    assert not list((path / "partitions").iterdir())


def test_what_nobody_knows_is_removed(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    folders.create()
    kept = make_snapshot(folders, "g", "2")
    make_snapshot(folders, "g", "1")
    make_snapshot(folders, "g", "02")
    make_snapshot(folders, "g", f"{REMOVED_PREFIX}x")
    make_snapshot(folders, "h", "2")
    make_snapshot(folders, f"{REMOVED_PREFIX}y", "2")
    folders.new_build("g")
    folders.remove_unknown({("g", 2)})
    assert list(folders.snapshots.rglob("manifest.json")) == [kept / "manifest.json"]
    assert [path.name for path in folders.snapshots.iterdir()] == ["g"]
    assert not list(folders.builds.iterdir())


def test_a_folder_that_is_gone_is_removed_already(tmp_path: Path) -> None:
    remove_folder(tmp_path / "nothing")
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    remove_folder(tmp_path / "folder")
    assert not list(tmp_path.iterdir())
