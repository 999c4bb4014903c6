"""A version that is being built: a folder with the whole graph as input, and the snapshot that grows in it.

::

    <build>/input            array file: the graph ordered by partition, both directions
    <build>/facts/NNNNN      what is known of each finished partition, written after its file
    <build>/locks/NNNNN      locked by the builder that works on a partition; the kernel frees it when that is killed
    <build>/snapshot/...     becomes the snapshot's folder by one rename

A build worker calls `build_partition_file`. A partition that is finished is not built twice: a repeated task finds
the facts beside it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import orjson

from planmesh.errors import SnapshotDamaged
from planmesh.graph.model import Graph, Int32Array
from planmesh.search.partition_index import build_partition_index
from planmesh.snapshot.array_file import FileFacts, open_array_file, write_array_file, written_aside
from planmesh.snapshot.manifest import FORMAT, PARTITION_FOLDER, partition_file_name
from planmesh.snapshot.partition_file import PartitionEdges, partition_arrays, slice_edges

INPUT_NAME: Final = "input"
FACTS_FOLDER: Final = "facts"
LOCKS_FOLDER: Final = "locks"
SNAPSHOT_FOLDER: Final = "snapshot"


@dataclass(frozen=True, slots=True)
class BuiltPartition:
    """What a build worker replies about one partition; see BuildReply in task.proto."""

    partition: int
    file: str
    bytes: int
    checksum: str
    overlay_nodes: int
    core_nodes: int
    overlay_edges: int
    seconds: float
    format: int = 0
    """Of the snapshots that its builder writes; 0 from builders of before there was a second one."""


@dataclass(frozen=True, slots=True)
class BuildFolder:
    """Names inside a build's folder."""

    path: Path

    @property
    def input_path(self) -> Path:
        """The graph that is being built."""
        return self.path / INPUT_NAME

    @property
    def snapshot_path(self) -> Path:
        """The snapshot that grows."""
        return self.path / SNAPSHOT_FOLDER

    def facts_path(self, partition: int) -> Path:
        """What is known of a finished partition."""
        return self.path / FACTS_FOLDER / f"{partition:05d}"

    def create(self) -> None:
        """Make the folders."""
        (self.path / FACTS_FOLDER).mkdir(parents=True, exist_ok=True)
        (self.path / LOCKS_FOLDER).mkdir(exist_ok=True)
        (self.snapshot_path / PARTITION_FOLDER).mkdir(parents=True, exist_ok=True)

    def write_input(self, partition_first: Int32Array, graph: Graph, reverse: Graph) -> FileFacts:
        """Write the graph, its nodes ordered by partition, and its reverse."""
        return write_array_file(
            self.input_path,
            {
                "partition_first": partition_first,
                "out_first": graph.first_out,
                "out_head": graph.head,
                "out_cost": graph.weight,
                "in_first": reverse.first_out,
                "in_tail": reverse.head,
                "in_cost": reverse.weight,
            },
        )

    def finished(self, partition: int) -> BuiltPartition | None:
        """Return what is known of a partition when it was built before, in the format of today, else None."""
        try:
            facts = BuiltPartition(**orjson.loads(self.facts_path(partition).read_bytes()))
            size = (self.snapshot_path / facts.file).stat().st_size
        except FileNotFoundError:
            return None
        except (TypeError, ValueError) as error:
            raise SnapshotDamaged(str(self.facts_path(partition)), f"is not what a build writes: {error}") from error
        return facts if facts.format == FORMAT and size == facts.bytes else None

    def being_built(self, partition: int) -> bool:
        """Tell whether a living builder works on a partition now."""
        try:
            descriptor = os.open(self._lock_path(partition), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    @contextmanager
    def marked_as_being_built(self, partition: int) -> Iterator[None]:
        """Let `being_built` say so. Two builders of one partition do no harm, so nobody waits for the lock."""
        descriptor = os.open(self._lock_path(partition), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with suppress(BlockingIOError):  # the other one's mark says the same
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(descriptor)

    def _lock_path(self, partition: int) -> Path:
        return self.path / LOCKS_FOLDER / f"{partition:05d}"

    def read_edges(self, partition: int) -> PartitionEdges:
        """Return the slice of the input that is one partition; SnapshotDamaged when the input is not there."""
        file = open_array_file(self.input_path)
        partition_first = file.array("partition_first")
        start, stop = int(partition_first[partition]), int(partition_first[partition + 1])
        out_first, out_head, out_cost = slice_edges(
            file.array("out_first"), file.array("out_head"), file.array("out_cost"), start, stop
        )
        in_first, in_tail, in_cost = slice_edges(
            file.array("in_first"), file.array("in_tail"), file.array("in_cost"), start, stop
        )
        return PartitionEdges(
            partition_first=start,
            out_first=out_first,
            out_head=out_head,
            out_cost=out_cost,
            in_first=in_first,
            in_tail=in_tail,
            in_cost=in_cost,
        )


def build_partition_file(build_path: str | Path, partition: int) -> BuiltPartition:
    """Index one partition of a build and write its file; deterministic, so doing it twice at once is harmless.

    Raises SnapshotDamaged or OSError when the build's folder is gone or broken.
    """
    folder = BuildFolder(Path(build_path))
    done = folder.finished(partition)
    if done is not None:
        return done
    with folder.marked_as_being_built(partition):
        return _build(folder, partition)


def _build(folder: BuildFolder, partition: int) -> BuiltPartition:
    started_s = time.perf_counter()
    edges = folder.read_edges(partition)
    is_boundary = edges.is_boundary()
    index = build_partition_index(*edges.internal(), is_boundary)
    name = partition_file_name(partition)
    facts = write_array_file(folder.snapshot_path / name, partition_arrays(edges, index), sync_parent=False)
    built = BuiltPartition(
        partition=partition,
        file=name,
        bytes=facts.bytes,
        checksum=facts.checksum,
        overlay_nodes=len(index.overlay_node),
        core_nodes=len(index.overlay_node) - int(np.count_nonzero(is_boundary)),
        overlay_edges=len(index.overlay_head),
        seconds=time.perf_counter() - started_s,
        format=FORMAT,
    )
    with written_aside(folder.facts_path(partition), sync_parent=False) as aside:
        aside.write_bytes(orjson.dumps(asdict(built)))
    return built
