"""Loops over packed ids: an open-addressing hash table, a radix sort and a binary search, all on plain arrays.

A slot of the table is a uint64. Its upper 32 bits are the upper half of the id's hash, which also determines the slot's
position; its lower 32 bits are the node number + 1. A free slot is 0. So the table grows without reading the ids, and
most unsuccessful probes do not read them either.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from planmesh.graph.model import BoolArray, Int32Array, Int64Array, UInt8Array
from planmesh.kernels import kernel

SORT_INSERTION_MAX: Final = 24
"""Largest group that is sorted by insertion."""

_BUCKETS: Final = 257
_LOW_32_BITS: Final = np.uint64(0xFFFFFFFF)
_SHIFT_32: Final = np.uint64(32)
_PRIME_A: Final = np.uint64(0x9E3779B97F4A7C15)
_PRIME_B: Final = np.uint64(0xC2B2AE3D27D4EB4F)
_PRIME_C: Final = np.uint64(0x165667B19E3779F9)


@kernel(inline=True)
def _mix(value: np.uint64) -> np.uint64:
    """Apply the 64-bit finaliser of MurmurHash3."""
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xFF51AFD7ED558CCD)
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xC4CEB9FE1A85EC53)
    value ^= value >> np.uint64(33)
    return value


@kernel
def hash_bytes(blob: UInt8Array, start: int, end: int) -> np.uint64:
    """Return a 64-bit hash of `blob[start:end]`. It reads eight bytes at a time."""
    state = _PRIME_A ^ (np.uint64(end - start) * _PRIME_C)
    position = start
    while position + 8 <= end:
        word = np.uint64(0)
        for i in range(8):
            word |= np.uint64(blob[position + i]) << np.uint64(8 * i)
        state = (state ^ _mix(word * _PRIME_B)) * _PRIME_A + _PRIME_C
        position += 8
    word = np.uint64(0)
    shift = np.uint64(0)
    while position < end:
        word |= np.uint64(blob[position]) << shift
        shift += np.uint64(8)
        position += 1
    return _mix(state ^ (word * _PRIME_B))


@kernel(inline=True)
def _same_bytes(blob_a: UInt8Array, start_a: int, end_a: int, blob_b: UInt8Array, start_b: int, end_b: int) -> bool:
    if end_a - start_a != end_b - start_b:
        return False
    for i in range(end_a - start_a):  # noqa: SIM110 - numba has no all() over a generator
        if blob_a[start_a + i] != blob_b[start_b + i]:
            return False
    return True


@kernel
def grow_table(table: np.ndarray, larger: np.ndarray, larger_bits: int) -> None:
    """Copy the slots of a table, uint64[2**b], into a larger empty one."""
    mask = len(larger) - 1
    shift = np.uint64(64 - larger_bits)
    for slot in table:
        if slot != 0:
            place = np.int64(slot >> shift)
            while larger[place] != 0:
                place = (place + 1) & mask
            larger[place] = slot


@kernel
def insert_ids(
    table: np.ndarray,
    table_bits: int,
    offsets: Int64Array,
    blob: UInt8Array,
    node_count: int,
    ids: UInt8Array,
    start: Int64Array,
    end: Int64Array,
    insert: bool,
    numbers: Int32Array,
    is_new: BoolArray,
) -> int:
    """Look up packed ids, with `insert` append the unknown ones, and return the new number of nodes.

    The caller has made room for every id in `table`, `offsets` and `blob`. Writes `numbers`, -1 for an id that is
    unknown and not inserted, and `is_new`.
    """
    mask = len(table) - 1
    shift = np.uint64(64 - table_bits)
    for i in range(len(start)):
        tag = hash_bytes(ids, start[i], end[i]) >> _SHIFT_32
        place = np.int64((tag << _SHIFT_32) >> shift)
        number = np.int64(-1)
        while True:
            slot = table[place]
            if slot == 0:
                break
            if slot >> _SHIFT_32 == tag:
                candidate = np.int64(slot & _LOW_32_BITS) - 1  # int() would keep it unsigned
                if _same_bytes(blob, offsets[candidate], offsets[candidate + 1], ids, start[i], end[i]):
                    number = candidate
                    break
            place = (place + 1) & mask
        is_new[i] = False
        if number < 0 and insert:
            number = np.int64(node_count)
            is_new[i] = True
            first = offsets[number]
            length = end[i] - start[i]
            for j in range(length):
                blob[first + j] = ids[start[i] + j]
            offsets[number + 1] = first + length
            table[place] = (tag << _SHIFT_32) | np.uint64(number + 1)
            node_count += 1
        numbers[i] = number
    return node_count


@kernel
def _compare(blob_a: UInt8Array, start_a: int, end_a: int, blob_b: UInt8Array, start_b: int, end_b: int) -> int:
    """Compare two ids byte by byte; return less than 0 if a sorts before b, 0 if they are equal, else more than 0."""
    length_a, length_b = end_a - start_a, end_b - start_b
    for i in range(min(length_a, length_b)):
        byte_a, byte_b = blob_a[start_a + i], blob_b[start_b + i]
        if byte_a != byte_b:
            return -1 if byte_a < byte_b else 1
    return length_a - length_b


@kernel
def first_disorder(offsets: Int64Array, blob: UInt8Array, order: Int32Array) -> int:
    """Return the first position in `order` whose id is not greater than the previous one, -1 if there is none."""
    for place in range(1, len(order)):
        before, node = order[place - 1], order[place]
        if _compare(blob, offsets[before], offsets[before + 1], blob, offsets[node], offsets[node + 1]) >= 0:
            return place
    return -1


@kernel
def _sort_by_insertion(
    offsets: Int64Array, blob: UInt8Array, order: Int32Array, first: int, last: int, depth: int
) -> None:
    for i in range(first + 1, last):
        node = order[i]
        start, end = offsets[node] + depth, offsets[node + 1]
        j = i - 1
        while j >= first:
            other = order[j]
            if _compare(blob, offsets[other] + depth, offsets[other + 1], blob, start, end) <= 0:
                break
            order[j + 1] = other
            j -= 1
        order[j + 1] = node


@kernel
def sort_ids(offsets: Int64Array, blob: UInt8Array) -> Int32Array:
    """Return the nodes in ascending byte order of their ids, int32[n]: a radix sort from the first byte on (MSD).

    It takes time linear in the bytes that distinguish the ids. Its stack has at most 257 groups for each byte of depth.
    """
    count = len(offsets) - 1
    order = np.arange(count).astype(np.int32)
    moved = np.empty(count, np.int32)
    bucket = np.empty(count, np.uint16)
    stack = [(0, count, 0)]
    first_of = np.empty(_BUCKETS + 1, np.int64)
    while len(stack) > 0:
        first, last, depth = stack.pop()
        if last - first <= SORT_INSERTION_MAX:
            _sort_by_insertion(offsets, blob, order, first, last, depth)
            continue
        first_of[:] = 0
        for i in range(first, last):
            node = order[i]
            place = offsets[node] + depth
            key = 0 if place >= offsets[node + 1] else np.int64(blob[place]) + 1  # an id that ends here comes first
            bucket[i] = key
            first_of[key + 1] += 1
        for key in range(_BUCKETS):
            first_of[key + 1] += first_of[key]
        for key in range(1, _BUCKETS):
            if first_of[key + 1] - first_of[key] > 1:
                stack.append((first + first_of[key], first + first_of[key + 1], depth + 1))  # noqa: PERF401 - as above
        for i in range(first, last):
            key = bucket[i]
            moved[first + first_of[key]] = order[i]
            first_of[key] += 1
        order[first:last] = moved[first:last]
    return order


@kernel
def place_in_order(
    offsets: Int64Array, blob: UInt8Array, order: Int32Array, ids: UInt8Array, start: int, end: int
) -> int:
    """Return the first position in `order` whose id does not sort before the given one."""
    low, high = 0, len(order)
    while low < high:
        middle = (low + high) >> 1
        node = order[middle]
        if _compare(blob, offsets[node], offsets[node + 1], ids, start, end) < 0:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def find_one(
    offsets: Int64Array, blob: UInt8Array, order: Int32Array, ids: UInt8Array, start: int, end: int
) -> np.int64:
    """Return the node of an id by binary search, -1 for an unknown one."""
    place = place_in_order(offsets, blob, order, ids, start, end)
    if place < len(order):
        node = order[place]
        if _same_bytes(blob, offsets[node], offsets[node + 1], ids, start, end):
            return np.int64(node)
    return np.int64(-1)


@kernel
def find_in_order(
    offsets: Int64Array,
    blob: UInt8Array,
    order: Int32Array,
    ids: UInt8Array,
    start: Int64Array,
    end: Int64Array,
    found: Int32Array,
) -> None:
    """Write the node number of each packed id into `found`, -1 for an unknown one."""
    for i in range(len(start)):
        found[i] = find_one(offsets, blob, order, ids, start[i], end[i])


@kernel
def join_ids(offsets: Int64Array, blob: UInt8Array, nodes: Int64Array, separator: np.uint8, joined: UInt8Array) -> None:
    """Write the ids of nodes, with separators between them, into `joined`, which has exactly the size of the result."""
    place = 0
    for i in range(len(nodes)):
        if i > 0:
            joined[place] = separator
            place += 1
        for position in range(offsets[nodes[i]], offsets[nodes[i] + 1]):
            joined[place] = blob[position]
            place += 1


@kernel
def copy_ids(
    offsets: Int64Array, blob: UInt8Array, new_order: Int32Array, new_offsets: Int64Array, new_blob: UInt8Array
) -> None:
    """Copy ids into `new_blob` so that the i-th is that of node `new_order[i]`."""
    for i in range(len(new_order)):
        first = offsets[new_order[i]]
        for j in range(new_offsets[i + 1] - new_offsets[i]):
            new_blob[new_offsets[i] + j] = blob[first + j]
