"""The reader of a snapshot. It maps each file at its first use, and checks it against the manifest then."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Final, Self

from planmesh.errors import SnapshotDamaged, VersionGone
from planmesh.snapshot.array_file import ArrayFile, FileStamp, file_stamp, open_array_file, verify_file
from planmesh.snapshot.directory import NodeDirectory, read_directory
from planmesh.snapshot.manifest import MANIFEST_NAME, FileEntry, Manifest, read_manifest
from planmesh.snapshot.open_files import MAPPED_FILES_MAX, raise_open_files_limit
from planmesh.snapshot.overlay_file import OpenOverlay, read_overlay
from planmesh.snapshot.partition_file import OpenPartition, read_partition

OPENINGS_MAX: Final = 5
"""How often a file is opened that was replaced between the check of its checksum and its mapping. A repair, or another
process that copies it, replaces it once."""


class SnapshotReader:
    """The files of one version of a graph. It is thread-safe. The read-only views that it returns may outlive it.

    Every method raises SnapshotDamaged, which names the file, when a file is missing or damaged, and VersionGone when
    the whole snapshot was removed.
    """

    def __init__(self, url: str, open_partitions_max: int) -> None:
        self._url = url
        self._folder = Path(url)
        self._manifest_stamp = file_stamp(self._folder / MANIFEST_NAME)  # before it is read: a later one is another
        if not self._folder.is_dir():
            raise VersionGone(f"no snapshot at {self._folder}: its version was removed, a newer one is served")
        self._manifest = read_manifest(self._folder / MANIFEST_NAME)
        self._lock = threading.Lock()
        self._mapped_max = max(1, min(open_partitions_max, raise_open_files_limit()))
        self._partitions: OrderedDict[int, OpenPartition] = OrderedDict()
        self._verified: dict[int, FileStamp] = {}
        """The stamps of the partition files whose checksums were checked."""
        self._directory: NodeDirectory | None = None
        self._overlay: OpenOverlay | None = None
        self._report: ArrayFile | None = None

    @classmethod
    def open(cls, url: str, *, open_partitions_max: int = MAPPED_FILES_MAX) -> Self:
        """Open the snapshot in the folder at the path `url`.

        At most `open_partitions_max` partition files stay mapped, fewer if the process may not open as many.

        Raises VersionGone when there is none, SnapshotDamaged when its manifest is broken, SnapshotError when it is of
        another format.
        """
        return cls(url, open_partitions_max)

    @property
    def url(self) -> str:
        """The path of the snapshot's folder."""
        return self._url

    @property
    def manifest(self) -> Manifest:
        """The manifest, as it was when the snapshot was opened."""
        return self._manifest

    @property
    def mapped_max(self) -> int:
        """How many partition files may be mapped: as many as asked for, fewer if the process may not open as many."""
        return self._mapped_max

    @cached_property
    def identity(self) -> str:
        """The manifest's identity. Every array that this reader returns belongs to it."""
        return self._manifest.identity

    def may_be_replaced(self) -> bool:
        """Return whether another snapshot, or none, may be in the folder by now."""
        stamp = file_stamp(self._folder / MANIFEST_NAME)
        return stamp is None or stamp != self._manifest_stamp

    def directory(self) -> NodeDirectory:
        """Return the directory of nodes. The first call checks its checksum."""
        with self._lock:
            if self._directory is None:
                directory = read_directory(self._open(self._manifest.directory))
                self._check_counts(directory)
                self._directory = directory
            return self._directory

    def overlay(self) -> OpenOverlay:
        """Return the overlay. The first call checks its checksum."""
        with self._lock:
            if self._overlay is None:
                self._overlay = read_overlay(self._open(self._manifest.overlay))
            return self._overlay

    def report(self) -> ArrayFile:
        """Return the report file. The first call checks its checksum."""
        with self._lock:
            if self._report is None:
                self._report = self._open(self._manifest.report)
            return self._report

    def partition(self, number: int) -> OpenPartition:
        """Return one partition. Above the limit of mapped files, the least recently used one is unmapped.

        Mapping a file checks its checksum, unless it was checked before and the file is unchanged since.
        """
        with self._lock:
            found = self._partitions.get(number)
            if found is not None:
                self._partitions.move_to_end(number)
                return found
            verified = self._verified.get(number)
        # Read and hash outside the lock. Two threads may map the same file, which is harmless.
        file = self._open(self._manifest.partitions[number], verified)
        opened = read_partition(file)
        with self._lock:
            self._verified[number] = file.stamp
            self._partitions[number] = opened
            self._partitions.move_to_end(number)
            while len(self._partitions) > self._mapped_max:
                self._partitions.popitem(last=False)
        return opened

    def has_mapped(self, numbers: Iterable[int]) -> bool:
        """Return whether all these partitions are mapped now."""
        with self._lock:
            return all(number in self._partitions for number in numbers)

    def verify(self, entry: FileEntry) -> None:
        """Compare one file's checksum, whether or not it was compared before."""
        try:
            verify_file(self._folder / entry.file, entry.facts, entry.file)
        except SnapshotDamaged as error:
            if not self._folder.is_dir():
                raise VersionGone(f"the snapshot at {self._folder} was removed while it was read") from error
            raise

    def _open(self, entry: FileEntry, verified: FileStamp | None = None) -> ArrayFile:
        """Map a file, the very one whose checksum was compared: now, or earlier when it had the stamp `verified`."""
        path = self._folder / entry.file
        for _ in range(OPENINGS_MAX):
            stamp = file_stamp(path)
            if stamp is None or stamp != verified:
                self.verify(entry)
            opened = open_array_file(path, entry.file)
            if opened.stamp == stamp:
                return opened
        raise SnapshotDamaged(entry.file, f"was replaced during each of {OPENINGS_MAX} attempts to open it")

    def _check_counts(self, directory: NodeDirectory) -> None:
        counts = self._manifest.counts
        if directory.node_count != counts.nodes or directory.partition_count != counts.partitions:
            raise SnapshotDamaged(
                self._manifest.directory.file,
                f"expected {counts.nodes} nodes in {counts.partitions} partitions, "
                f"found {directory.node_count} in {directory.partition_count}",
            )
