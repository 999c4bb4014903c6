"""The overlay as a file, and the level-1 graph it is built from: partitions' remaining edges and cross edges."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from planmesh.errors import SnapshotDamaged
from planmesh.graph.model import INVALID_ID, BoolArray, Float64Array, Int32Array, Int64Array
from planmesh.search.overlay import Overlay
from planmesh.snapshot.array_file import Array, ArrayFile, FileFacts, write_array_file
from planmesh.snapshot.partition_file import OpenPartition
from planmesh.snapshot.short_segments import ShortSegments, ShortSegmentsBuilder

OVERLAY_PREFIX: Final = "overlay."
SEGMENTS_PREFIX: Final = "ways."
SEGMENT_NAMES: Final = ("first", "node", "cost")


@dataclass(frozen=True, slots=True)
class OpenOverlay:
    """The overlay and how its k nodes and m level-1 edges relate to the partitions.

    The overlay nodes of partition p are `overlay_first[p]` (int32[P + 1]) and following; `overlay_global` (int32[k])
    is the global number of each. `is_original` (bool[m], in the order of the level-1 edges) tells edges of the graph
    from shortcuts, which a worker can expand, and of which `segments` has the short ones.
    """

    overlay: Overlay
    overlay_first: Int32Array
    overlay_global: Int32Array
    is_original: BoolArray
    segments: ShortSegments


def write_overlay(path: Path, opened: OpenOverlay) -> FileFacts:
    """Write the overlay file."""
    arrays: dict[str, Array] = {f"{OVERLAY_PREFIX}{name}": array for name, array in opened.overlay.arrays().items()}
    arrays["overlay_first"] = opened.overlay_first
    arrays["overlay_global"] = opened.overlay_global
    arrays["is_original"] = opened.is_original
    arrays |= {f"{SEGMENTS_PREFIX}{name}": getattr(opened.segments, name) for name in SEGMENT_NAMES}
    return write_array_file(path, arrays)


def read_overlay(file: ArrayFile) -> OpenOverlay:
    """Return the overlay of a file, not copied; SnapshotDamaged when there is none."""
    segments = file.prefixed(SEGMENTS_PREFIX)
    try:
        return OpenOverlay(
            overlay=Overlay.from_arrays(file.prefixed(OVERLAY_PREFIX)),
            overlay_first=file.array("overlay_first"),
            overlay_global=file.array("overlay_global"),
            is_original=file.array("is_original"),
            # Files that were written before there were any have none.
            segments=ShortSegments(**segments) if segments else ShortSegments.none(len(file.array("is_original"))),
        )
    except (KeyError, ValueError) as error:
        raise SnapshotDamaged(file.path.name, f"does not hold an overlay: {error}") from error


class LevelOneGraph:
    """Collects the level-1 overlay graph partition by partition, in the order of their numbers.

    Edges are in ascending order of tail and head. Heads are kept as global numbers (int32[n] maps them to overlay
    numbers in the end), because a cross edge leads to a partition that may not have been added yet.
    """

    def __init__(self, node_count: int, partition_count: int, segments: ShortSegmentsBuilder | None = None) -> None:
        self._segments = segments
        self._overlay_number: Int32Array = np.full(node_count, -1, np.int32)
        self.overlay_first: Int32Array = np.zeros(partition_count + 1, np.int32)
        self._degrees: list[Int32Array] = []
        self._heads: list[Int32Array] = []
        self._weights: list[Float64Array] = []
        self._is_original: list[BoolArray] = []
        self._globals: list[Int32Array] = []
        self._added = 0

    def add(self, partition: OpenPartition) -> None:
        """Add the next partition: its remaining edges and its leaving cross edges, ascending by tail and head."""
        base = int(self.overlay_first[self._added])
        overlay_node = partition.index.overlay_node
        count = len(overlay_node)
        self.overlay_first[self._added + 1] = base + count
        overlay_global = (partition.partition_first + overlay_node).astype(np.int32)
        self._overlay_number[overlay_global] = base + np.arange(count, dtype=np.int32)
        self._added += 1
        tails, cross_heads, cross_costs = _cross_edges(partition)
        cross_tails = partition.index.overlay_number[tails]
        assert len(cross_tails) == 0 or cross_tails.min() >= 0, "an end of a cross edge was contracted"
        kept_tails = np.repeat(np.arange(count, dtype=np.int32), np.diff(partition.index.overlay_first_out))
        tail = np.concatenate([kept_tails, cross_tails])
        head = np.concatenate([overlay_global[partition.index.overlay_head], cross_heads])
        is_cross = np.ones(len(cross_heads), np.bool_)
        order = np.lexsort((head, tail))
        if self._segments is not None:
            self._segments.add(partition, order)
        self._degrees.append(np.bincount(tail, minlength=count).astype(np.int32))
        self._heads.append(head[order])
        self._weights.append(np.concatenate([partition.index.overlay_weight, cross_costs])[order])
        self._is_original.append(np.concatenate([partition.index.overlay_middle == INVALID_ID, is_cross])[order])
        self._globals.append(overlay_global)

    @property
    def overlay_global(self) -> Int32Array:
        """The global number of each overlay node (int32[k])."""
        return _joined(self._globals, np.int32)

    @property
    def is_original(self) -> BoolArray:
        """Whether each level-1 edge is an edge of the graph (bool[m])."""
        return _joined(self._is_original, np.bool_)

    def finish(self) -> tuple[Int64Array, Int32Array, Float64Array]:
        """Return first_out int64[k + 1], head int32[m] and weight float64[m] over overlay numbers."""
        assert self._added == len(self.overlay_first) - 1, "every partition is added"
        first_out = np.zeros(int(self.overlay_first[-1]) + 1, np.int64)
        np.cumsum(_joined(self._degrees, np.int32), out=first_out[1:])
        head = self._overlay_number[_joined(self._heads, np.int32)]
        assert len(head) == 0 or head.min() >= 0, "a cross edge leads to an overlay node"
        return first_out, head, _joined(self._weights, np.float64)


def collect_level_one(
    partitions: Iterable[OpenPartition],
    node_count: int,
    partition_count: int,
    checkpoint: Callable[[], None],
    segments: ShortSegmentsBuilder | None = None,
) -> tuple[LevelOneGraph, tuple[Int64Array, Int32Array, Float64Array]]:
    """Collect the level-1 graph of all partitions, and their short segments in `segments` if it is given.

    `checkpoint` is called for each partition and may raise to stop.
    """
    graph = LevelOneGraph(node_count, partition_count, segments)
    for partition in partitions:
        checkpoint()
        graph.add(partition)
    return graph, graph.finish()


def _cross_edges(partition: OpenPartition) -> tuple[Int32Array, Int32Array, Float64Array]:
    """Return tails (local numbers), heads (global numbers) and costs of the cross edges that leave a partition."""
    head = partition.out_head
    low = partition.partition_first
    crosses = np.flatnonzero((head < low) | (head >= low + partition.node_count))
    tails = (np.searchsorted(partition.out_first, crosses, "right") - 1).astype(np.int32)
    return tails, head[crosses], partition.out_cost[crosses]


def _joined(parts: Sequence[Array], dtype: type) -> Array:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)
