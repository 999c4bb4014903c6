"""Sources provide files by path: local ones in place, remote ones as checked copies."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from planmesh.errors import SnapshotDamaged, SnapshotError, VersionGone
from planmesh.snapshot.manifest import FileEntry, Manifest, write_manifest
from planmesh.snapshot.source import LocalSource, RemoteSource, make_source
from tests.snapshot.damage import flip_a_bit
from tests.snapshot.small_snapshot import SmallSnapshot, make_snapshot


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> SmallSnapshot:
    return make_snapshot(tmp_path_factory.mktemp("build"))


@pytest.fixture
def folder(pristine: SmallSnapshot, tmp_path: Path) -> Path:
    """A copy of the snapshot that a test may damage."""
    return Path(shutil.copytree(pristine.folder, tmp_path / "snapshot"))


@pytest.fixture
def manifest(pristine: SmallSnapshot) -> Manifest:
    return pristine.manifest


@pytest.fixture
def entry(manifest: Manifest) -> FileEntry:
    return manifest.partitions[1]


def test_the_url_decides_the_source(tmp_path: Path) -> None:
    entry = FileEntry(file="x", bytes=0, checksum="")
    for url in (str(tmp_path), tmp_path.as_uri()):
        source = make_source(url, None)
        assert isinstance(source, LocalSource)
        assert source.path(entry) == tmp_path / "x"
    assert isinstance(make_source("memory://bucket/v1", tmp_path), RemoteSource)
    with pytest.raises(ValueError, match="expected a cache folder for a snapshot at memory://"):
        make_source("memory://bucket/v1", None)
    with pytest.raises(SnapshotError, match="nosuch"):
        make_source("nosuch://bucket", tmp_path)


def test_a_local_file_is_checked_only_on_request(folder: Path, entry: FileEntry) -> None:
    source = LocalSource(folder)
    assert source.fetch(entry, verify=True) == folder / entry.file
    flip_a_bit(folder / entry.file)
    assert source.fetch(entry, verify=False) == folder / entry.file
    with pytest.raises(SnapshotDamaged, match=entry.file):
        source.fetch(entry, verify=True)
    shutil.rmtree(folder)
    with pytest.raises(VersionGone, match="removed while it was read"):
        source.fetch(entry, verify=True)
    with pytest.raises(VersionGone, match="a newer one is served"):
        source.manifest()


def test_the_stamp_changes_with_the_manifest(folder: Path, manifest: Manifest) -> None:
    source = LocalSource(folder)
    stamp = source.manifest_stamp()
    assert stamp is not None
    assert source.manifest_stamp() == stamp
    write_manifest(folder, manifest)
    assert source.manifest_stamp() != stamp
    shutil.rmtree(folder)
    assert source.manifest_stamp() is None


class TestRemote:
    @pytest.fixture
    def url(self, folder: Path) -> Iterator[str]:
        filesystem = fsspec.filesystem("memory")
        filesystem.put(str(folder), "/source-test/v1", recursive=True)
        yield "memory://source-test/v1"
        filesystem.rm("/source-test", recursive=True)

    def test_a_file_is_copied_once(self, url: str, tmp_path: Path, entry: FileEntry) -> None:
        source = RemoteSource(url, tmp_path / "cache")
        copy = source.fetch(entry, verify=True)
        assert copy == source.path(entry)
        assert copy.stat().st_size == entry.bytes
        fsspec.filesystem("memory").rm_file(f"/source-test/v1/{entry.file}")
        assert source.fetch(entry, verify=True) == copy
        flip_a_bit(copy)
        assert source.fetch(entry, verify=False) == copy
        with pytest.raises(SnapshotDamaged, match=f"{entry.file}: is missing from memory://source-test/v1"):
            source.fetch(entry, verify=True)

    def test_a_damaged_copy_is_replaced(self, url: str, tmp_path: Path, entry: FileEntry) -> None:
        source = RemoteSource(url, tmp_path / "cache")
        copy = source.fetch(entry, verify=True)
        whole = copy.read_bytes()
        flip_a_bit(copy)
        source.fetch(entry, verify=True)
        assert copy.read_bytes() == whole

    def test_a_damaged_original_leaves_no_copy(self, url: str, tmp_path: Path, entry: FileEntry) -> None:
        fsspec.filesystem("memory").pipe_file(f"/source-test/v1/{entry.file}", b"broken")
        with pytest.raises(SnapshotDamaged, match=entry.file):
            RemoteSource(url, tmp_path / "cache").fetch(entry, verify=False)
        assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]

    def test_urls_share_no_copies(self, url: str, tmp_path: Path, entry: FileEntry) -> None:
        one, other = RemoteSource(url, tmp_path), RemoteSource("memory://source-test/v2", tmp_path)
        assert one.path(entry) != other.path(entry)
        assert one.manifest_stamp() is None

    def test_the_manifest_is_never_cached(self, url: str, tmp_path: Path, manifest: Manifest) -> None:
        source = RemoteSource(url, tmp_path / "cache")
        assert source.manifest() == manifest
        fsspec.filesystem("memory").rm_file("/source-test/v1/manifest.json")
        with pytest.raises(VersionGone, match="a newer one is served"):
            source.manifest()
