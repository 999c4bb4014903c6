"""One version of a graph as the coordinator holds it: directory and overlay, mapped; and what repeats, kept."""

from __future__ import annotations

from typing import Final

import numpy as np
from cachetools import LRUCache

from planmesh.dispatch.queues import shard_of
from planmesh.graph.model import Float64Array, Int32Array
from planmesh.rpc.step_encoding import text_table
from planmesh.search.read_only import read_only
from planmesh.snapshot.directory import NodeDirectory
from planmesh.snapshot.overlay_file import OpenOverlay

LOCAL_SEARCHES_KEPT: Final = 4_096
"""Results of hot endpoints: a few hundred distances each, so some ten MB."""

SEGMENTS_KEPT: Final = 65_536
"""Expanded shortcuts: a few dozen nodes each, so some fifty MB."""

RECENT_WEIGHT: Final = 0.1
"""Of the last overlay search in what is expected of the next."""

LocalResult = tuple[Int32Array, Float64Array]
"""Overlay nodes (overlay numbers) and their distances."""

SegmentKey = tuple[int, int, int, int]
"""Kind, partition, first and second, as in UnpackWork."""

Segment = tuple[Int32Array, Float64Array]
"""Global numbers of the nodes of a stretch, both ends included, and the costs of its edges."""


class VersionedGraph:
    """Immutable but for its caches. Plans hold on to the one they began with, and so never mix versions."""

    def __init__(
        self,
        name: str,
        version: int,
        snapshot_url: str,
        directory: NodeDirectory,
        overlay: OpenOverlay,
        shard_count: int,
        identity: str,
    ) -> None:
        self.name = name
        self.version = version
        self.snapshot_url = snapshot_url
        self.identity = identity
        """Of the snapshot's contents: another mesh on the same Redis may have the same names and versions."""
        self.directory = directory
        self.overlay = overlay
        self.partition_first = directory.partition_first
        ids = directory.ids.arrays()
        self.id_table = (read_only(ids["offsets"], np.int64), read_only(ids["blob"], np.uint8))
        offsets, blob = text_table(directory.partition_names)
        self.partition_name_table = (read_only(offsets, np.int64), read_only(blob, np.uint8))
        self._shard_count = shard_count
        self.local_results: LRUCache[tuple[int, bool], LocalResult] = LRUCache(LOCAL_SEARCHES_KEPT)
        """By global node and whether backward."""
        self.overlay_search_s = 1.0
        """What an overlay search takes lately; a pessimist's guess at first."""
        self.segments: LRUCache[SegmentKey, Segment] = LRUCache(SEGMENTS_KEPT)

    def note_overlay_search(self, duration_s: float) -> None:
        """Take a search into account: at once when it was slow, by and by when it was quick."""
        if duration_s >= self.overlay_search_s:
            self.overlay_search_s = duration_s
        else:
            self.overlay_search_s += RECENT_WEIGHT * (duration_s - self.overlay_search_s)

    def shard_of(self, partition: int) -> int:
        """Return the shard that serves a partition."""
        return shard_of(partition, self.directory.partition_count, self._shard_count)

    def partition_of_overlay(self, nodes: Int32Array) -> Int32Array:
        """Return the partitions (int32[k]) of overlay nodes (int32[k])."""
        return (np.searchsorted(self.overlay.overlay_first, nodes, "right") - 1).astype(np.int32)
