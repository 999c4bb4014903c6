"""A file that is read once from its beginning and decompressed on the way; every error names the file."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import BinaryIO, Final, Self, cast

from planmesh.errors import InvalidGraph

BLOCK_BYTES: Final = 1 << 20
"""Bytes of one read."""

GZIP_SUFFIX: Final = ".gz"


def format_suffix(path: Path) -> str:
    """Return the suffix that determines the format, in lower case: ".csv" for "edges.csv.gz"."""
    name = path.name.lower().removesuffix(GZIP_SUFFIX)
    return Path(name).suffix


class InputFile:
    """One input file, to be read inside a `with` block; messages call it `name`.

    The constructor raises InvalidGraph when the file is missing, is a directory, or may not be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.bytes_read = 0
        try:
            if path.is_dir():
                raise InvalidGraph("expected a file, got a directory", source=str(path))
            self.bytes_total = path.stat().st_size
            path.open("rb").close()
        except OSError as error:
            reason = error.strerror or str(error)
            raise InvalidGraph(f"the file cannot be read: {reason}", source=str(path)) from error

    def __enter__(self) -> Self:
        self._raw: BinaryIO = self.path.open("rb")
        packed = self.name.lower().endswith(GZIP_SUFFIX)
        self._stream = cast("BinaryIO", gzip.GzipFile(fileobj=self._raw, mode="rb")) if packed else self._raw
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._raw.close()

    def read(self, size_bytes: int = BLOCK_BYTES, record: str = "") -> bytes:
        """Return up to `size_bytes` bytes, b"" at the end; `record` is the reader's place, for messages."""
        try:
            block = self._stream.read(size_bytes)
        except EOFError as error:
            raise InvalidGraph(
                "the compressed file ends too early; is it truncated?", source=self.name, record=record
            ) from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise InvalidGraph(f"invalid gzip file: {error}", source=self.name, record=record) from error
        except OSError as error:
            reason = error.strerror or str(error)
            raise InvalidGraph(f"the file cannot be read: {reason}", source=self.name, record=record) from error
        self.bytes_read = self._raw.tell()
        return block

    def read_whole(self, bytes_max: int) -> bytes:
        """Return the whole file. Raises InvalidGraph when it is larger than `bytes_max`."""
        blocks, size_bytes = [], 0
        while block := self.read():
            blocks.append(block)
            size_bytes += len(block)
            if size_bytes > bytes_max:
                raise InvalidGraph(
                    f"expected at most {bytes_max:,} bytes of a format that is read as a whole; "
                    "use CSV or Parquet for larger graphs",
                    source=self.name,
                )
        return b"".join(blocks)
