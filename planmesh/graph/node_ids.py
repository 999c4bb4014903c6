"""The external ids of nodes: a compact table of strings, id to number and back, without a Python object per node."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from rapidfuzz import fuzz, process, utils
from rapidfuzz.distance import OSA

from planmesh.errors import LimitExceeded
from planmesh.graph import node_ids_kernels as kernels
from planmesh.graph.model import ID_BYTES_MAX, INVALID_ID, NODES_MAX, BoolArray, Int32Array, Int64Array, UInt8Array
from planmesh.graph.packed_strings import SEPARATOR, SEPARATOR_BYTE, PackedStrings, pack
from planmesh.graph.rules import Fault, Origin, check_node_rows, shown

FEW_IDS_MAX: Final = 4
"""Most ids that are looked up one by one, which is faster for so few than packing them."""

NEAR_WINDOW: Final = 64
"""Ids examined on either side of the position that an unknown id would have in the sorted order."""

NEAR_SCAN_MAX: Final = 20_000
"""Most nodes of a graph whose ids are all examined for near matches (some milliseconds)."""

NEAR_EDIT_CHARACTERS_MAX: Final = 48
"""Longest unknown id, in characters, whose one-edit variants are looked up in larger graphs."""

NEAR_SIMILARITY_MIN: Final = 60.0
"""Least similarity, in percent, of an id that is suggested."""

_NEAR_ALPHABET: Final = string.ascii_lowercase + string.ascii_uppercase + string.digits + "-_./: "
_TABLE_BITS_MIN: Final = 10
_TABLE_FILL_MAX: Final = 0.65
_BLOB_BYTES_MIN: Final = 1 << 16
_NODES_RESERVED_MIN: Final = 1 << 12


@dataclass(frozen=True, slots=True)
class NodeIds:
    """The ids of nodes 0 to n - 1. Immutable, so its arrays may be memory-mapped and shared.

    Shapes and dtypes: `blob` uint8[b], the ids in UTF-8 one after another; `offsets` int64[n + 1], where each starts
    and the last one ends; `order` int32[n], the nodes in ascending byte order of their ids.
    """

    offsets: Int64Array
    blob: UInt8Array
    order: Int32Array

    def __post_init__(self) -> None:
        # Kernels are compiled once, for read-only arrays, so every array becomes a read-only view.
        for name in ("offsets", "blob", "order"):
            view = np.asarray(getattr(self, name)).view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    def __len__(self) -> int:
        return len(self.order)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays by name, for `from_arrays`."""
        return {"offsets": self.offsets, "blob": self.blob, "order": self.order}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> NodeIds:
        """Make a table of the arrays that `arrays` returns, without copying them. They may be read-only."""
        return cls(arrays["offsets"], arrays["blob"], arrays["order"])

    @classmethod
    def from_ids(cls, ids: Sequence[str]) -> NodeIds:
        """Build a table of ids. Raises InvalidGraph for an id that breaks a rule or appears twice."""
        builder = NodeIdsBuilder()
        builder.add(ids)
        return builder.finish()

    def find(self, node_id: str) -> int:
        """Return the number of an id, or -1 for an unknown one. A binary search."""
        if not node_id:
            return INVALID_ID.item()
        wanted = np.frombuffer(node_id.encode("utf-8", "surrogatepass"), np.uint8)
        return int(kernels.find_one(self.offsets, self.blob, self.order, wanted, 0, len(wanted)))

    def find_many(self, ids: Sequence[str]) -> Int32Array:
        """Return the numbers of ids, int32[len(ids)]; -1 for an unknown one."""
        if len(ids) <= FEW_IDS_MAX:
            return np.fromiter(map(self.find, ids), np.int32, len(ids))
        packed = pack(ids)
        found = np.empty(len(packed), np.int32)
        kernels.find_in_order(self.offsets, self.blob, self.order, packed.blob, packed.start, packed.end, found)
        return found

    def name(self, node: int) -> str:
        """Return the id of a node. Raises IndexError for an unknown node."""
        if not 0 <= node < len(self):
            raise IndexError(f"expected a node from 0 to {len(self) - 1}, got {node}")
        return self.blob[self.offsets[node] : self.offsets[node + 1]].tobytes().decode("utf-8")

    def names(self, nodes: Int32Array) -> list[str]:
        """Return the ids of nodes, int32[k]. Raises IndexError for an unknown node."""
        if len(nodes) == 0:
            return []
        numbers = np.asarray(nodes, dtype=np.int64)
        if numbers.min() < 0 or numbers.max() >= len(self):
            raise IndexError(f"expected nodes from 0 to {len(self) - 1}")
        size_bytes = int((self.offsets[numbers + 1] - self.offsets[numbers]).sum()) + len(numbers) - 1
        joined = np.empty(size_bytes, np.uint8)
        kernels.join_ids(self.offsets, self.blob, numbers, np.uint8(SEPARATOR_BYTE), joined)
        return joined.tobytes().decode("utf-8").split(SEPARATOR)

    def permuted(self, new_order: Int32Array) -> NodeIds:
        """Return a table with the nodes renumbered: its node i is node `new_order[i]` (int32[n]) of this one."""
        assert len(new_order) == len(self), "a permutation names every node"
        length = np.diff(self.offsets)[new_order]
        offsets = np.zeros(len(self) + 1, np.int64)
        np.cumsum(length, out=offsets[1:])
        blob = np.empty(len(self.blob), np.uint8)
        kernels.copy_ids(self.offsets, self.blob, np.asarray(new_order, np.int32), offsets, blob)
        new_number = np.empty(len(self), np.int32)
        new_number[new_order] = np.arange(len(self), dtype=np.int32)
        return NodeIds(offsets, blob, new_number[self.order])

    def near(self, node_id: str, count: int = 3) -> list[str]:
        """Return up to `count` ids that resemble an unknown id, best first.

        In a graph of up to NEAR_SCAN_MAX nodes, every id is a candidate. In a larger one the work is bounded: the
        candidates are the ids next to it in byte order (also in lower and upper case) and the ids that differ by one
        edit, as in Norvig's spelling corrector.
        """
        if not node_id or len(self) == 0 or count < 1:
            return []
        wanted = node_id[: ID_BYTES_MAX * 2]
        if len(self) <= NEAR_SCAN_MAX:
            candidates = self.names(np.arange(len(self), dtype=np.int32))
        else:
            nodes = np.concatenate([self._beside(wanted), self._one_edit_away(wanted)])
            candidates = self.names(np.unique(nodes[nodes >= 0]).astype(np.int32))
        scored = process.extract(
            wanted,
            candidates,
            scorer=fuzz.WRatio,
            processor=utils.default_process,
            limit=count * 4,
            score_cutoff=NEAR_SIMILARITY_MIN,
        )
        ranked = sorted((-score, OSA.distance(wanted, name), name) for name, score, _ in scored)
        return [name for _, _, name in ranked[:count]]

    def _beside(self, node_id: str) -> Int32Array:
        lower = node_id.lower()
        spellings = {node_id, lower, node_id.upper(), lower.replace("_", "-"), lower.replace("-", "_")}
        windows = []
        for spelling in sorted(spellings):
            packed = pack([spelling])
            place = int(kernels.place_in_order(self.offsets, self.blob, self.order, packed.blob, 0, len(packed.blob)))
            windows.append(np.asarray(self.order[max(0, place - NEAR_WINDOW) : place + NEAR_WINDOW]))
        return np.concatenate(windows)

    def _one_edit_away(self, node_id: str) -> Int32Array:
        if len(node_id) > NEAR_EDIT_CHARACTERS_MAX:
            return np.zeros(0, np.int32)
        halves = [(node_id[:cut], node_id[cut:]) for cut in range(len(node_id) + 1)]
        edits = {node_id.lower(), node_id.upper(), node_id.strip()}
        edits.update(left + right[1:] for left, right in halves if right)
        edits.update(left + right[1] + right[0] + right[2:] for left, right in halves if len(right) > 1)
        edits.update(left + letter + right[1:] for left, right in halves if right for letter in _NEAR_ALPHABET)
        edits.update(left + letter + right for left, right in halves for letter in _NEAR_ALPHABET)
        return self.find_many(sorted(edits))


class NodeIdsBuilder:
    """Collects ids batch by batch and numbers them in order of their first appearance.

    Memory: about 25 bytes a node and the ids themselves, and up to half as much again while an array grows.
    """

    def __init__(self, expected_nodes: int = 0) -> None:
        reserved = max(expected_nodes, _NODES_RESERVED_MIN)
        self._count = 0
        self._offsets = np.zeros(reserved + 1, np.int64)
        self._blob = np.zeros(_BLOB_BYTES_MIN, np.uint8)
        self._table_bits = _TABLE_BITS_MIN
        self._table = np.zeros(1 << _TABLE_BITS_MIN, np.uint64)
        self._reserve(reserved, 0)

    def __len__(self) -> int:
        return self._count

    def add(self, ids: Sequence[str], origin: Origin | None = None, field: str = "id") -> Int32Array:
        """Add new nodes and return their numbers, int32[len(ids)].

        Raises InvalidGraph, which names the row, when an id breaks a rule or was added before; the builder must not be
        used afterwards. Raises LimitExceeded for more than NODES_MAX nodes.
        """
        where = origin or Origin()
        check_node_rows(where, ids, id_field=field)
        numbers, is_new = self._look_up(pack(ids), insert=True)
        if not is_new.all():
            row = int(np.argmin(is_new))
            raise Fault(row, field, f"expected each node once, got {shown(ids[row])} again").error(where)
        return numbers

    def lookup(self, ids: Sequence[str], insert: bool = False) -> Int32Array:
        """Return the numbers of ids, int32[len(ids)]. An unknown id gets -1, or with `insert` a new number.

        With `insert`, raises InvalidGraph when an id breaks a rule, and LimitExceeded for more than NODES_MAX nodes.
        """
        if insert:
            check_node_rows(Origin(), ids)
        return self._look_up(pack(ids), insert=insert)[0]

    def number(self, packed: PackedStrings) -> Int32Array:
        """Return the numbers of ids, int32[len(packed)]. An unknown id gets a new number.

        The caller has checked the ids against `planmesh.graph.rules`. Raises LimitExceeded for more than NODES_MAX
        nodes.
        """
        return self._look_up(packed, insert=True)[0]

    def finish(self) -> NodeIds:
        """Return the table of all nodes and release the builder's arrays. The builder must not be used afterwards."""
        self._table = np.zeros(0, np.uint64)
        offsets = self._offsets[: self._count + 1].copy()
        self._offsets = np.zeros(0, np.int64)
        blob = self._blob[: offsets[-1]].copy()
        self._blob = np.zeros(0, np.uint8)
        return NodeIds(offsets, blob, kernels.sort_ids(offsets, blob))

    def _look_up(self, packed: PackedStrings, *, insert: bool) -> tuple[Int32Array, BoolArray]:
        if insert:
            if self._count + len(packed) > NODES_MAX:
                raise LimitExceeded(f"expected at most {NODES_MAX} nodes, got more", bound="NODES_MAX")
            self._reserve(self._count + len(packed), int(self._offsets[self._count]) + len(packed.blob))
        numbers = np.empty(len(packed), np.int32)
        is_new = np.empty(len(packed), np.bool_)
        self._count = kernels.insert_ids(
            self._table,
            self._table_bits,
            self._offsets,
            self._blob,
            self._count,
            packed.blob,
            packed.start,
            packed.end,
            insert,
            numbers,
            is_new,
        )
        return numbers, is_new

    def _reserve(self, nodes: int, blob_bytes: int) -> None:
        """Make room. Each array grows by at least half, so the total cost of growth is linear."""
        if nodes + 1 > len(self._offsets):
            self._offsets = _grown(self._offsets, max(nodes + 1, len(self._offsets) * 3 // 2))
        if blob_bytes > len(self._blob):
            self._blob = _grown(self._blob, max(blob_bytes, len(self._blob) * 3 // 2))
        bits = self._table_bits
        while nodes > _TABLE_FILL_MAX * (1 << bits):
            bits += 1
        if bits > self._table_bits:
            larger = np.zeros(1 << bits, np.uint64)
            kernels.grow_table(self._table, larger, bits)
            self._table, self._table_bits = larger, bits


def _grown(array: np.ndarray, size: int) -> np.ndarray:
    larger = np.empty(size, array.dtype)
    larger[: len(array)] = array
    return larger
