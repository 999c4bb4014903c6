"""One partition's file: its edges, its index against them, and its part of the overlay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planmesh.graph.model import INVALID_ID, BoolArray, Float64Array, Int32Array, Int64Array
from planmesh.search.certificate import RELATIVE_TOLERANCE
from planmesh.search.verification import Fault, adjacency_faults, ascending_rows_faults, owners
from planmesh.snapshot.overlay_file import OpenOverlay
from planmesh.snapshot.partition_file import OpenPartition


def edges_faults(partition: OpenPartition, begin: int, stop: int, node_count: int) -> list[Fault]:
    """Check the edges of the partition of global nodes `begin` to `stop`, in a graph of `node_count` nodes."""
    if partition.partition_first != begin or partition.node_count != stop - begin:
        found = f"{partition.node_count} nodes from {partition.partition_first}"
        return [Fault("range", f"{stop - begin} nodes from {begin}", found)]
    if len(partition.in_first) != len(partition.out_first):
        return [Fault("shape", f"in: {len(partition.out_first)} firsts", str(len(partition.in_first)))]
    faults = []
    for name, first, end, cost in (
        ("out", partition.out_first, partition.out_head, partition.out_cost),
        ("in", partition.in_first, partition.in_tail, partition.in_cost),
    ):
        wrong = adjacency_faults(name, first, end, cost, node_count)
        faults += wrong or ascending_rows_faults(name, first, end)
    if faults:
        return faults
    return _reverse_faults(partition, stop - begin)


def counts_of(partition: OpenPartition) -> dict[str, int]:
    """Return what the manifest says of a partition, counted."""
    out, into = _inside(partition, partition.out_head), _inside(partition, partition.in_tail)
    boundary = int(np.count_nonzero(partition.is_boundary()))
    return {
        "nodes": partition.node_count,
        "internal_edges": int(np.count_nonzero(out)),
        "cross_edges_out": int(np.count_nonzero(~out)),
        "cross_edges_in": int(np.count_nonzero(~into)),
        "entries": int(np.count_nonzero(partition.is_entry())),
        "exits": int(np.count_nonzero(partition.is_exit())),
        "overlay_nodes": partition.index.overlay_count,
        "core_nodes": partition.index.overlay_count - boundary,
        "overlay_edges": len(partition.index.overlay_head),
    }


def boundary_faults(partition: OpenPartition) -> list[Fault]:
    """Check that no end of a cross edge was contracted; numbers are local."""
    lost = np.flatnonzero(partition.is_boundary() & (partition.index.overlay_number == INVALID_ID))
    if len(lost) == 0:
        return []
    return [
        Fault("boundary", "an overlay node at each end of a cross edge", "a contracted one", len(lost), (int(lost[0]),))
    ]


@dataclass(frozen=True, slots=True)
class LevelOneRows:
    """What the overlay has of all partitions: it, and its level-1 edges as `tail * k + head` (int64[m], ascending)."""

    opened: OpenOverlay
    keys: Int64Array

    @classmethod
    def of(cls, opened: OpenOverlay) -> LevelOneRows:
        """Take an overlay whose arrays have been checked."""
        overlay = opened.overlay
        return cls(opened, owners(overlay.first_out).astype(np.int64) * overlay.node_count + overlay.head)


def level_one_faults(partition: OpenPartition, number: int, rows: LevelOneRows) -> list[Fault]:
    """Check the overlay's level 1 against one partition: overlay nodes, remaining edges, cross edges, short segments.

    Both have been checked alone. Nodes of the faults are global numbers.
    """
    opened, overlay = rows.opened, rows.opened.overlay
    low, high = int(opened.overlay_first[number]), int(opened.overlay_first[number + 1])
    index = partition.index
    wanted_global = index.overlay_node + np.int32(partition.partition_first)
    if not np.array_equal(opened.overlay_global[low:high], wanted_global):
        return [Fault("numbers", f"the {len(wanted_global)} overlay nodes of the partition", "others")]
    begin, stop = int(overlay.first_out[low]), int(overlay.first_out[high])
    tail, head, weight, original = _expected(partition)
    own = slice(begin, stop)
    found_tail = owners(overlay.first_out[low : high + 1] - begin)
    found_head = opened.overlay_global[overlay.head[own]]
    if len(tail) != stop - begin or not (np.array_equal(found_tail, tail) and np.array_equal(found_head, head)):
        return [
            Fault("level 1", f"the {len(tail)} edges that the partition leaves", f"{stop - begin} edges, or others")
        ]
    faults = []
    crosses = ~_inside(partition, head)
    differs = overlay.weight[own] != weight
    for check, which in (("cross edge", differs & crosses), ("level 1", differs & ~crosses)):
        if which.any():
            at = int(np.argmax(which))
            ends = int(wanted_global[tail[at]]), int(head[at])
            texts = f"the cost in the partition's file, {float(weight[at])!r}", repr(float(overlay.weight[begin + at]))
            faults.append(Fault(check, *texts, int(np.count_nonzero(which)), ends))
    if not np.array_equal(opened.is_original[own], original):
        faults.append(Fault("level 1", "edges of the graph marked as such, and no shortcuts", "others"))
    faults += _arriving_faults(partition, rows)
    return faults or _segment_faults(partition, opened, begin, stop, wanted_global[tail], head)


def _expected(partition: OpenPartition) -> tuple[Int32Array, Int32Array, Float64Array, BoolArray]:
    """The level-1 edges of a partition, by tail (overlay number) and head (global): its remaining and leaving ones."""
    index = partition.index
    crosses = np.flatnonzero(~_inside(partition, partition.out_head))
    cross_tail = index.overlay_number[owners(partition.out_first)[crosses]]
    kept_head = index.overlay_node[index.overlay_head] + np.int32(partition.partition_first)
    tail = np.concatenate([owners(index.overlay_first_out), cross_tail])
    head = np.concatenate([kept_head, partition.out_head[crosses]])
    weight = np.concatenate([index.overlay_weight, partition.out_cost[crosses]])
    original = np.concatenate([index.overlay_middle == INVALID_ID, np.ones(len(crosses), np.bool_)])
    order = np.lexsort((head, tail))
    return tail[order], head[order], weight[order], original[order]


def _arriving_faults(partition: OpenPartition, rows: LevelOneRows) -> list[Fault]:
    """Check that the cross edges that arrive are those of level 1, which come from the other partitions' files."""
    opened, keys = rows.opened, rows.keys
    arriving = np.flatnonzero(~_inside(partition, partition.in_tail))
    if len(arriving) == 0:
        return []
    tail = partition.in_tail[arriving]
    head = owners(partition.in_first)[arriving] + np.int32(partition.partition_first)
    cost = partition.in_cost[arriving]
    last = len(opened.overlay_global) - 1
    tail_place = np.minimum(np.searchsorted(opened.overlay_global, tail), last)
    head_place = np.minimum(np.searchsorted(opened.overlay_global, head), last)
    wanted = tail_place.astype(np.int64) * (last + 1) + head_place
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1) if len(keys) else np.zeros(len(wanted), np.int64)
    there = np.zeros(len(wanted), np.bool_)
    if len(keys):
        there = (opened.overlay_global[tail_place] == tail) & (keys[place] == wanted)
    costs = np.where(there, opened.overlay.weight[place] if len(keys) else np.nan, np.nan)
    wrong = ~(costs == cost)
    if not wrong.any():
        return []
    at = int(np.argmax(wrong))
    found = repr(float(costs[at])) if there[at] else "none"
    text = f"the arriving cross edge of the partition's file, {float(cost[at])!r}"
    return [Fault("cross edge", text, found, int(np.count_nonzero(wrong)), (int(tail[at]), int(head[at])))]


def _segment_faults(
    partition: OpenPartition, opened: OpenOverlay, begin: int, stop: int, tail: Int32Array, head: Int32Array
) -> list[Fault]:
    """Check that the short way of each shortcut leads along edges of the partition, at their costs, to its head.

    `tail` and `head` are the global ends of the level-1 edges `begin` to `stop`.
    """
    segments = opened.segments
    low, high = int(segments.first[begin]), int(segments.first[stop])
    lengths = np.diff(segments.first[begin : stop + 1])
    kept = np.flatnonzero(lengths)
    if len(kept) == 0:
        return []
    starts = (segments.first[begin : stop + 1][:-1] - low)[kept]
    node, cost = segments.node[low:high].astype(np.int64), segments.cost[low:high]
    before = np.empty_like(node)
    before[1:] = node[:-1]
    before[starts] = tail[kept]
    ends = starts + lengths[kept] - 1
    first, local_head, weight = partition.internal()
    count = partition.node_count
    keys = owners(first).astype(np.int64) * count + local_head
    local_before, local_node = before - partition.partition_first, node - partition.partition_first
    inside = (local_before >= 0) & (local_before < count) & (local_node >= 0) & (local_node < count)
    wanted = local_before * count + local_node
    if len(keys) == 0:
        good = np.zeros(len(wanted), np.bool_)
    else:
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        good = inside & (keys[place] == wanted) & (weight[place] == cost)
    sums = np.add.reduceat(cost, starts)
    edge_weight = opened.overlay.weight[begin:stop][kept]
    wrong = (
        ~np.logical_and.reduceat(good, starts)
        | (node[ends] != head[kept])
        | ~(np.abs(sums - edge_weight) <= RELATIVE_TOLERANCE * edge_weight)
        | opened.is_original[begin:stop][kept]
    )
    if not wrong.any():
        return []
    at = int(np.argmax(wrong))
    text = f"a way along edges of the partition that costs {float(edge_weight[at])!r}"
    pair = int(tail[kept[at]]), int(head[kept[at]])
    return [Fault("way", text, f"another, of {float(sums[at])!r}", int(np.count_nonzero(wrong)), pair)]


def _reverse_faults(partition: OpenPartition, count: int) -> list[Fault]:
    """Check that the edges that arrive from inside are those that leave to inside."""
    out, into = _inside(partition, partition.out_head), _inside(partition, partition.in_tail)
    first = partition.partition_first
    out_key = owners(partition.out_first)[out].astype(np.int64) * count + (partition.out_head[out] - first)
    in_key = (partition.in_tail[into] - first).astype(np.int64) * count + owners(partition.in_first)[into]
    order = np.argsort(in_key, kind="stable")
    if np.array_equal(out_key, in_key[order]) and np.array_equal(
        partition.out_cost[out], partition.in_cost[into][order]
    ):
        return []
    return [
        Fault("reverse", "the same internal edges at both ends", f"{len(out_key)} out and {len(in_key)} in, or others")
    ]


def _inside(partition: OpenPartition, ends: Int32Array) -> BoolArray:
    first = partition.partition_first
    inside: BoolArray = (ends >= first) & (ends < first + partition.node_count)
    return inside
