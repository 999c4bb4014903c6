"""Reading a snapshot: files are mapped when they are first asked for, and checked against the manifest then."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Self

import numpy as np

from planmesh.errors import SnapshotDamaged
from planmesh.graph.model import BoolArray
from planmesh.snapshot.array_file import ArrayFile, open_array_file
from planmesh.snapshot.directory import NodeDirectory, read_directory
from planmesh.snapshot.manifest import FileEntry, Manifest
from planmesh.snapshot.open_files import MAPPED_FILES_MAX, raise_open_files_limit
from planmesh.snapshot.overlay_file import OpenOverlay, read_overlay
from planmesh.snapshot.partition_file import OpenPartition, read_partition
from planmesh.snapshot.source import SnapshotSource, make_source


class SnapshotReader:
    """One version of a graph. Threads may share it; what it returns are read-only views that outlive it.

    Every method raises SnapshotDamaged, naming the file, when a file is missing or broken, and VersionGone when the
    whole snapshot was removed meanwhile.
    """

    def __init__(self, url: str, source: SnapshotSource, manifest: Manifest, open_partitions_max: int) -> None:
        self._url = url
        self._source = source
        self._manifest = manifest
        self._lock = threading.Lock()
        self._mapped_max = max(1, min(open_partitions_max, raise_open_files_limit()))
        self._partitions: OrderedDict[int, OpenPartition] = OrderedDict()
        self._verified: BoolArray = np.zeros(len(manifest.partitions), np.bool_)
        self._directory: NodeDirectory | None = None
        self._overlay: OpenOverlay | None = None
        self._report: ArrayFile | None = None

    @classmethod
    def open(cls, url: str, cache_dir: Path | None = None, *, open_partitions_max: int = MAPPED_FILES_MAX) -> Self:
        """Open the snapshot at a path or fsspec URL; what is not local is copied, file by file, into `cache_dir`.

        At most `open_partitions_max` partition files stay mapped, fewer where the process may not open so many.

        Raises VersionGone when there is none, SnapshotDamaged when its manifest is broken, SnapshotError when a newer
        planmesh wrote it or it cannot be reached.
        """
        source = make_source(url, cache_dir)
        return cls(url, source, source.manifest(), open_partitions_max)

    @property
    def url(self) -> str:
        """Where the snapshot lies."""
        return self._url

    @property
    def manifest(self) -> Manifest:
        """What the snapshot holds."""
        return self._manifest

    def directory(self) -> NodeDirectory:
        """Return the directory of nodes; its checksum is compared the first time."""
        with self._lock:
            if self._directory is None:
                directory = read_directory(self._open(self._manifest.directory))
                self._check_counts(directory)
                self._directory = directory
            return self._directory

    def overlay(self) -> OpenOverlay:
        """Return the overlay; its checksum is compared the first time."""
        with self._lock:
            if self._overlay is None:
                self._overlay = read_overlay(self._open(self._manifest.overlay))
            return self._overlay

    def report(self) -> ArrayFile:
        """Return the report file; its checksum is compared the first time."""
        with self._lock:
            if self._report is None:
                self._report = self._open(self._manifest.report)
            return self._report

    def partition(self, number: int) -> OpenPartition:
        """Return one partition; its checksum is compared the first time. The least recently used is unmapped."""
        with self._lock:
            found = self._partitions.get(number)
            if found is not None:
                self._partitions.move_to_end(number)
                return found
            verify = not self._verified[number]
        # Reading and hashing are done outside the lock; two threads may do the same, which is harmless.
        opened = read_partition(self._open(self._manifest.partitions[number], verify=bool(verify)))
        with self._lock:
            self._verified[number] = True
            self._partitions[number] = opened
            self._partitions.move_to_end(number)
            while len(self._partitions) > self._mapped_max:
                self._partitions.popitem(last=False)
        return opened

    def verify(self, entry: FileEntry) -> None:
        """Compare one file's checksum, whether or not it was compared before."""
        self._source.fetch(entry, verify=True)

    def _open(self, entry: FileEntry, *, verify: bool = True) -> ArrayFile:
        return open_array_file(self._source.fetch(entry, verify=verify), entry.file)

    def _check_counts(self, directory: NodeDirectory) -> None:
        counts = self._manifest.counts
        if directory.node_count != counts.nodes or directory.partition_count != counts.partitions:
            raise SnapshotDamaged(
                self._manifest.directory.file,
                f"expected {counts.nodes} nodes in {counts.partitions} partitions, "
                f"found {directory.node_count} in {directory.partition_count}",
            )
