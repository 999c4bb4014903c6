"""Caches workers' results for later plans. Bounds in bytes hold for all graphs and versions together."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

from cachetools import LRUCache

from services.coordinator.versioned_graph import LocalResult, Segment, SegmentKey

LOCAL_RESULTS_BYTES_MAX: Final = 64 * 2**20
"""Bytes of cached local searches: about 4,000 results of a few hundred distances each, with their segments."""

SEGMENTS_BYTES_MAX: Final = 64 * 2**20
"""Bytes of cached segments: about 50,000 expanded shortcuts of a few dozen nodes each."""

ENTRY_BYTES: Final = 1_024
"""Bytes of an entry beside its arrays: key, array objects and rows of three hash tables. A test measures it
(tests/services/coordinator/test_kept_results.py)."""

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class BoundedByBytes(Generic[Key, Value]):
    """A least-recently-used cache of at most `bytes_max` bytes. `size_of` returns the bytes of a key and its value."""

    def __init__(self, bytes_max: int, size_of: Callable[[Key, Value], int]) -> None:
        self._size_of = size_of
        self._entries: LRUCache[Key, tuple[Value, int]] = LRUCache(bytes_max, getsizeof=lambda entry: entry[1])

    def get(self, key: Key) -> Value | None:
        """Return the value of a key, None if it is not cached. The entry becomes the most recently used."""
        entry = self._entries.get(key)
        return None if entry is None else entry[0]

    def put(self, key: Key, value: Value) -> None:
        """Cache a value and evict the least recently used ones as needed. A value above `bytes_max` is not cached."""
        size = self._size_of(key, value)
        if size <= self._entries.maxsize:
            self._entries[key] = (value, size)

    def pop_oldest(self) -> None:
        """Evict the least recently used entry. Raises KeyError when there is none."""
        self._entries.popitem()

    @property
    def size_bytes(self) -> int:
        """Bytes of all entries."""
        return int(self._entries.currsize)

    def __len__(self) -> int:
        return len(self._entries)


class KeptResults:
    """Cached local results of starts and goals, and cached segments, by the identity of their snapshot."""

    def __init__(
        self, local_results_bytes: int = LOCAL_RESULTS_BYTES_MAX, segments_bytes: int = SEGMENTS_BYTES_MAX
    ) -> None:
        self._local: BoundedByBytes[tuple[str, int, bool, bool], LocalResult] = BoundedByBytes(
            local_results_bytes,
            lambda _, result: 2 * ENTRY_BYTES + result.size_bytes,  # its segments are separate objects with arrays
        )
        self._segments: BoundedByBytes[tuple[str, SegmentKey], Segment] = BoundedByBytes(
            segments_bytes, lambda _, segment: ENTRY_BYTES + segment[0].nbytes + segment[1].nbytes
        )

    def local_result(
        self, identity: str, node: int, *, backward: bool, with_segments: bool = True
    ) -> LocalResult | None:
        """Return the cached result of a search from (`backward`: to) a node, given by its global number, or None.

        Unless `with_segments`, it may be the result of a search that left the segments out.
        """
        kept = self._local.get((identity, node, backward, True))
        if kept is None and not with_segments:
            kept = self._local.get((identity, node, backward, False))
        return kept

    def keep_local_result(
        self, identity: str, node: int, result: LocalResult, *, backward: bool, with_segments: bool = True
    ) -> None:
        """Cache the result of a search from (`backward`: to) a node, given by its global number.

        Unless `with_segments`, the search left the segments out; the result then serves only callers without need of
        them.
        """
        self._local.put((identity, node, backward, with_segments), result)

    def segment(self, identity: str, key: SegmentKey) -> Segment | None:
        """Return a cached segment, or None."""
        return self._segments.get((identity, key))

    def keep_segment(self, identity: str, key: SegmentKey, segment: Segment) -> None:
        """Cache a copy of a segment. The original is a slice, which would keep all of a reply's arrays in memory."""
        nodes, costs = segment
        self._segments.put((identity, key), (nodes.copy(), costs.copy()))

    @property
    def size_bytes(self) -> int:
        """Bytes of all cached results and segments."""
        return self._local.size_bytes + self._segments.size_bytes
