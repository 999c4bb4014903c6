"""Encodes the steps of a plan for the wire, directly from the directory's arrays.

For a path of 400 steps, protobuf's Python classes take half a millisecond to name and serialise the steps, a third of
the coordinator's work for a plan; this kernel takes some microseconds. The encoding is that of a `repeated Step steps =
6` in planmesh/v1/plan.proto. A test decodes it with protobuf's own parser.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array, Int64Array, UInt8Array
from planmesh.kernels import kernel

STEPS_TAG: Final = 6 << 3 | 2
SOURCE_TAG: Final = 1 << 3 | 2
TARGET_TAG: Final = 2 << 3 | 2
COST_TAG: Final = 3 << 3 | 1
SOURCE_PARTITION_TAG: Final = 4 << 3 | 2
TARGET_PARTITION_TAG: Final = 5 << 3 | 2
"""Field number and wire type: 2 is length-delimited, 1 is eight bytes."""


@kernel
def varint_size(value: int) -> int:
    """Return the bytes of a varint."""
    size = 1
    while value >= 128:
        value >>= 7
        size += 1
    return size


@kernel
def put_varint(out: UInt8Array, at: int, value: int) -> int:
    """Write a varint at position `at`, and return the position after it."""
    while value >= 128:
        out[at] = (value & 127) | 128
        value >>= 7
        at += 1
    out[at] = value
    return at + 1


@kernel
def put_text(out: UInt8Array, at: int, tag: int, offsets: Int64Array, blob: UInt8Array, which: int) -> int:
    """Write a text of a table as a field at position `at`, and return the position after it."""
    out[at] = tag
    begin, end = offsets[which], offsets[which + 1]
    at = put_varint(out, at + 1, end - begin)
    for position in range(begin, end):
        out[at] = blob[position]
        at += 1
    return at


@kernel
def text_size(offsets: Int64Array, which: int) -> int:
    """Return the bytes of a text of a table as a field whose tag takes one byte."""
    length = offsets[which + 1] - offsets[which]
    return int(1 + varint_size(length) + length)


@kernel
def step_sizes(
    nodes: Int32Array, partitions: Int32Array, id_offsets: Int64Array, name_offsets: Int64Array
) -> Int64Array:
    """Return the bytes of each serialised Step (int64[k - 1]) of a path of k nodes."""
    sizes = np.empty(max(len(nodes) - 1, 0), np.int64)
    for step in range(len(sizes)):
        sizes[step] = (
            9
            + text_size(id_offsets, nodes[step])
            + text_size(id_offsets, nodes[step + 1])
            + text_size(name_offsets, partitions[step])
            + text_size(name_offsets, partitions[step + 1])
        )
    return sizes


@kernel
def steps_size(sizes: Int64Array) -> int:
    """Return the bytes of the field `steps` whose elements have these sizes."""
    total = 0
    for size in sizes:
        total += 1 + varint_size(size) + size
    return total


@kernel
def put_steps(
    out: UInt8Array,
    at: int,
    sizes: Int64Array,
    nodes: Int32Array,
    partitions: Int32Array,
    cost_bytes: UInt8Array,
    id_offsets: Int64Array,
    id_blob: UInt8Array,
    name_offsets: Int64Array,
    name_blob: UInt8Array,
) -> int:
    """Write the field `steps` at position `at`, and return the position after it. The arguments are as below."""
    for step in range(len(sizes)):
        out[at] = STEPS_TAG
        at = put_varint(out, at + 1, sizes[step])
        at = put_text(out, at, SOURCE_TAG, id_offsets, id_blob, nodes[step])
        at = put_text(out, at, TARGET_TAG, id_offsets, id_blob, nodes[step + 1])
        out[at] = COST_TAG
        out[at + 1 : at + 9] = cost_bytes[8 * step : 8 * step + 8]
        at += 9
        at = put_text(out, at, SOURCE_PARTITION_TAG, name_offsets, name_blob, partitions[step])
        at = put_text(out, at, TARGET_PARTITION_TAG, name_offsets, name_blob, partitions[step + 1])
    return at


@kernel
def encode_steps(
    nodes: Int32Array,
    partitions: Int32Array,
    cost_bytes: UInt8Array,
    id_offsets: Int64Array,
    id_blob: UInt8Array,
    name_offsets: Int64Array,
    name_blob: UInt8Array,
) -> UInt8Array:
    """Return the steps of a path as bytes (uint8[]) of the field `steps` of a serialised v1.Plan.

    `nodes` int32[k] are global node numbers and `partitions` int32[k] their partitions. `cost_bytes` uint8[8 (k - 1)]
    are the edges' costs as little-endian float64. Texts are tables: text i is `blob[offsets[i]:offsets[i + 1]]` (uint8,
    int64).
    """
    sizes = step_sizes(nodes, partitions, id_offsets, name_offsets)
    out = np.empty(steps_size(sizes), np.uint8)
    put_steps(out, 0, sizes, nodes, partitions, cost_bytes, id_offsets, id_blob, name_offsets, name_blob)
    return out


def text_table(texts: list[str]) -> tuple[Int64Array, UInt8Array]:
    """Return texts as a table: offsets int64[k + 1] and their UTF-8 bytes, uint8[]."""
    encoded = [text.encode() for text in texts]
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return offsets, np.frombuffer(b"".join(encoded), np.uint8)


def little_endian_bytes(costs: Float64Array) -> UInt8Array:
    """Return float64[k] as uint8[8 k] in the order of the wire."""
    return np.ascontiguousarray(costs, "<f8").view(np.uint8)
