"""Balanced partitions that cut few edges, by METIS (Karypis and Kumar, 1998: multilevel k-way partitioning).

METIS is deterministic for one seed and one input. It holds the interpreter lock while it works: a process that must
answer meanwhile calls it in another process.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pymetis

from planmesh.graph.model import Graph, Int32Array, Int64Array
from planmesh.kernels import kernel

METIS_SEED: Final = 20_260_101
"""Fixed, so that the same graph is always cut the same way."""

RECURSIVE_PARTS_MAX: Final = 8
"""Up to so many parts METIS bisects recursively, which cuts fewer edges; beyond, k-way is as good and faster."""


def cut(graph: Graph, partitions: int) -> Int32Array:
    """Return a part for every node, int32[n]: balanced to about 3 %, few edges between parts, none of them empty.

    Directions are ignored and costs too; every pair of neighbours counts once. `parts` is from 1 to n.
    """
    first, neighbor = symmetrised(graph.first_out, graph.head)
    return cut_adjacency(first, neighbor, partitions)


def cut_adjacency(
    first: Int64Array,
    neighbor: Int32Array,
    partitions: int,
    *,
    node_weight: Int64Array | None = None,
    edge_weight: Int64Array | None = None,
    recursive: bool | None = None,
) -> Int32Array:
    """Cut a symmetric adjacency, int64[n + 1] and int32[e], into parts of about the same (weighted) size: int32[n]."""
    count = len(first) - 1
    assert 1 <= partitions <= max(count, 1), "no part is empty"
    if partitions == 1:
        return np.zeros(count, np.int32)
    if partitions == count:
        return np.arange(count, dtype=np.int32)
    outcome = pymetis.part_graph(
        partitions,
        adjacency=pymetis.CSRAdjacency(np.asarray(first, np.int64), np.asarray(neighbor, np.int64)),
        vweights=node_weight,
        eweights=edge_weight,
        recursive=partitions <= RECURSIVE_PARTS_MAX if recursive is None else recursive,
        options=pymetis.Options(seed=METIS_SEED),
    )
    partition_of = np.asarray(outcome.vertex_part, dtype=np.int64).astype(np.int32)
    _fill_empty_partitions(partition_of, partitions)
    return partition_of


def _fill_empty_partitions(partition_of: Int32Array, partitions: int) -> None:
    """Give each part that METIS left empty (it may, when parts are tiny) a node of the largest part, in place."""
    size = np.bincount(partition_of, minlength=partitions)
    for empty in np.flatnonzero(size == 0).tolist():
        largest = int(np.argmax(size))
        partition_of[np.flatnonzero(partition_of == largest)[-1]] = empty
        size[largest] -= 1
        size[empty] += 1


def symmetrised(first_out: Int64Array, head: Int32Array) -> tuple[Int64Array, Int32Array]:
    """Return the neighbours of every node, whichever way the edge leads, each once and ascending: int64[n+1], int32."""
    first, neighbor, size = _both_ways(first_out, head)
    return first, neighbor if size == len(neighbor) else neighbor[:size].copy()


@kernel
def _both_ways(first_out: Int64Array, head: Int32Array) -> tuple[Int64Array, Int32Array, int]:
    count = len(first_out) - 1
    bounds = np.zeros(count + 1, np.int64)
    for node in range(count):
        bounds[node + 1] += first_out[node + 1] - first_out[node]
    for edge in range(len(head)):
        bounds[head[edge] + 1] += 1
    for node in range(count):
        bounds[node + 1] += bounds[node]
    neighbor = np.empty(bounds[count], np.int32)
    place = bounds[:-1].copy()
    for node in range(count):
        for edge in range(first_out[node], first_out[node + 1]):
            other = head[edge]
            neighbor[place[node]] = other
            place[node] += 1
            neighbor[place[other]] = node
            place[other] += 1
    first = np.zeros(count + 1, np.int64)
    kept = 0
    for node in range(count):
        row = np.sort(neighbor[bounds[node] : bounds[node + 1]])
        for i in range(len(row)):
            if row[i] != node and (i == 0 or row[i] != row[i - 1]):
                neighbor[kept] = row[i]
                kept += 1
        first[node + 1] = kept
    return first, neighbor, kept


@kernel
def induced(
    first: Int64Array, neighbor: Int32Array, nodes: Int32Array, local_number: Int32Array
) -> tuple[Int64Array, Int32Array]:
    """Return the adjacency among some nodes, in local numbers; `local_number`, int32[n], is -1 before and after."""
    for i in range(len(nodes)):
        local_number[nodes[i]] = i
    inner_first = np.zeros(len(nodes) + 1, np.int64)
    for i in range(len(nodes)):
        inside = 0
        for edge in range(first[nodes[i]], first[nodes[i] + 1]):
            if local_number[neighbor[edge]] >= 0:
                inside += 1
        inner_first[i + 1] = inner_first[i] + inside
    inner = np.empty(inner_first[-1], np.int32)
    place = 0
    for i in range(len(nodes)):
        for edge in range(first[nodes[i]], first[nodes[i] + 1]):
            other = local_number[neighbor[edge]]
            if other >= 0:
                inner[place] = other
                place += 1
    for i in range(len(nodes)):
        local_number[nodes[i]] = -1
    return inner_first, inner
