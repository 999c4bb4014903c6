"""The manifest: the content of a snapshot, with sizes and checksums of its files.

It is JSON with three fields: `format`, `checksum` and `content`. The checksum covers the content, so a damaged manifest
is detected like any other damaged file. Any format other than ours is refused, with its number. A newer planmesh wrote
a greater one; the partition service rebuilds a smaller one from the store.
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
"""The format that this version writes. It is increased when an older reader would misread a snapshot, and when files of
an older writer may be wrong: an index of format 1 may lack shortcuts, because the search for them stopped early.
"""

MANIFEST_NAME: Final = "manifest.json"
DIRECTORY_NAME: Final = "directory"
OVERLAY_NAME: Final = "overlay"
REPORT_NAME: Final = "report"
PARTITION_FOLDER: Final = "partitions"

MANIFEST_BYTES_MAX: Final = 1 << 28
"""Most bytes of a manifest. 100,000 partitions take some 40 MB."""


def partition_file_name(partition: int) -> str:
    """Return the name of a partition's file inside the snapshot."""
    return f"{PARTITION_FOLDER}/{partition:05d}"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Model):
    """A file of the snapshot: its name inside the folder, its size, and its XXH3-128 checksum in hexadecimal."""

    file: str
    bytes: int
    checksum: str

    @property
    def facts(self) -> FileFacts:
        """Size and checksum, as `verify_file` takes them."""
        return FileFacts(bytes=self.bytes, checksum=self.checksum)


class PartitionEntry(FileEntry):
    """The file of one partition and its counts from the partition report. The report file has its neighbours."""

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
    """Totals of the graph. `edges` counts directed edges, with parallel ones merged and without self-loops."""

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
    """Everything about a snapshot except its arrays. `strategy` is the strategy's name, such as "domain"."""

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
    """A token that each repair of the files renews, "" before the first. A repair restores the same bytes, but a
    process that has mapped the replaced files must notice that there are new ones."""

    @property
    def identity(self) -> str:
        """Return 32 hexadecimal digits that distinguish this snapshot from any other one, past or present.

        It covers the checksums of all files, so equal identities mean equal node numbers. Each call encodes the
        manifest.
        """
        return xxhash.xxh3_128_hexdigest(encode_manifest(self))

    def same_but_for_repairs(self, other: Manifest) -> bool:
        """Return whether two manifests describe the same files. The copy in the store does not record repairs."""
        return self.model_copy(update={"repair": other.repair}) == other

    def files(self) -> list[FileEntry]:
        """Return every file of the snapshot except the manifest itself."""
        return [self.directory, self.overlay, self.report, *self.partitions]

    def find_file(self, name: str) -> FileEntry | None:
        """Return the entry of a file by its name, None when the snapshot has no such file."""
        folder, _, number = name.rpartition("/")
        if folder == PARTITION_FOLDER:
            if number.isascii() and number.isdigit() and int(number) < len(self.partitions):
                entry = self.partitions[int(number)]
                return entry if entry.file == name else None
            return None
        return next((entry for entry in (self.directory, self.overlay, self.report) if entry.file == name), None)


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the bytes of manifest.json. Equal manifests give equal bytes."""
    content = orjson.dumps(manifest.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
    checksum = xxhash.xxh3_128_hexdigest(content)
    return b'{"format":%d,"checksum":"%s","content":%s}\n' % (FORMAT, checksum.encode(), content)


def decode_manifest(raw: bytes) -> Manifest:
    """Decode and check the bytes of manifest.json.

    Raises SnapshotDamaged when they are damaged, and SnapshotError when they have another format; see
    `manifest_format`.
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
            "a newer planmesh wrote it; serve it with that version, or load the graph again"
        )
    if document["format"] < FORMAT:
        raise SnapshotError(
            f"{MANIFEST_NAME}: expected format {FORMAT}, found {document['format']}: an earlier planmesh built it, so "
            "it is not served; the partition service rebuilds it from the store"
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
    """Return the format number of manifest.json, whether or not we support it; 0 when it is unreadable."""
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return 0
    found = document.get("format") if isinstance(document, dict) else None
    return found if isinstance(found, int) else 0


def write_manifest(folder: Path, manifest: Manifest) -> FileFacts:
    """Write manifest.json into a snapshot folder by one rename, and return its facts."""
    path = folder / MANIFEST_NAME
    with written_aside(path) as aside:
        aside.write_bytes(encode_manifest(manifest))
    return checksum_file(path)


def read_manifest(path: Path) -> Manifest:
    """Read manifest.json from a file. Raises as `decode_manifest` does, and SnapshotDamaged when it cannot be read."""
    try:
        if path.stat().st_size > MANIFEST_BYTES_MAX:
            raise SnapshotDamaged(MANIFEST_NAME, f"expected at most {MANIFEST_BYTES_MAX} bytes")
        raw = path.read_bytes()
    except OSError as error:
        raise SnapshotDamaged(MANIFEST_NAME, f"cannot be read: {error.strerror or error}") from error
    return decode_manifest(raw)
