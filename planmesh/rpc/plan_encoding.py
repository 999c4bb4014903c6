"""Encodes many plans for the wire at once, directly from the directory's arrays; see `planmesh.rpc.step_encoding`."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array, Int64Array, UInt8Array
from planmesh.kernels import kernel
from planmesh.rpc.step_encoding import (
    encode_steps,
    little_endian_bytes,
    put_steps,
    put_text,
    step_sizes,
    steps_size,
    text_size,
    text_table,
)
from planmesh.search.read_only import read_only

START_TAG: Final = 3 << 3 | 2
GOAL_TAG: Final = 4 << 3 | 2
COST_TAG: Final = 5 << 3 | 1
PARTITIONS_TAG: Final = 7 << 3 | 2
"""Field number and wire type in planmesh.v1.Plan."""


class TextTables(NamedTuple):
    """Ids of nodes and names of partitions: text i is `blob[offsets[i]:offsets[i + 1]]` (uint8, int64)."""

    id_offsets: Int64Array
    id_blob: UInt8Array
    name_offsets: Int64Array
    name_blob: UInt8Array


class EncodedPlans(NamedTuple):
    """q serialised v1.Plan messages: plan i is `blob[first[i]:first[i + 1]]` (uint8, int64[q + 1]).

    `partition_count` int32[q] is the number of partitions on each path.
    """

    first: Int64Array
    blob: UInt8Array
    partition_count: Int32Array


@kernel
def first_visits(partitions: Int32Array) -> Int32Array:
    """Return the distinct partitions of a path (int32) in the order of the first visit."""
    visited = np.empty(len(partitions), np.int32)
    count = 0
    for position in range(len(partitions)):
        partition = partitions[position]
        if position > 0 and partition == partitions[position - 1]:
            continue
        known = False
        for other in range(count):
            if visited[other] == partition:
                known = True
                break
        if not known:
            visited[count] = partition
            count += 1
    return visited[:count]


@kernel
def head_size(prefix_bytes: int, start: int, goal: int, texts: TextTables) -> int:
    """Return the bytes that `put_head` writes."""
    return prefix_bytes + text_size(texts.id_offsets, start) + text_size(texts.id_offsets, goal) + 9


@kernel
def put_head(
    out: UInt8Array, at: int, prefix: UInt8Array, start: int, goal: int, total_bytes: UInt8Array, texts: TextTables
) -> int:
    """Write `prefix`, start, goal and cost of a plan at position `at`, and return the position after them."""
    out[at : at + len(prefix)] = prefix
    at = put_text(out, at + len(prefix), START_TAG, texts.id_offsets, texts.id_blob, start)
    at = put_text(out, at, GOAL_TAG, texts.id_offsets, texts.id_blob, goal)
    out[at] = COST_TAG
    out[at + 1 : at + 9] = total_bytes
    return at + 9


@kernel
def plan_sizes(
    prefix_bytes: int, path_first: Int64Array, nodes: Int32Array, partitions: Int32Array, texts: TextTables
) -> Int64Array:
    """Return the bytes of each plan (int64[q]) as `encode_plans` writes it."""
    sizes = np.empty(len(path_first) - 1, np.int64)
    for query in range(len(sizes)):
        low, high = path_first[query], path_first[query + 1]
        size = head_size(prefix_bytes, nodes[low], nodes[high - 1], texts)
        size += steps_size(step_sizes(nodes[low:high], partitions[low:high], texts.id_offsets, texts.name_offsets))
        for partition in first_visits(partitions[low:high]):
            size += text_size(texts.name_offsets, partition)
        sizes[query] = size
    return sizes


@kernel
def _encode(
    prefix: UInt8Array,
    sizes: Int64Array,
    path_first: Int64Array,
    nodes: Int32Array,
    partitions: Int32Array,
    cost_bytes: UInt8Array,
    total_bytes: UInt8Array,
    texts: TextTables,
) -> tuple[Int64Array, UInt8Array, Int32Array]:
    count = len(sizes)
    first = np.zeros(count + 1, np.int64)
    partition_count = np.empty(count, np.int32)
    out = np.empty(sizes.sum(), np.uint8)
    at = 0
    for query in range(count):
        low, high = path_first[query], path_first[query + 1]
        at = put_head(out, at, prefix, nodes[low], nodes[high - 1], total_bytes[8 * query : 8 * query + 8], texts)
        at = put_steps(
            out,
            at,
            step_sizes(nodes[low:high], partitions[low:high], texts.id_offsets, texts.name_offsets),
            nodes[low:high],
            partitions[low:high],
            cost_bytes[8 * (low - query) : 8 * (high - query - 1)],
            texts.id_offsets,
            texts.id_blob,
            texts.name_offsets,
            texts.name_blob,
        )
        visits = first_visits(partitions[low:high])
        partition_count[query] = len(visits)
        for partition in visits:
            at = put_text(out, at, PARTITIONS_TAG, texts.name_offsets, texts.name_blob, partition)
        first[query + 1] = at
    return first, out, partition_count


def encode_plans(
    prefix: bytes,
    sizes: Int64Array,
    path_first: Int64Array,
    nodes: Int32Array,
    partitions: Int32Array,
    costs: Float64Array,
    totals: Float64Array,
    texts: TextTables,
) -> EncodedPlans:
    """Serialise q plans. `sizes` int64[q] come from `plan_sizes`, `prefix` is the serialised graph and version.

    Path i has the nodes `nodes[path_first[i]:path_first[i + 1]]` (int32, at least one; int64[q + 1]), of `partitions`
    (int32), and the costs at `path_first[i]` - i and following (float64). `totals` float64[q] are the plans' costs.
    """
    return EncodedPlans(
        *_encode(
            read_only(np.frombuffer(prefix, np.uint8), np.uint8),
            read_only(sizes, np.int64),
            read_only(path_first, np.int64),
            read_only(nodes, np.int32),
            read_only(partitions, np.int32),
            read_only(little_endian_bytes(costs), np.uint8),
            read_only(little_endian_bytes(totals), np.uint8),
            texts,
        )
    )


def warm() -> None:
    """Compile the kernels of this module and `step_encoding`, or load them from Numba's cache."""
    offsets, blob = (read_only(array, array.dtype.type) for array in text_table(["a", "b"]))
    texts = TextTables(offsets, blob, offsets, blob)
    first, zero = read_only(np.array([0, 2]), np.int64), read_only(np.zeros(2, np.int32), np.int32)
    encode_steps(zero, zero, read_only(little_endian_bytes(np.zeros(1)), np.uint8), *texts)
    sizes = plan_sizes(0, first, zero, zero, texts)
    encode_plans(b"", sizes, first, zero, zero, np.zeros(1), np.zeros(1), texts)
