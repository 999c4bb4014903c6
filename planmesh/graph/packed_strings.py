"""Many strings in one byte array, so that kernels can process them without a Python object for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from planmesh.graph.model import Int64Array, UInt8Array

SEPARATOR: Final = "\n"
"""Separates joined strings. No id or label contains it (`planmesh.graph.rules`)."""

SEPARATOR_BYTE: Final = 10


@dataclass(frozen=True, slots=True)
class PackedStrings:
    """Strings in UTF-8: string i is `blob[start[i]:end[i]]`.

    Shapes and dtypes: `blob` uint8[b], `start` and `end` int64[n]. The blob may contain bytes between the strings.
    """

    blob: UInt8Array
    start: Int64Array
    end: Int64Array

    def __len__(self) -> int:
        return len(self.start)


def pack(strings: Sequence[str]) -> PackedStrings:
    """Pack strings. A lone surrogate becomes three bytes that no valid UTF-8 contains, so it matches no id."""
    count = len(strings)
    if count == 0:
        return PackedStrings(np.zeros(0, np.uint8), np.zeros(0, np.int64), np.zeros(0, np.int64))
    joined = SEPARATOR.join(strings).encode("utf-8", "surrogatepass")
    blob = np.frombuffer(joined, dtype=np.uint8)
    separators = np.flatnonzero(blob == SEPARATOR_BYTE)
    if len(separators) != count - 1:  # a string contains a line break
        return _pack_one_by_one(strings)
    start = np.empty(count, np.int64)
    start[0] = 0
    start[1:] = separators + 1
    end = np.empty(count, np.int64)
    end[:-1] = separators
    end[-1] = len(blob)
    return PackedStrings(blob, start, end)


def _pack_one_by_one(strings: Sequence[str]) -> PackedStrings:
    encoded = [string.encode("utf-8", "surrogatepass") for string in strings]
    end = np.cumsum(np.fromiter((len(one) for one in encoded), np.int64, len(encoded)))
    start = np.empty_like(end)
    start[0] = 0
    start[1:] = end[:-1]
    return PackedStrings(np.frombuffer(b"".join(encoded), dtype=np.uint8), start, end)


def unpack(packed: PackedStrings) -> list[str]:
    """Return the strings that were packed."""
    data = packed.blob.tobytes()
    return [
        data[first:last].decode("utf-8", "surrogatepass")
        for first, last in zip(packed.start.tolist(), packed.end.tolist(), strict=True)
    ]
