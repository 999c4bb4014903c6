"""Partitions of the edges instead of the nodes, by hash. They are measured for comparison only and cannot be served.

Every edge is in one partition, and every partition with an edge of a node has a replica of the node (vertex cuts and
replication factor: Gonzalez et al., PowerGraph, 2012; the grid: Jain et al., GraphBuilder, 2013).
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
"""Hash slots that are divided among rows and columns: many more than there are partitions, so the shares are even."""


class EdgeStrategy(StrEnum):
    """The method that assigns edges to partitions."""

    SOURCE = "edge-hash-1d"
    SOURCE_TARGET = "edge-hash-2d"


@dataclass(frozen=True, slots=True)
class EdgeCut:
    """Measures of a partition of the edges.

    `replication_factor` is the mean number of partitions of a node that has an edge, `cut_nodes` the number of nodes in
    more than one partition, and `balance` the edges of the largest partition over the mean.
    """

    strategy: EdgeStrategy
    partitions: int
    replication_factor: float
    cut_nodes: int
    balance: float


def grid_shape(partitions: int) -> tuple[int, int]:
    """Return the rows and columns, as close to a square as possible, whose product is the number of partitions."""
    rows = next(rows for rows in range(math.isqrt(partitions), 0, -1) if partitions % rows == 0)
    return rows, partitions // rows


def edge_cut(graph: Graph, ids: NodeIds, strategy: EdgeStrategy, partitions: int) -> EdgeCut:
    """Assign the edges to partitions by hash and count. Takes 20 bytes an edge meanwhile.

    SOURCE hashes the id of an edge's source. SOURCE_TARGET takes a row of the grid by the source's hash and a column by
    the target's.
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
    """Return the number of partitions in which each node has an edge, int32[n]. `partition_of` int32[m] is by edge."""
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
