"""Encodes plans of the details COST and NODES for the wire; `planmesh.rpc.plan_encoding` encodes those with steps."""

from __future__ import annotations

from typing import Final

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array, Int64Array, UInt8Array
from planmesh.kernels import kernel
from planmesh.rpc.plan_encoding import PARTITIONS_TAG, EncodedPlans, TextTables, first_visits, head_size, put_head
from planmesh.rpc.step_encoding import little_endian_bytes, put_text, put_varint, text_size, text_table, varint_size
from planmesh.search.read_only import read_only

NODES_TAG: Final = 12 << 3 | 2
STEP_COSTS_TAG: Final = 13 << 3 | 2
RUN_PARTITIONS_TAG: Final = 14 << 3 | 2
RUN_LENGTHS_TAG: Final = 15 << 3 | 2
"""Field number and wire type in planmesh.v1.Plan; the numbers of a field are packed."""


@kernel
def _encode_costs(
    prefix: UInt8Array,
    start: Int32Array,
    goal: Int32Array,
    total_bytes: UInt8Array,
    visit_first: Int64Array,
    partitions: Int32Array,
    texts: TextTables,
) -> tuple[Int64Array, UInt8Array, Int32Array]:
    count = len(start)
    first = np.zeros(count + 1, np.int64)
    partition_count = np.empty(count, np.int32)
    visited = np.empty(len(partitions), np.int32)
    end = 0
    for query in range(count):
        size = head_size(len(prefix), start[query], goal[query], texts)
        visits = first_visits(partitions[visit_first[query] : visit_first[query + 1]])
        for partition in visits:
            size += text_size(texts.name_offsets, partition)
            visited[end] = partition
            end += 1
        partition_count[query] = len(visits)
        first[query + 1] = first[query] + size
    out = np.empty(first[count], np.uint8)
    end = 0
    for query in range(count):
        at = put_head(
            out, first[query], prefix, start[query], goal[query], total_bytes[8 * query : 8 * query + 8], texts
        )
        for _ in range(partition_count[query]):
            at = put_text(out, at, PARTITIONS_TAG, texts.name_offsets, texts.name_blob, visited[end])
            end += 1
    return first, out, partition_count


def encode_costs(
    prefix: bytes,
    start: Int32Array,
    goal: Int32Array,
    totals: Float64Array,
    visit_first: Int64Array,
    partitions: Int32Array,
    texts: TextTables,
) -> EncodedPlans:
    """Serialise q plans of detail COST. `prefix` is the serialised graph, version and detail.

    `start` and `goal` int32[q] are global node numbers, `totals` float64[q] the plans' costs. Path i passes the
    partitions `partitions[visit_first[i]:visit_first[i + 1]]` (int32, possibly repeated; int64[q + 1]).
    """
    return EncodedPlans(
        *_encode_costs(
            read_only(np.frombuffer(prefix, np.uint8), np.uint8),
            read_only(start, np.int32),
            read_only(goal, np.int32),
            read_only(little_endian_bytes(totals), np.uint8),
            read_only(visit_first, np.int64),
            read_only(partitions, np.int32),
            texts,
        )
    )


@kernel
def _runs(partitions: Int32Array, visits: Int32Array) -> tuple[Int32Array, Int32Array]:
    """Return the runs of equal numbers: the position of each run's number in `visits`, and its length (int32)."""
    positions = np.empty(len(partitions), np.int32)
    lengths = np.empty(len(partitions), np.int32)
    count = 0
    for node in range(len(partitions)):
        if node > 0 and partitions[node] == partitions[node - 1]:
            lengths[count - 1] += 1
            continue
        for position in range(len(visits)):
            if visits[position] == partitions[node]:
                positions[count] = position
                break
        lengths[count] = 1
        count += 1
    return positions[:count], lengths[:count]


@kernel
def _packed_size(numbers: Int32Array) -> int:
    """Return the bytes of packed varints, without tag and length."""
    size = 0
    for number in numbers:
        size += varint_size(number)
    return size


@kernel
def _put_packed(out: UInt8Array, at: int, tag: int, numbers: Int32Array) -> int:
    """Write numbers as a packed field at position `at`, and return the position after it."""
    out[at] = tag
    at = put_varint(out, at + 1, _packed_size(numbers))
    for number in numbers:
        at = put_varint(out, at, number)
    return at


@kernel
def _field_size(content: int) -> int:
    """Return the bytes of a length-delimited field whose tag takes one byte."""
    return 1 + varint_size(content) + content


@kernel
def node_sizes(
    prefix_bytes: int, path_first: Int64Array, nodes: Int32Array, partitions: Int32Array, texts: TextTables
) -> Int64Array:
    """Return the bytes of each plan (int64[q]) as `encode_nodes` writes it."""
    sizes = np.empty(len(path_first) - 1, np.int64)
    for query in range(len(sizes)):
        low, high = path_first[query], path_first[query + 1]
        size = head_size(prefix_bytes, nodes[low], nodes[high - 1], texts)
        for position in range(low, high):
            size += text_size(texts.id_offsets, nodes[position])
        if high - low > 1:
            size += _field_size(8 * (high - low - 1))
        visits = first_visits(partitions[low:high])
        for partition in visits:
            size += text_size(texts.name_offsets, partition)
        run_partitions, run_lengths = _runs(partitions[low:high], visits)
        size += _field_size(_packed_size(run_partitions)) + _field_size(_packed_size(run_lengths))
        sizes[query] = size
    return sizes


@kernel
def _encode_nodes(
    prefix: UInt8Array,
    sizes: Int64Array,
    path_first: Int64Array,
    nodes: Int32Array,
    partitions: Int32Array,
    cost_bytes: UInt8Array,
    total_bytes: UInt8Array,
    texts: TextTables,
) -> tuple[Int64Array, UInt8Array, Int32Array]:
    first = np.zeros(len(sizes) + 1, np.int64)
    partition_count = np.empty(len(sizes), np.int32)
    out = np.empty(sizes.sum(), np.uint8)
    at = 0
    for query in range(len(sizes)):
        low, high = path_first[query], path_first[query + 1]
        at = put_head(out, at, prefix, nodes[low], nodes[high - 1], total_bytes[8 * query : 8 * query + 8], texts)
        visits = first_visits(partitions[low:high])
        partition_count[query] = len(visits)
        for partition in visits:
            at = put_text(out, at, PARTITIONS_TAG, texts.name_offsets, texts.name_blob, partition)
        for position in range(low, high):
            at = put_text(out, at, NODES_TAG, texts.id_offsets, texts.id_blob, nodes[position])
        if high - low > 1:
            begin, end = 8 * (low - query), 8 * (high - query - 1)
            out[at] = STEP_COSTS_TAG
            at = put_varint(out, at + 1, end - begin)
            out[at : at + end - begin] = cost_bytes[begin:end]
            at += end - begin
        run_partitions, run_lengths = _runs(partitions[low:high], visits)
        at = _put_packed(out, at, RUN_PARTITIONS_TAG, run_partitions)
        at = _put_packed(out, at, RUN_LENGTHS_TAG, run_lengths)
        first[query + 1] = at
    return first, out, partition_count


def encode_nodes(
    prefix: bytes,
    sizes: Int64Array,
    path_first: Int64Array,
    nodes: Int32Array,
    partitions: Int32Array,
    costs: Float64Array,
    totals: Float64Array,
    texts: TextTables,
) -> EncodedPlans:
    """Serialise q plans of detail NODES. `sizes` int64[q] come from `node_sizes`.

    `prefix` is the serialised graph, version and detail. The other arguments are those of `encode_plans`.
    """
    cost_bytes, total_bytes = little_endian_bytes(costs), little_endian_bytes(totals)
    return EncodedPlans(
        *_encode_nodes(
            read_only(np.frombuffer(prefix, np.uint8), np.uint8),
            read_only(sizes, np.int64),
            read_only(path_first, np.int64),
            read_only(nodes, np.int32),
            read_only(partitions, np.int32),
            read_only(cost_bytes, np.uint8),
            read_only(total_bytes, np.uint8),
            texts,
        )
    )


def warm() -> None:
    """Compile the kernels of this module, or load them from Numba's cache."""
    offsets, blob = (read_only(array, array.dtype.type) for array in text_table(["a", "b"]))
    texts = TextTables(offsets, blob, offsets, blob)
    first, zero = read_only(np.array([0, 2]), np.int64), read_only(np.zeros(2, np.int32), np.int32)
    encode_costs(b"", zero[:1], zero[:1], np.zeros(1), first, zero, texts)
    sizes = node_sizes(0, first, zero, zero, texts)
    encode_nodes(b"", sizes, first, zero, zero, np.zeros(1), np.zeros(1), texts)
