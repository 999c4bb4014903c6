"""Partitions of the edges instead of the nodes, by hash: what they would cost, for comparison. None can be served.

Every edge lies in one partition, and a node is replicated into every partition that has an edge of it (vertex cuts:
Gonzalez et al., PowerGraph, 2012, where the replication factor is defined; the grid: Jain et al., GraphBuilder, 2013).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from planmesh.graph.adjacency import edge_tails
from planmesh.graph.model import Graph, Int32Array, Int64Array
from planmesh.graph.node_ids import NodeIds
from planmesh.kernels import kernel
from planmesh.partition.strategies import hash_slots

HASH_SLOTS: Final = 2**31 - 1
"""Slots from which rows and columns are drawn: many more than there are partitions, so that they come out even."""


class EdgeStrategy(StrEnum):
    """How edges are put into partitions."""

    SOURCE = "edge-hash-1d"
    SOURCE_TARGET = "edge-hash-2d"


@dataclass(frozen=True, slots=True)
class EdgeCut:
    """What a partition of the edges is like.

    `replication_factor` is the mean number of partitions that a node with an edge is in, `cut_nodes` are the nodes in
    more than one, and `balance` is the most edges of a partition over the mean.
    """

    strategy: EdgeStrategy
    partitions: int
    replication_factor: float
    cut_nodes: int
    balance: float


def grid_shape(partitions: int) -> tuple[int, int]:
    """Return the rows and columns, nearest to a square, whose product is the number of partitions."""
    rows = next(rows for rows in range(math.isqrt(partitions), 0, -1) if partitions % rows == 0)
    return rows, partitions // rows


def edge_cut(graph: Graph, ids: NodeIds, strategy: EdgeStrategy, partitions: int) -> EdgeCut:
    """Hash the edges into partitions and count. Needs 20 bytes an edge for the time of it.

    SOURCE hashes the id of an edge's start; SOURCE_TARGET takes a row by the start and a column by the end.
    """
    rows, columns = (partitions, 1) if strategy is EdgeStrategy.SOURCE else grid_shape(partitions)
    slot = hash_slots(ids.offsets, ids.blob, HASH_SLOTS)
    partition_of = (slot % rows)[edge_tails(graph.first_out)] * columns + (slot // rows % columns)[graph.head]
    partition_of = partition_of.astype(np.int32)
    replicas = _replicas(graph.first_out, graph.head, partition_of, partitions)
    used = replicas[replicas > 0]
    edges = np.bincount(partition_of, minlength=partitions)
    return EdgeCut(
        strategy=strategy,
        partitions=partitions,
        replication_factor=float(used.mean()) if len(used) else 0.0,
        cut_nodes=int(np.count_nonzero(replicas > 1)),
        balance=float(edges.max() / edges.mean()) if graph.edge_count else 1.0,
    )


@kernel
def _replicas(first_out: Int64Array, head: Int32Array, partition_of: Int32Array, partitions: int) -> Int32Array:
    """Return in how many partitions each node has an edge, int32[n]; `part_of`, int32[m], is by edge."""
    count = len(first_out) - 1
    first_in = np.zeros(count + 1, np.int64)
    for edge in range(len(head)):
        first_in[head[edge] + 1] += 1
    for node in range(count):
        first_in[node + 1] += first_in[node]
    incoming = np.empty(len(head), np.int32)
    place = first_in[:-1].copy()
    for edge in range(len(head)):
        incoming[place[head[edge]]] = partition_of[edge]
        place[head[edge]] += 1
    last_node = np.full(partitions, -1, np.int32)
    replicas = np.zeros(count, np.int32)
    for node in range(count):
        for edge in range(first_out[node], first_out[node + 1]):
            if last_node[partition_of[edge]] != node:
                last_node[partition_of[edge]] = node
                replicas[node] += 1
        for edge in range(first_in[node], first_in[node + 1]):
            if last_node[incoming[edge]] != node:
                last_node[incoming[edge]] = node
                replicas[node] += 1
    return replicas
