"""The folder of a version under construction, with the whole graph as input and the unfinished snapshot.

::

    <build>/input            array file: the graph ordered by partition, both directions
    <build>/facts/NNNNN      facts about a finished partition, written after its file
    <build>/locks/NNNNN      locked by the builder of a partition; the kernel releases the lock if the builder is killed
    <build>/snapshot/...     becomes the snapshot's folder by one rename

A build worker calls `build_partition_file`. A repeated task does not build a finished partition again: it finds its
facts.
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
    """The facts about a finished partition, as in BuildReply of task.proto."""

    partition: int
    file: str
    bytes: int
    checksum: str
    overlay_nodes: int
    core_nodes: int
    overlay_edges: int
    seconds: float
    format: int = 0
    """The format of the builder's snapshots. Builders from before format 2 leave it 0."""


@dataclass(frozen=True, slots=True)
class BuildFolder:
    """The files in the folder of a build."""

    path: Path

    @property
    def input_path(self) -> Path:
        """The file of the graph that is being built."""
        return self.path / INPUT_NAME

    @property
    def snapshot_path(self) -> Path:
        """The folder of the unfinished snapshot."""
        return self.path / SNAPSHOT_FOLDER

    def facts_path(self, partition: int) -> Path:
        """Return the path of the facts about a partition, which exists once the partition is finished."""
        return self.path / FACTS_FOLDER / f"{partition:05d}"

    def create(self) -> None:
        """Make the folders inside the build's folder. Existing ones stay."""
        (self.path / FACTS_FOLDER).mkdir(parents=True, exist_ok=True)
        (self.path / LOCKS_FOLDER).mkdir(exist_ok=True)
        (self.snapshot_path / PARTITION_FOLDER).mkdir(parents=True, exist_ok=True)

    def write_input(self, partition_first: Int32Array, graph: Graph, reverse: Graph) -> FileFacts:
        """Write the graph, with its nodes ordered by partition, and its reverse; return the file's facts."""
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
        """Return the facts about a partition if it is finished and in the present format, else None.

        Raises SnapshotDamaged when the facts are unreadable.
        """
        try:
            facts = BuiltPartition(**orjson.loads(self.facts_path(partition).read_bytes()))
            size = (self.snapshot_path / facts.file).stat().st_size
        except FileNotFoundError:
            return None
        except (TypeError, ValueError) as error:
            raise SnapshotDamaged(
                str(self.facts_path(partition)), f"expected the facts of a partition: {error}"
            ) from error
        return facts if facts.format == FORMAT and size == facts.bytes else None

    def being_built(self, partition: int) -> bool:
        """Return whether a running builder has marked the partition; see `marked_as_being_built`."""
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
        """Make `being_built` return True inside the context.

        It does not wait for a lock that another builder holds, because two builders of one partition do no harm.
        """
        descriptor = os.open(self._lock_path(partition), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with suppress(BlockingIOError):  # the other builder's lock is mark enough
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(descriptor)

    def _lock_path(self, partition: int) -> Path:
        return self.path / LOCKS_FOLDER / f"{partition:05d}"

    def read_edges(self, partition: int) -> PartitionEdges:
        """Return the edges of one partition from the input. Raises SnapshotDamaged when the input is missing."""
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
    """Build the index of one partition of a build, write the partition's file, and return its facts.

    The result is deterministic, so two builders of one partition at once do no harm. Raises SnapshotDamaged or OSError
    when the build's folder is missing or damaged.
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
