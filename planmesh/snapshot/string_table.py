"""Short lists of strings as two arrays, so that array files can store them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from planmesh.snapshot.array_file import Array


def encode_strings(strings: Sequence[str]) -> dict[str, Array]:
    """Return `offsets` int64[n + 1] and `blob` uint8[]: string i is the UTF-8 at offsets[i] to offsets[i + 1]."""
    encoded = [text.encode() for text in strings]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return {"offsets": offsets, "blob": np.frombuffer(b"".join(encoded), np.uint8)}


def decode_string(arrays: Mapping[str, Array], number: int) -> str:
    """Return string `number` of the arrays that `encode_strings` returned."""
    offsets = arrays["offsets"]
    return arrays["blob"][offsets[number] : offsets[number + 1]].tobytes().decode()


def decode_strings(arrays: Mapping[str, Array]) -> list[str]:
    """Return all strings of the arrays that `encode_strings` returned."""
    blob = arrays["blob"].tobytes()
    offsets = arrays["offsets"].tolist()
    return [blob[start:end].decode() for start, end in pairwise(offsets)]
