"""The manifest: what a snapshot holds, with sizes and checksums of its files.

It is JSON of three fields: `format`, `checksum` and `content`; the checksum is over the content, so that a damaged
manifest is found like any other damaged file. Another format than ours is refused by name, not guessed at: a greater
one was written by a newer planmesh, and a smaller one is rebuilt from the store by the partition service.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Final

import orjson
import xxhash
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from planmesh.errors import SnapshotDamaged, SnapshotError
from planmesh.snapshot.array_file import FileFacts, checksum_file, written_aside

FORMAT: Final = 2
"""Number of the format written here. It grows when an older reader would misread a snapshot, and when the files of an
older writer are not to be trusted: an index of format 1 may lack shortcuts, where the search for them was cut short.
"""

MANIFEST_NAME: Final = "manifest.json"
DIRECTORY_NAME: Final = "directory"
OVERLAY_NAME: Final = "overlay"
REPORT_NAME: Final = "report"
PARTITION_FOLDER: Final = "partitions"

MANIFEST_BYTES_MAX: Final = 1 << 28
"""Bytes of a manifest: 100,000 partitions take some 40 MB."""


def partition_file_name(partition: int) -> str:
    """Return the name of a partition's file inside the snapshot."""
    return f"{PARTITION_FOLDER}/{partition:05d}"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Model):
    """A file of the snapshot: its name inside the folder, size and XXH3-128 in hexadecimal."""

    file: str
    bytes: int
    checksum: str

    @property
    def facts(self) -> FileFacts:
        """Size and checksum."""
        return FileFacts(bytes=self.bytes, checksum=self.checksum)


class PartitionEntry(FileEntry):
    """One partition: its file and what the report says of it. Its neighbours stand in the report file."""

    number: int
    name: str
    nodes: int
    internal_edges: int
    cross_edges_out: int
    cross_edges_in: int
    entries: int
    exits: int
    overlay_nodes: int
    core_nodes: int
    overlay_edges: int


class Counts(_Model):
    """Totals of the graph; `edges` are directed, merged and without self-loops."""

    nodes: int
    edges: int
    parallel_edges: int
    self_loops: int
    partitions: int
    cross_edges: int
    boundary_nodes: int
    overlay_nodes: int
    overlay_edges: int
    overlay_core_nodes: int


class Manifest(_Model):
    """All of a snapshot but its arrays. `strategy` is the strategy's name, such as "domain"."""

    graph: str
    version: int = Field(ge=1)
    created_at: datetime
    strategy: str
    counts: Counts
    directory: FileEntry
    overlay: FileEntry
    report: FileEntry
    partitions: list[PartitionEntry]
    repair: str = ""
    """Another one after each repair of the files, "" before the first: a repair restores the same bytes, but who has
    mapped the files that it replaced must see that they are not the same any more."""

    @property
    def identity(self) -> str:
        """Return what tells this snapshot from any other that lies, or lay, at the same place: 32 hexadecimal digits.

        It covers the checksums of all files, so equal identities mean equal node numbers. Costs an encoding.
        """
        return xxhash.xxh3_128_hexdigest(encode_manifest(self))

    def same_but_for_repairs(self, other: Manifest) -> bool:
        """Tell whether two manifests describe the same files; the store's copy knows of no repair."""
        return self.model_copy(update={"repair": other.repair}) == other

    def files(self) -> list[FileEntry]:
        """Every file of the snapshot but the manifest itself."""
        return [self.directory, self.overlay, self.report, *self.partitions]

    def find_file(self, name: str) -> FileEntry | None:
        """Return the entry of a file by its name, None when the snapshot has none of that name."""
        folder, _, number = name.rpartition("/")
        if folder == PARTITION_FOLDER:
            if number.isascii() and number.isdigit() and int(number) < len(self.partitions):
                entry = self.partitions[int(number)]
                return entry if entry.file == name else None
            return None
        return next((entry for entry in (self.directory, self.overlay, self.report) if entry.file == name), None)


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the bytes of manifest.json; equal manifests give equal bytes."""
    content = orjson.dumps(manifest.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
    checksum = xxhash.xxh3_128_hexdigest(content)
    return b'{"format":%d,"checksum":"%s","content":%s}\n' % (FORMAT, checksum.encode(), content)


def decode_manifest(raw: bytes) -> Manifest:
    """Read manifest.json.

    Raises SnapshotDamaged when it is broken, and SnapshotError when it is of another format; see `manifest_format`.
    """
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise SnapshotDamaged(MANIFEST_NAME, f"is not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("format"), int):
        raise SnapshotDamaged(MANIFEST_NAME, "expected an object with a format number")
    if document["format"] > FORMAT:
        raise SnapshotError(
            f"{MANIFEST_NAME}: expected at most format {FORMAT}, found {document['format']}: "
            "it was written by a newer planmesh; serve it with that one, or load the graph again"
        )
    if document["format"] < FORMAT:
        raise SnapshotError(
            f"{MANIFEST_NAME}: expected format {FORMAT}, found {document['format']}: it was built by an earlier "
            "planmesh and is not served; the partition service rebuilds it from the store"
        )
    content = document.get("content")
    found = xxhash.xxh3_128_hexdigest(orjson.dumps(content, option=orjson.OPT_SORT_KEYS))
    if found != document.get("checksum"):
        raise SnapshotDamaged(MANIFEST_NAME, f"expected the checksum {document.get('checksum')}, found {found}")
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        raise SnapshotDamaged(
            MANIFEST_NAME, f"does not describe a snapshot: {json.dumps(error.errors()[0]['loc'])}"
        ) from error
    for number, entry in enumerate(manifest.partitions):
        if entry.number != number or entry.file != partition_file_name(number):
            raise SnapshotDamaged(MANIFEST_NAME, f"expected partition {number}, found {entry.number} in {entry.file}")
    return manifest


def manifest_format(raw: bytes) -> int:
    """Return the format number of manifest.json, whichever it is; 0 when there is none to be read."""
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return 0
    found = document.get("format") if isinstance(document, dict) else None
    return found if isinstance(found, int) else 0


def write_manifest(folder: Path, manifest: Manifest) -> FileFacts:
    """Write manifest.json into a snapshot folder, aside and then renamed."""
    path = folder / MANIFEST_NAME
    with written_aside(path) as aside:
        aside.write_bytes(encode_manifest(manifest))
    return checksum_file(path)


def read_manifest(path: Path) -> Manifest:
    """Read manifest.json from a file; see `decode_manifest`."""
    try:
        if path.stat().st_size > MANIFEST_BYTES_MAX:
            raise SnapshotDamaged(MANIFEST_NAME, f"expected at most {MANIFEST_BYTES_MAX} bytes")
        raw = path.read_bytes()
    except OSError as error:
        raise SnapshotDamaged(MANIFEST_NAME, f"cannot be read: {error.strerror or error}") from error
    return decode_manifest(raw)
