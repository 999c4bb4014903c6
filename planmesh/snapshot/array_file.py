"""One file of named arrays, memory-mapped.

The format is safetensors (https://huggingface.co/docs/safetensors): eight bytes of header length, a JSON header with
dtype, shape and offsets of each array, then the arrays. The safetensors library writes it. It sorts arrays by the size
of their elements and pads the header to a multiple of eight bytes, so every array is aligned. We read files with our
own code, because our reader must map them without copying, must check every offset, and must name the damaged file.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xxhash
from safetensors import SafetensorError
from safetensors.numpy import save_file

from planmesh.errors import SnapshotDamaged

Array = npt.NDArray[Any]

HEADER_BYTES_MAX: Final = 1 << 20
"""Most bytes of a header. Ours describe some tens of arrays and short texts."""

ARRAYS_MAX: Final = 1_000
"""Most arrays in a file."""

CHECKSUM_CHUNK_BYTES: Final = 1 << 24
"""Bytes hashed at a time."""

LENGTH_BYTES: Final = 8
"""Bytes at the start of the file that state the header's length."""

TEXT_KEY: Final = "planmesh"
"""The only key of the format's metadata. The order of several keys would not be stable."""

ASIDE_PREFIX: Final = ".aside-"
"""Prefix of the names of files that are being written. No process uses one that a crash left behind."""

DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "F64": np.dtype("<f8"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "U8": np.dtype("|u1"),
    "I8": np.dtype("|i1"),
    "BOOL": np.dtype("|b1"),
}
"""The dtypes that planmesh stores, by their name in the format."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """The size of a file and its XXH3-128 checksum in hexadecimal."""

    bytes: int
    checksum: str


@dataclass(frozen=True, slots=True)
class FileStamp:
    """Distinguishes a file from one that replaces it, and from itself after a change."""

    device: int
    inode: int
    bytes: int
    modified_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileStamp:
        """Make a stamp of the result of `os.stat` or `os.fstat`."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class ArrayFile:
    """The texts of one file and its arrays, which are read-only views of the mapping.

    The mapping lives as long as one of its arrays. `stamp` is that of the mapped file, even if by now another file is
    at `path`.
    """

    path: Path
    stamp: FileStamp
    arrays: Mapping[str, Array]
    texts: Mapping[str, str]

    def array(self, name: str) -> Array:
        """Return one array. Raises SnapshotDamaged when the file has no array of that name."""
        try:
            return self.arrays[name]
        except KeyError:
            raise SnapshotDamaged(self.path.name, f"expected an array {name!r}, found none") from None

    def prefixed(self, prefix: str) -> dict[str, Array]:
        """Return the arrays whose names start with `prefix`, by their names without it."""
        return {name[len(prefix) :]: array for name, array in self.arrays.items() if name.startswith(prefix)}


def file_stamp(path: Path) -> FileStamp | None:
    """Return the stamp of the file that is at a path now, None when there is none or it is unreadable."""
    try:
        return FileStamp.of(path.stat())
    except OSError:
        return None


def sync_folder(folder: Path) -> None:
    """Sync a folder to disk, so that the names in it survive a crash."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Sync a file to disk, so that its content survives a crash."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def written_aside(path: Path, *, sync_parent: bool = True) -> Iterator[Path]:
    """Yield a temporary path for the content, which is then synced and renamed to `path`.

    An exception removes the temporary file. `sync_parent=False` leaves the folder's sync to the caller.
    """
    aside = path.with_name(f"{ASIDE_PREFIX}{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        yield aside
        sync_file(aside)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    if sync_parent:
        sync_folder(path.parent)


def write_array_file(
    path: Path, arrays: Mapping[str, Array], texts: Mapping[str, str] | None = None, *, sync_parent: bool = True
) -> FileFacts:
    """Write arrays and texts to a temporary file, rename it to `path`, and return its size and checksum.

    Equal inputs give equal bytes. `sync_parent=False` leaves the folder's sync to a caller that writes many files.
    Raises OSError when the file cannot be written.
    """
    assert len(arrays) <= ARRAYS_MAX
    stored = {}
    for name, array in arrays.items():
        assert array.dtype in DTYPES.values(), f"{name}: {array.dtype} is not a dtype that files store"
        stored[name] = np.ascontiguousarray(array)
    metadata = {TEXT_KEY: json.dumps(dict(texts or {}), sort_keys=True)}
    with written_aside(path, sync_parent=sync_parent) as aside:
        try:
            save_file(stored, aside, metadata)
        except SafetensorError as error:
            raise OSError(f"{path}: {error}") from error
        return checksum_file(aside)


def checksum_file(path: Path, on_chunk: Callable[[int], None] | None = None) -> FileFacts:
    """Return size and XXH3-128 checksum of a file. Raises OSError when it cannot be read.

    `on_chunk` is called with the size of each chunk, at most CHECKSUM_CHUNK_BYTES. It may wait, to limit the rate, or
    raise.
    """
    hasher = xxhash.xxh3_128()
    size = 0
    buffer = bytearray(min(CHECKSUM_CHUNK_BYTES, max(1, path.stat().st_size)))
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            hasher.update(view[:count])
            size += count
            if on_chunk is not None:
                on_chunk(count)
    return FileFacts(bytes=size, checksum=hasher.hexdigest())


def verify_file(path: Path, expected: FileFacts, name: str = "", on_chunk: Callable[[int], None] | None = None) -> None:
    """Raise SnapshotDamaged unless the file has the size and checksum that the manifest states.

    The error names the file `name`, by default the last component of `path`. `on_chunk` is as in `checksum_file`.
    """
    name = name or path.name
    try:
        size = path.stat().st_size
        if size != expected.bytes:
            raise SnapshotDamaged(name, f"expected {expected.bytes} bytes, found {size}")
        found = checksum_file(path, on_chunk)
    except OSError as error:
        raise SnapshotDamaged(name, f"cannot be read: {error.strerror or error}") from error
    if found != expected:
        raise SnapshotDamaged(name, f"expected the checksum {expected.checksum}, found {found.checksum}")


def open_array_file(path: Path, name: str = "") -> ArrayFile:
    """Map a file and return its arrays without reading them.

    Raises SnapshotDamaged, which names the file `name` (its name inside the snapshot), when the file is missing or its
    header does not describe exactly the bytes of the file. It does not check the checksum; see `verify_file`.
    """
    name = name or path.name
    try:
        with path.open("rb") as file:
            stamp = FileStamp.of(os.fstat(file.fileno()))
            size = stamp.bytes
            if size < LENGTH_BYTES:
                raise SnapshotDamaged(name, f"expected a header, found {size} bytes")
            mapping = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    except OSError as error:
        raise SnapshotDamaged(name, f"cannot be opened: {error.strerror or error}") from error
    header_bytes = int.from_bytes(mapping[:LENGTH_BYTES], "little")
    if header_bytes > min(HEADER_BYTES_MAX, size - LENGTH_BYTES):
        raise SnapshotDamaged(name, f"its header claims {header_bytes} bytes of {size}")
    header = _parse_header(mapping[LENGTH_BYTES : LENGTH_BYTES + header_bytes], name)
    texts = _parse_texts(header.pop("__metadata__", None), name)
    start = LENGTH_BYTES + header_bytes
    spans = _check_spans(header, size - start, name)
    arrays = {key: _view(mapping, dtype, shape, start + begin) for key, (dtype, shape, begin) in sorted(spans.items())}
    return ArrayFile(path=path, stamp=stamp, arrays=arrays, texts=texts)


def _view(mapping: mmap.mmap, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int) -> Array:
    count = math.prod(shape)
    if count == 0:
        empty = np.empty(shape, dtype)
        empty.setflags(write=False)
        return empty
    return np.frombuffer(mapping, dtype, count, offset).reshape(shape)


def _parse_header(raw: bytes, name: str) -> dict[str, Any]:
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise SnapshotDamaged(name, f"its header is not JSON: {error}") from error
    if not isinstance(header, dict) or len(header) > ARRAYS_MAX + 1:
        raise SnapshotDamaged(name, f"its header is not an object of at most {ARRAYS_MAX} arrays")
    return header


def _parse_texts(metadata: object, name: str) -> dict[str, str]:
    if metadata is None:
        return {}
    try:
        texts = json.loads(metadata[TEXT_KEY])  # type: ignore[index]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise SnapshotDamaged(name, "its metadata is not planmesh's") from error
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise SnapshotDamaged(name, "its metadata is not an object of texts")
    return texts


def _check_spans(
    header: Mapping[str, Any], data_bytes: int, name: str
) -> dict[str, tuple[np.dtype[Any], tuple[int, ...], int]]:
    """Return dtype, shape and first byte of every array, which must cover the data without gap or overlap."""
    spans = {}
    ends = []
    for key, entry in header.items():
        try:
            dtype = DTYPES[entry["dtype"]]
            shape = tuple(entry["shape"])
            begin, end = entry["data_offsets"]
        except (KeyError, TypeError, ValueError) as error:
            raise SnapshotDamaged(name, f"array {key!r} has no dtype, shape and offsets that we know") from error
        if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
            raise SnapshotDamaged(name, f"array {key!r} has a shape or offset that is not a whole number from 0")
        if end > data_bytes or end - begin != math.prod(shape) * dtype.itemsize or begin % dtype.itemsize:
            raise SnapshotDamaged(name, f"array {key!r} claims bytes {begin} to {end} of {data_bytes}")
        spans[key] = (dtype, shape, begin)
        ends.append((begin, end))
    position = 0
    for begin, end in sorted(ends):
        if begin != position:
            raise SnapshotDamaged(name, f"bytes {position} to {begin} belong to no array, or to two")
        position = end
    if position != data_bytes:
        raise SnapshotDamaged(name, f"expected {position} bytes of arrays, found {data_bytes}")
    return spans
