"""What plans have learned from workers, kept for later plans, within bounds of bytes over all graphs and versions."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

from cachetools import LRUCache

from services.coordinator.versioned_graph import LocalResult, Segment, SegmentKey

LOCAL_RESULTS_BYTES_MAX: Final = 64 * 2**20
"""Results of local searches: about 4,000 of a few hundred distances each, with their segments."""

SEGMENTS_BYTES_MAX: Final = 64 * 2**20
"""Expanded shortcuts: about 50,000 of a few dozen nodes each."""

ENTRY_BYTES: Final = 1_024
"""Of an entry beside its arrays: key, array objects, and three tables' rows. tests/services/coordinator measures it."""

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class BoundedByBytes(Generic[Key, Value]):
    """The entries that were used last, as many as `bytes_max` holds. `size_of` gives the bytes of a key and a value."""

    def __init__(self, bytes_max: int, size_of: Callable[[Key, Value], int]) -> None:
        self._size_of = size_of
        self._entries: LRUCache[Key, tuple[Value, int]] = LRUCache(bytes_max, getsizeof=lambda entry: entry[1])

    def get(self, key: Key) -> Value | None:
        """The value of a key, if it is kept."""
        entry = self._entries.get(key)
        return None if entry is None else entry[0]

    def put(self, key: Key, value: Value) -> None:
        """Keep a value instead of those that were not used for longest; one that is larger than all may be is not."""
        size = self._size_of(key, value)
        if size <= self._entries.maxsize:
            self._entries[key] = (value, size)

    def pop_oldest(self) -> None:
        """Drop the entry that was not used for longest."""
        self._entries.popitem()

    @property
    def size_bytes(self) -> int:
        """Bytes of all entries."""
        return int(self._entries.currsize)

    def __len__(self) -> int:
        return len(self._entries)


class KeptResults:
    """Local results of hot endpoints and expanded segments, by the identity of the snapshot they were read from."""

    def __init__(
        self, local_results_bytes: int = LOCAL_RESULTS_BYTES_MAX, segments_bytes: int = SEGMENTS_BYTES_MAX
    ) -> None:
        self._local: BoundedByBytes[tuple[str, int, bool], LocalResult] = BoundedByBytes(
            local_results_bytes,
            lambda _, result: 2 * ENTRY_BYTES + result.size_bytes,  # it has ways, which have arrays of their own
        )
        self._segments: BoundedByBytes[tuple[str, SegmentKey], Segment] = BoundedByBytes(
            segments_bytes, lambda _, segment: ENTRY_BYTES + segment[0].nbytes + segment[1].nbytes
        )

    def local_result(self, identity: str, node: int, *, backward: bool) -> LocalResult | None:
        """The result of a search from (backward: to) a global node."""
        return self._local.get((identity, node, backward))

    def keep_local_result(self, identity: str, node: int, result: LocalResult, *, backward: bool) -> None:
        """Keep one."""
        self._local.put((identity, node, backward), result)

    def segment(self, identity: str, key: SegmentKey) -> Segment | None:
        """An expanded segment."""
        return self._segments.get((identity, key))

    def keep_segment(self, identity: str, key: SegmentKey, segment: Segment) -> None:
        """Keep a copy of one: the arrays of a worker's answer, which it is a slice of, are not held by it."""
        nodes, costs = segment
        self._segments.put((identity, key), (nodes.copy(), costs.copy()))

    @property
    def size_bytes(self) -> int:
        """Bytes of all that is kept."""
        return self._local.size_bytes + self._segments.size_bytes
