"""Batches of plans in one process, as the coordinator and the workers compute them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array
from planmesh.search.batch_paths import AssembledPaths, assemble
from planmesh.search.batch_segments import Ends, OverlayMap, Resolved, Segments, resolve
from planmesh.search.overlay_search import OverlayLabels, OverlaySearch
from planmesh.search.read_only import read_only
from tests.search.in_process_mesh import InProcessMesh

TOLERANCE = 1e-9


@dataclass(frozen=True)
class Batch:
    """The results of a batch: the costs by the search (infinite for no path), the paths, and their segments."""

    cost: Float64Array
    paths: AssembledPaths
    resolved: Resolved


def overlay_map(mesh: InProcessMesh, edges_max: int, total_max: int) -> OverlayMap:
    """Return the map of a mesh's overlay, with the short segments that the bounds allow."""
    overlay = mesh.overlay
    number = np.concatenate(
        [index.overlay_node + mesh.partition_first[p] for p, index in enumerate(mesh.indexes)]
    ).astype(np.int32)
    owner = np.repeat(np.arange(len(mesh.indexes)), np.diff(mesh.overlay_first))
    stored: dict[tuple[int, int], tuple[Int32Array, Float64Array]] = {}
    shortcuts: dict[tuple[int, int], float] = {}
    for p, index in enumerate(mesh.indexes):
        nodes, costs, lengths = mesh.local.short_segments(index, edges_max, total_max)
        ends = np.cumsum(lengths)
        own_tails = np.repeat(np.arange(index.overlay_count), np.diff(index.overlay_first_out)).tolist()
        for edge, (tail, head) in enumerate(zip(own_tails, index.overlay_head.tolist(), strict=True)):
            key = (tail + int(mesh.overlay_first[p]), head + int(mesh.overlay_first[p]))
            if index.overlay_middle[edge] >= 0:
                shortcuts[key] = float(index.overlay_weight[edge])
                if lengths[edge]:
                    cut = slice(int(ends[edge] - lengths[edge]), int(ends[edge]))
                    stored[key] = nodes[cut] + mesh.partition_first[p], costs[cut]
    tails = np.repeat(np.arange(overlay.node_count), np.diff(overlay.first_out)).tolist()
    keys: list[tuple[int, int]] = list(zip(tails, overlay.head.tolist(), strict=True))
    is_original = np.array(
        [owner[tail] != owner[head] or (tail, head) not in shortcuts for tail, head in keys], np.bool_
    )
    stored_segments = [
        stored.get(key, (np.empty(0, np.int32), np.empty(0))) if not original else (np.empty(0, np.int32), np.empty(0))
        for key, original in zip(keys, is_original.tolist(), strict=True)
    ]
    first = np.zeros(len(keys) + 1, np.int64)
    np.cumsum([len(nodes) for nodes, _ in stored_segments], out=first[1:])
    arrays = (
        overlay.first_out,
        overlay.head,
        overlay.weight,
        number,
        mesh.overlay_first,
        is_original,
        first,
        np.concatenate([np.empty(0, np.int32), *(nodes for nodes, _ in stored_segments)]).astype(np.int32),
        np.concatenate([np.empty(0), *(costs for _, costs in stored_segments)]),
    )
    return OverlayMap(*(read_only(array, array.dtype.type) for array in arrays))


def plan_batch(mesh: InProcessMesh, pairs: list[tuple[int, int]], overlay: OverlayMap, path_room: int) -> Batch:
    """Compute plans between global node numbers in one batch."""
    start, goal = (np.array(column, np.int32) for column in zip(*pairs, strict=True))
    one, two = (np.searchsorted(mesh.partition_first, ends, "right").astype(np.int32) - 1 for ends in (start, goal))
    start_local, goal_local = start - mesh.partition_first[one], goal - mesh.partition_first[two]
    labels, segments, place = _labels(mesh)
    trivial = start == goal
    nothing = np.int32(len(labels.first) - 2)
    start_label = np.where(trivial, nothing, place[0, start]).astype(np.int32)
    goal_label = np.where(trivial, nothing, place[1, goal]).astype(np.int32)
    meeting = np.full(len(pairs), np.inf)
    for query in np.flatnonzero((one == two) & ~trivial).tolist():
        index = mesh.indexes[one[query]]
        meeting[query] = mesh.local.meet(index, int(start_local[query]), int(goal_local[query]))[0]
    paths = OverlaySearch(path_room).search_many(mesh.overlay, labels, start_label, goal_label, meeting)
    cost = np.where(trivial, 0.0, np.minimum(paths.cost, meeting))
    inner = np.isfinite(meeting) & (meeting <= paths.cost)
    ends = Ends(start, goal, one, two, start_local, goal_local, start_label, goal_label, inner)
    resolved = resolve(overlay, ends, paths, labels, segments)
    expanded = [
        mesh.local.unpack(
            mesh.indexes[partition], *(np.array([one], kind) for one, kind in zip(row, _ROW, strict=True))
        )
        for partition, *row in resolved.missing.tolist()
    ]
    bases = [int(mesh.partition_first[partition]) for partition in resolved.missing[:, 0].tolist()]
    all_expanded = Segments.of(
        np.concatenate([np.empty(0, np.int32), *(some.lengths for some in expanded)]).astype(np.int32),
        np.concatenate(
            [np.empty(0, np.int32), *(some.nodes + base for some, base in zip(expanded, bases, strict=True))]
        ).astype(np.int32),
        np.concatenate([np.empty(0), *(some.costs for some in expanded)]),
    )
    return Batch(cost, assemble(overlay, ends, cost, TOLERANCE, resolved, segments, all_expanded, path_room), resolved)


_ROW = (np.uint8, np.int32, np.int32)


def _labels(mesh: InProcessMesh) -> tuple[OverlayLabels, Segments, Int32Array]:
    """Return the labels of all searches and an empty one, their segments, and the label of each node both ways."""
    counts: list[int] = []
    nodes, lengths, segment_nodes = (list[Int32Array]() for _ in range(3))
    distances, segment_costs = (list[Float64Array]() for _ in range(2))
    place = np.empty((2, mesh.graph.node_count), np.int32)
    for backward in (0, 1):
        for node in range(mesh.graph.node_count):
            partition = mesh.partition_of(node)
            found = mesh.labels(node, bool(backward))
            place[backward, node] = len(counts)
            counts.append(len(found.nodes))
            nodes.append(found.nodes + mesh.overlay_first[partition])
            distances.append(found.distances)
            if found.segments is None:
                lengths.append(np.zeros(len(found.nodes), np.int32))
            else:
                lengths.append(found.segments.lengths)
                segment_nodes.append(found.segments.nodes + mesh.partition_first[partition])
                segment_costs.append(found.segments.costs)
    first = np.zeros(len(counts) + 2, np.int64)
    np.cumsum(counts, out=first[1:-1])
    first[-1] = first[-2]
    return (
        OverlayLabels(first, np.concatenate(nodes).astype(np.int32), np.concatenate(distances)),
        Segments.of(
            np.concatenate(lengths).astype(np.int32),
            np.concatenate([np.empty(0, np.int32), *segment_nodes]).astype(np.int32),
            np.concatenate([np.empty(0), *segment_costs]),
        ),
        place,
    )
