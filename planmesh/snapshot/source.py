"""Sources of a snapshot's files: a local folder, or an fsspec URL whose files are copied into a cache folder."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import fsspec

from planmesh.errors import SnapshotDamaged, SnapshotError, VersionGone
from planmesh.snapshot.array_file import FileStamp, file_stamp, verify_file, written_aside
from planmesh.snapshot.manifest import MANIFEST_NAME, FileEntry, Manifest, decode_manifest, read_manifest

COPY_CHUNK_BYTES: Final = 1 << 22
"""Bytes copied at a time."""


class SnapshotSource(Protocol):
    """Provides the files of one snapshot as local paths."""

    def manifest(self) -> Manifest:
        """Read the manifest.

        Raises VersionGone when there is no snapshot, SnapshotDamaged when the manifest is damaged, and SnapshotError
        when it has another format or is unreachable.
        """
        ...

    def manifest_stamp(self) -> FileStamp | None:
        """Return a stamp that changes when the manifest is replaced, None if only reading the manifest shows that."""
        ...

    def path(self, entry: FileEntry) -> Path:
        """Return the local path that a file has, or will have after `fetch`."""
        ...

    def fetch(self, entry: FileEntry, *, verify: bool) -> Path:
        """Fetch a file and return its path; with `verify`, check its checksum.

        Raises SnapshotDamaged when the file is missing or does not match, and SnapshotError when the source fails.
        """
        ...


def make_source(url: str, cache_folder: Path | None) -> SnapshotSource:
    """Return the source for a URL: a path or `file://` is read in place, any other URL through fsspec.

    Raises ValueError for a remote URL without a `cache_folder`.
    """
    split = urlsplit(url)
    if split.scheme == "file":
        return LocalSource(Path(split.path))
    if "://" not in url:
        return LocalSource(Path(url))
    if cache_folder is None:
        raise ValueError(
            f"expected a cache folder for a snapshot at {split.scheme}://, which is copied before it is mapped"
        )
    return RemoteSource(url, cache_folder)


class LocalSource:
    """A snapshot in a local folder, whose files are mapped in place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def manifest(self) -> Manifest:
        """Read the manifest; see SnapshotSource."""
        if not self._folder.is_dir():
            raise VersionGone(f"no snapshot at {self._folder}: its version was removed, and a newer one is served")
        return read_manifest(self._folder / MANIFEST_NAME)

    def manifest_stamp(self) -> FileStamp | None:
        """Return the stamp of the manifest's file; see SnapshotSource."""
        return file_stamp(self._folder / MANIFEST_NAME)

    def path(self, entry: FileEntry) -> Path:
        """Return the path of a file; see SnapshotSource."""
        return self._folder / entry.file

    def fetch(self, entry: FileEntry, *, verify: bool) -> Path:
        """Return the path of a file, and with `verify` check its checksum; see SnapshotSource."""
        path = self.path(entry)
        if verify:
            try:
                verify_file(path, entry.facts, entry.file)
            except SnapshotDamaged as error:
                if not self._folder.is_dir():
                    raise VersionGone(f"the snapshot at {self._folder} was removed while it was read") from error
                raise
        return path


class RemoteSource:
    """A snapshot behind fsspec. Each file is copied once, by one rename, so processes may share the cache."""

    def __init__(self, url: str, cache_folder: Path) -> None:
        self._url = url
        self._filesystem, self._root = _connect(url)
        # The URL may contain a long key. Its digest is a folder name of bounded length.
        self._cache = cache_folder / hashlib.sha256(url.encode()).hexdigest()[:32]

    def manifest(self) -> Manifest:
        """Read the manifest from the URL, never from the cache; see SnapshotSource."""
        try:
            raw: bytes = self._filesystem.cat_file(f"{self._root}/{MANIFEST_NAME}")
        except FileNotFoundError as error:
            # A bucket has no folders, so a missing manifest means that there is no snapshot.
            raise VersionGone(
                f"no snapshot at {self._url}: its version was removed, and a newer one is served"
            ) from error
        except OSError as error:
            raise SnapshotError(f"{self._url}: {error}") from error
        return decode_manifest(raw)

    def manifest_stamp(self) -> FileStamp | None:
        """Return None, because file systems behind fsspec report different facts about a file; see SnapshotSource."""
        return None

    def path(self, entry: FileEntry) -> Path:
        """Return the path of the cached copy; see SnapshotSource."""
        return self._cache / entry.file

    def fetch(self, entry: FileEntry, *, verify: bool) -> Path:
        """Return the path of the cached copy, after copying the file if it is missing or wrong; see SnapshotSource."""
        path = self.path(entry)
        if path.exists():
            if not verify:
                return path
            try:
                verify_file(path, entry.facts, entry.file)
            except SnapshotDamaged:
                path.unlink(missing_ok=True)  # perhaps only the copy is damaged, so copy the file again
            else:
                return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(path) as aside:
            self._copy(entry, aside)
            verify_file(aside, entry.facts, entry.file)
        return path

    def _copy(self, entry: FileEntry, target: Path) -> None:
        try:
            with self._filesystem.open(f"{self._root}/{entry.file}", "rb") as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy, COPY_CHUNK_BYTES)
        except FileNotFoundError as error:
            raise SnapshotDamaged(entry.file, f"is missing from {self._url}") from error
        except OSError as error:
            raise SnapshotError(f"{self._url}/{entry.file}: {error}") from error


def _connect(url: str) -> tuple[Any, str]:
    try:
        filesystem, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise SnapshotError(f"{url}: {error}") from error
    return filesystem, str(root).rstrip("/")
