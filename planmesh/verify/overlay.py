"""The overlay's file by itself: its levels, its numbering, its short segments."""

from __future__ import annotations

import numpy as np

from planmesh.search.verification import Fault, overlay_faults
from planmesh.snapshot.array_file import ArrayFile
from planmesh.snapshot.manifest import Counts, Manifest
from planmesh.snapshot.overlay_file import SEGMENTS_PREFIX, OpenOverlay
from planmesh.verify.files import OVERLAY_DTYPES, SEGMENT_DTYPES, array_faults


def overlay_array_faults(file: ArrayFile) -> list[Fault]:
    """Check the arrays of the overlay's file; those of short segments are there as a whole or not at all."""
    has_segments = any(name.startswith(SEGMENTS_PREFIX) for name in file.arrays)
    return array_faults(file, {**OVERLAY_DTYPES, **(SEGMENT_DTYPES if has_segments else {})})


def opened_overlay_faults(opened: OpenOverlay, manifest: Manifest) -> list[Fault]:
    """Check an overlay's structure, and that its nodes are numbered by partition; nodes are overlay numbers."""
    overlay, counts = opened.overlay, manifest.counts
    faults = _count_faults(opened, counts) + _numbering_faults(opened, manifest)
    faults += overlay_faults(overlay)
    edge_count = len(overlay.head)
    if len(opened.is_original) != edge_count:
        faults.append(Fault("shape", f"a mark for each of {edge_count} edges", str(len(opened.is_original))))
    segments = opened.segments
    first_is_right = (
        len(segments.first) == edge_count + 1 and segments.first[0] == 0 and segments.first[-1] == len(segments.node)
    )
    if (
        not first_is_right
        or len(segments.cost) != len(segments.node)
        or bool(np.any(segments.first[1:] < segments.first[:-1]))
    ):
        faults.append(Fault("firsts", f"short segments of {edge_count} edges", "others"))
    return faults


def _count_faults(opened: OpenOverlay, counts: Counts) -> list[Fault]:
    overlay = opened.overlay
    return [
        Fault("count", f"{expected} {what}, as the manifest says", str(found))
        for what, expected, found in (
            ("overlay nodes", counts.overlay_nodes, overlay.node_count),
            ("overlay edges", counts.overlay_edges, len(overlay.head)),
            ("nodes of the top core", counts.overlay_core_nodes, overlay.core_count),
        )
        if expected != found
    ]


def _numbering_faults(opened: OpenOverlay, manifest: Manifest) -> list[Fault]:
    count = opened.overlay.node_count
    sizes = [entry.overlay_nodes for entry in manifest.partitions]
    first, numbers = opened.overlay_first, opened.overlay_global
    if len(first) != len(sizes) + 1 or first[0] != 0 or first[-1] != count or bool(np.any(np.diff(first) != sizes)):
        return [Fault("firsts", f"{count} overlay nodes in partitions of the manifest's sizes", "others")]
    ascending = bool(np.all(numbers[1:] > numbers[:-1]))
    inside = len(numbers) == 0 or (numbers[0] >= 0 and numbers[-1] < manifest.counts.nodes)
    if len(numbers) != count or not ascending or not inside:
        return [Fault("numbers", f"{count} global numbers that ascend below {manifest.counts.nodes}", "others")]
    return []
