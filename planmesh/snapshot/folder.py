"""The folder of one snapshot: its manifest and its files, which readers map in place."""

from __future__ import annotations

from pathlib import Path

from planmesh.errors import SnapshotDamaged, VersionGone
from planmesh.snapshot.array_file import FileStamp, file_stamp, verify_file
from planmesh.snapshot.manifest import MANIFEST_NAME, FileEntry, Manifest, read_manifest


class SnapshotFolder:
    """Hands out the files of one snapshot as paths."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def manifest(self) -> Manifest:
        """Read the manifest. VersionGone when there is no snapshot, SnapshotDamaged when the manifest is broken."""
        if not self._folder.is_dir():
            raise VersionGone(f"no snapshot at {self._folder}: its version was removed, a newer one is served")
        return read_manifest(self._folder / MANIFEST_NAME)

    def manifest_stamp(self) -> FileStamp | None:
        """Return what changes when the manifest is replaced; None when it cannot be reached."""
        return file_stamp(self._folder / MANIFEST_NAME)

    def path(self, entry: FileEntry) -> Path:
        """Return where a file is."""
        return self._folder / entry.file

    def verify(self, entry: FileEntry) -> None:
        """Compare a file's checksum. SnapshotDamaged when it differs, VersionGone when the whole snapshot is gone."""
        try:
            verify_file(self.path(entry), entry.facts, entry.file)
        except SnapshotDamaged as error:
            if not self._folder.is_dir():
                raise VersionGone(f"the snapshot at {self._folder} was removed while it was read") from error
            raise
