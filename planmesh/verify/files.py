"""Files as files: there, of the size and checksum that were written down, with the arrays that belong in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from planmesh.errors import SnapshotDamaged, SnapshotError, VersionGone
from planmesh.graph import node_ids_kernels
from planmesh.search import overlay as overlay_module
from planmesh.search import partition_index
from planmesh.search.verification import Fault
from planmesh.snapshot.array_file import Array, ArrayFile, FileFacts, verify_file
from planmesh.snapshot.directory import NodeDirectory
from planmesh.snapshot.manifest import MANIFEST_NAME, FileEntry, Manifest, PartitionEntry, read_manifest
from planmesh.snapshot.overlay_file import OVERLAY_PREFIX, SEGMENTS_PREFIX
from planmesh.snapshot.partition_file import INDEX_PREFIX
from planmesh.verify.report import LOAD_ROWS, REBUILD, Finding, finding_of
from planmesh.verify.stored_version import StoredSnapshot
from planmesh.versions.row_files import EDGES_NAME, NODES_NAME

INT32: Final = np.dtype(np.int32)
INT64: Final = np.dtype(np.int64)
FLOAT64: Final = np.dtype(np.float64)

PARTITION_DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    **dict.fromkeys(("partition_first", "out_first", "out_head", "in_first", "in_tail"), INT32),
    **dict.fromkeys(("out_cost", "in_cost"), FLOAT64),
    **{f"{INDEX_PREFIX}{name}": FLOAT64 if name.endswith("weight") else INT32 for name in partition_index.ARRAY_NAMES},
}
"""Arrays of a partition's file."""

OVERLAY_DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    **{f"{OVERLAY_PREFIX}{name}": FLOAT64 if "weight" in name else INT32 for name in overlay_module.ARRAY_NAMES},
    "overlay_first": INT32,
    "overlay_global": INT32,
    "is_original": np.dtype(np.bool_),
}
SEGMENT_DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    f"{SEGMENTS_PREFIX}first": INT64,
    f"{SEGMENTS_PREFIX}node": INT32,
    f"{SEGMENTS_PREFIX}cost": FLOAT64,
}
"""Arrays of the overlay's file; a version that keeps no short segments has none of those."""

DIRECTORY_DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "ids.offsets": INT64,
    "ids.blob": np.dtype(np.uint8),
    "ids.order": INT32,
    **dict.fromkeys(("partition_first", "domains", "regions"), INT32),
}
"""Arrays of the directory's file beside the tables of names."""


def file_findings(
    folder: Path, entry: FileEntry, partition: str, on_chunk: Callable[[int], None] | None
) -> list[Finding]:
    """Compare a file's size and checksum with its entry; VersionGone when the whole version was removed meanwhile."""
    return _verified(folder, folder / entry.file, entry.facts, entry.file, partition, REBUILD, on_chunk)


def manifest_findings(found: StoredSnapshot) -> list[Finding]:
    """Compare the manifest in the snapshot's folder with the catalog's copy."""
    fault = None
    try:
        if not read_manifest(found.snapshot / MANIFEST_NAME).same_but_for_repairs(found.manifest):
            fault = Fault("manifest", "the manifest that the catalog keeps", "another")
    except SnapshotError as error:  # damaged, or of another format
        present = (found.snapshot / MANIFEST_NAME).is_file()
        fault = Fault("checksum" if present else "missing", "the manifest of the version", error.message)
    if fault is None:
        return []
    return [finding_of(fault, MANIFEST_NAME, "", advice=REBUILD)]


def rows_findings(found: StoredSnapshot, on_chunk: Callable[[int], None] | None) -> list[Finding]:
    """Compare the stored rows with the catalog's facts and counts, and those with the manifest's."""
    findings = []
    for name, facts, rows in (
        (NODES_NAME, found.facts.nodes, found.stored.nodes),
        (EDGES_NAME, found.facts.edges, found.stored.edges),
    ):
        path = found.rows / name
        shown = "/".join(path.parts[-4:])
        broken = _verified(found.rows, path, facts, shown, "", LOAD_ROWS, on_chunk)
        if not broken:
            count = _row_count(path)
            if count != rows:
                fault = Fault("row count", f"{rows} rows, as the catalog says", str(count))
                broken.append(finding_of(fault, shown, "", advice=LOAD_ROWS))
        findings += broken
    expected = found.manifest.counts.nodes
    if found.stored.nodes != expected:
        fault = Fault("row count", f"{expected} rows of nodes, as the manifest counts", str(found.stored.nodes))
        findings.append(finding_of(fault, MANIFEST_NAME, ""))
    return findings


def manifest_count_findings(manifest: Manifest) -> list[Finding]:
    """Compare the manifest's totals with the sums over its partitions."""
    counts, entries = manifest.counts, manifest.partitions
    pairs = [
        ("partitions", counts.partitions, len(entries)),
        ("nodes", counts.nodes, sum(entry.nodes for entry in entries)),
        ("edges", counts.edges, sum(entry.internal_edges + entry.cross_edges_out for entry in entries)),
        ("cross edges out", counts.cross_edges, sum(entry.cross_edges_out for entry in entries)),
        ("cross edges in", counts.cross_edges, sum(entry.cross_edges_in for entry in entries)),
        ("overlay nodes", counts.overlay_nodes, sum(entry.overlay_nodes for entry in entries)),
        (
            "overlay edges",
            counts.overlay_edges,
            sum(entry.overlay_edges for entry in entries) + counts.cross_edges,
        ),
    ]
    faults = [
        Fault("count", f"{total} {what} in all partitions", str(sum_)) for what, total, sum_ in pairs if total != sum_
    ]
    return [finding_of(fault, MANIFEST_NAME, "") for fault in faults]


def array_faults(file: ArrayFile, dtypes: Mapping[str, np.dtype[Any]]) -> list[Fault]:
    """Check that a file has arrays of these names, of one dimension and these dtypes."""
    faults = []
    for name, dtype in dtypes.items():
        array = file.arrays.get(name)
        if array is None:
            faults.append(Fault("arrays", f"an array {name}", "none"))
        elif array.dtype != dtype or array.ndim != 1:
            faults.append(Fault("arrays", f"{name}: {dtype}[]", f"{array.dtype} of shape {array.shape}"))
    return faults


def directory_faults(directory: NodeDirectory, manifest: Manifest) -> list[Fault]:
    """Check that ids and global numbers name each other one to one, and that partitions are ranges of those."""
    count, ids, first = manifest.counts.nodes, directory.ids, directory.partition_first
    faults = []
    sizes = [entry.nodes for entry in manifest.partitions]
    if not _ascends(first, len(sizes), count) or bool(np.any(np.diff(first) != sizes)):
        faults.append(Fault("firsts", f"partitions of the sizes in the manifest, {count} nodes in all", "others"))
    names = [entry.name for entry in manifest.partitions]
    if directory.partition_names != names:
        faults.append(Fault("names", "the partitions' names of the manifest", "others"))
    if not _ascends(ids.offsets, count, len(ids.blob)):
        faults.append(Fault("firsts", f"ids: {count + 1} offsets that ascend from 0 to {len(ids.blob)}", "others"))
    elif not _is_permutation(ids.order, count):
        faults.append(Fault("numbers", f"ids: each of {count} nodes once in their order", "others"))
    else:
        place = int(node_ids_kernels.first_disorder(ids.offsets, ids.blob, ids.order))
        if place >= 0:
            text = "one that is there before, or in another order"
            faults.append(Fault("ids", "ids in ascending order, each once", text, nodes=(int(ids.order[place]),)))
    for what, labels in (("domains", directory.domains), ("regions", directory.regions)):
        known = len(labels.names["offsets"]) - 1
        outside = (labels.codes < -1) | (labels.codes >= known)
        if len(labels.codes) != count or bool(outside.any()):
            faults.append(Fault("labels", f"{what}: a code below {known}, or -1, for each of {count} nodes", "others"))
    return faults


def entry_faults(entry: PartitionEntry, counted: Mapping[str, int]) -> list[Fault]:
    """Compare what the manifest says of a partition with what was counted in its file."""
    return [
        Fault("count", f"{getattr(entry, name)} {name.replace('_', ' ')}, as the manifest says", str(count))
        for name, count in counted.items()
        if getattr(entry, name) != count
    ]


def names_of(directory: NodeDirectory | None, nodes: Iterable[int]) -> tuple[str, ...]:
    """Return the ids of global numbers; none without a directory that can be read."""
    numbers = np.array(list(nodes), np.int64)
    if directory is None or len(numbers) == 0 or numbers.min() < 0 or numbers.max() >= len(directory.ids):
        return ()
    return tuple(directory.names(numbers.astype(np.int32)))


def raise_if_replaced(folder: Path) -> None:
    """Raise VersionGone when the folder of a version is gone and there is that of a newer one."""
    if folder.is_dir() or not folder.parent.is_dir():
        return
    versions = [int(other.name) for other in folder.parent.iterdir() if other.name.isdecimal()]
    if max(versions, default=0) > int(folder.name):
        raise VersionGone(f"{folder} was removed while it was verified: a newer version is served; verify that one")


def _verified(
    folder: Path,
    path: Path,
    facts: FileFacts,
    shown: str,
    partition: str,
    advice: str,
    on_chunk: Callable[[int], None] | None,
) -> list[Finding]:
    try:
        verify_file(path, facts, shown, on_chunk)
    except SnapshotDamaged as error:
        raise_if_replaced(folder)
        check = "checksum" if path.is_file() else "missing"
        expected = f"{facts.bytes} bytes with the checksum {facts.checksum}"
        return [Finding(shown, partition, check, 1, (), expected, error.message.removeprefix(f"{shown}: "), advice)]
    return []


def _row_count(path: Path) -> int:
    try:
        with pq.ParquetFile(path) as file:
            return int(file.metadata.num_rows)
    except pa.ArrowException:
        return -1  # its bytes are those that were written, so they never were a table


def _ascends(first: Array, count: int, last: int) -> bool:
    return len(first) == count + 1 and first[0] == 0 and first[-1] == last and bool(np.all(first[1:] >= first[:-1]))


def _is_permutation(order: Array, count: int) -> bool:
    if len(order) != count or (count and (order.min() < 0 or order.max() >= count)):
        return False
    return bool(np.all(np.bincount(order, minlength=count) == 1))
