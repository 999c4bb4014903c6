"""Building the upper levels of an overlay: contraction group by group, then as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from planmesh.graph.model import INVALID_ID, BoolArray, Float64Array, Int32Array, Int64Array
from planmesh.search.contraction import Contraction, ContractionLimits, Contractor
from planmesh.search.contraction_kernel import BOUND_COUNT
from planmesh.search.overlay import Overlay
from planmesh.search.read_only import read_only

OVERLAY_LIMITS = ContractionLimits(
    settle_thorough_max=100,
    growth_factor_cheap=0.7,
    growth_slack_cheap=0,
    growth_factor=0.7,
    growth_slack=0,
    table_nodes_max=4096,
)
"""Limits for overlay levels.

A stricter stop rule than in partitions: on service-like graphs what lies above it is so dense that climbing it takes
four times as long as Dijkstra's search on the core (0.27 against 0.06 ms), and road-like graphs contract to nothing
below it all the same. One level at a time is built, so a larger table (128 MiB) is affordable.
"""

GROUP_PARTITIONS = 32
"""Partitions whose overlay nodes the first upper level contracts together."""

GROUP_GROWTH = 8
"""Groups of one level that make a group of the next."""

GROUPS_MAX = 48
"""Groups of a level after which the whole overlay is contracted next."""

GROUPS_MIN = 4
"""Groups that a level must have to be worth its while: with fewer, most of the work is done twice."""


class Edges(NamedTuple):
    """Edges in any order: tail, head, middle int32[m], weight float64[m]."""

    tail: Int32Array
    head: Int32Array
    weight: Float64Array
    middle: Int32Array

    def take(self, which: Int64Array) -> Edges:
        """The edges at some positions, in that order."""
        return Edges(self.tail[which], self.head[which], self.weight[which], self.middle[which])


def default_levels(partition_of_overlay_node: Int32Array, partition_count: int) -> list[Int32Array]:
    """Groups for `build_overlay`: ranges of partitions, wider on each level, and the whole at last.

    `partition_of_overlay_node` is int32[n]; each level is int32[n].
    """
    levels: list[Int32Array] = []
    size = GROUP_PARTITIONS
    while partition_count > size * (GROUPS_MIN - 1):
        levels.append((partition_of_overlay_node // size).astype(np.int32))
        if partition_count <= size * GROUPS_MAX:
            break
        size *= GROUP_GROWTH
    levels.append(np.zeros(len(partition_of_overlay_node), np.int32))
    return levels


def build_overlay(
    first_out: Int32Array | Int64Array,
    head: Int32Array,
    weight: Float64Array,
    levels: Sequence[Int32Array],
    limits: ContractionLimits = OVERLAY_LIMITS,
    progress: Callable[[int, int], None] | None = None,
    reached: Int64Array | None = None,
) -> Overlay:
    """Contract the level-1 overlay in levels.

    Level 1: first_out int32 or int64[n + 1], head int32[m], weight float64[m]: the edges that remain in all partitions
    and the cross edges, in overlay node numbers. Each of `levels` (int32[n]) gives every overlay node a group; on that
    level the nodes of a group that have no edge to another group are contracted, as far as the limits allow.
    `progress(done, total)` is called after each group. How often each Bound was reached is added to `reached`
    (int64[BOUND_COUNT]).
    """
    first = read_only(first_out, np.int32)
    heads = read_only(head, np.int32)
    weights = read_only(weight, np.float64)
    node_count = len(first) - 1
    for level in levels:
        if len(level) != node_count:
            raise ValueError(f"expected a group for each of {node_count} overlay nodes, got {len(level)}")
    builder = _OverlayBuilder(first, heads, weights, limits)
    groups_of_levels = [int(level.max(initial=-1)) + 1 for level in levels]
    total = sum(groups_of_levels)
    done = 0
    for level in levels:
        for _ in builder.contract_level(read_only(level, np.int32)):
            done += 1
            if progress is not None:
                progress(done, total)
    if reached is not None:
        reached += builder.reached
    return builder.finish()


class _OverlayBuilder:
    """The overlay while its levels are built. `edges` are those between nodes that remain."""

    def __init__(self, first: Int32Array, head: Int32Array, weight: Float64Array, limits: ContractionLimits) -> None:
        self.level_1 = (first, head, weight)
        self.node_count = len(first) - 1
        self.limits = limits
        self.rank: Int32Array = np.full(self.node_count, INVALID_ID, np.int32)
        self.contracted_count = 0
        tail = np.repeat(np.arange(self.node_count, dtype=np.int32), np.diff(first))
        middle = np.full(len(head), INVALID_ID, np.int32)
        self.edges = _merged(Edges(tail, head, weight, middle))
        self.reached: Int64Array = np.zeros(BOUND_COUNT, np.int64)
        self.up: list[Edges] = []
        self.down: list[Edges] = []

    def contract_level(self, group: Int32Array) -> Iterator[None]:
        """Contract one group after another; yields after each."""
        edges = self.edges
        crosses = group[edges.tail] != group[edges.head]
        is_border = np.zeros(self.node_count, bool)
        is_border[edges.tail[crosses]] = True
        is_border[edges.head[crosses]] = True
        group_count = int(group.max(initial=-1)) + 1
        nodes = np.flatnonzero(self.rank == INVALID_ID).astype(np.int32)
        nodes = nodes[np.argsort(group[nodes], kind="stable")]
        node_cuts = np.searchsorted(group[nodes], np.arange(group_count + 1))
        inner = np.flatnonzero(~crosses)
        inner = inner[np.argsort(group[edges.tail[inner]], kind="stable")]
        edge_cuts = np.searchsorted(group[edges.tail[inner]], np.arange(group_count + 1))
        number = np.full(self.node_count, INVALID_ID, np.int32)
        kept = [edges.take(np.flatnonzero(crosses))]
        for position in range(group_count):
            members = nodes[node_cuts[position] : node_cuts[position + 1]]
            number[members] = np.arange(len(members), dtype=np.int32)
            group_edges = edges.take(inner[edge_cuts[position] : edge_cuts[position + 1]])
            kept.append(self._contract_group(members, ~is_border[members], group_edges, number))
            yield
        self.edges = _concatenated(kept)

    def _contract_group(self, members: Int32Array, may_contract: BoolArray, edges: Edges, number: Int32Array) -> Edges:
        """Contract the inner nodes of one group; returns the edges between the nodes of it that remain."""
        first = _first_of(number[edges.tail], len(members))
        order = np.argsort(number[edges.tail], kind="stable")
        edges = edges.take(order)
        contractor = Contractor(first, number[edges.head], edges.weight, self.limits)
        contractor.contract(np.flatnonzero(may_contract).astype(np.int32))
        result = contractor.finish()
        self.reached += result.reached
        contracted = np.flatnonzero(result.rank != INVALID_ID)
        self.rank[members[contracted]] = result.rank[contracted] + self.contracted_count
        self.contracted_count += len(contracted)
        self.up.append(_up_edges(result, members, edges.middle))
        self.down.append(_down_edges(result, members, edges.middle))
        return _remaining_edges(result, members, edges.middle)

    def finish(self) -> Overlay:
        """The overlay with its top core."""
        up = _concatenated([*self.up, self.edges])
        swapped = Edges(self.edges.head, self.edges.tail, self.edges.weight, self.edges.middle)
        down = _concatenated([*self.down, swapped])
        first, head, weight = self.level_1
        arrays: dict[str, npt.NDArray[Any]] = {"first_out": first, "head": head, "weight": weight, "rank": self.rank}
        for name, ends, edges in (("up", "head", up), ("down", "tail", down)):
            order = np.lexsort((edges.head, edges.tail))
            arrays[f"{name}_first"] = _first_of(edges.tail, self.node_count)
            arrays[f"{name}_{ends}"] = edges.head[order]
            arrays[f"{name}_weight"] = edges.weight[order]
            arrays[f"{name}_middle"] = edges.middle[order]
        return Overlay.from_arrays(arrays)


def _first_of(tail: Int32Array, node_count: int) -> Int32Array:
    first = np.zeros(node_count + 1, np.int32)
    np.cumsum(np.bincount(tail, minlength=node_count), out=first[1:])
    return first


def _merged(edges: Edges) -> Edges:
    """Sorted by tail and head, self-loops dropped, of parallel edges the cheapest."""
    order = np.lexsort((edges.weight, edges.head, edges.tail))
    edges = edges.take(order)
    keep = edges.tail != edges.head
    keep[1:] &= (edges.tail[1:] != edges.tail[:-1]) | (edges.head[1:] != edges.head[:-1])
    return edges.take(np.flatnonzero(keep))


def _concatenated(groups: Sequence[Edges]) -> Edges:
    return Edges(*(np.concatenate(column) for column in zip(*groups, strict=True)))


def _middles(middle: Int32Array, members: Int32Array, edge_middle: Int32Array) -> Int32Array:
    """Middle nodes in overlay numbers: of this contraction, or those that its edges came with."""
    result = np.empty(len(middle), np.int32)
    is_new = middle >= 0
    result[is_new] = members[middle[is_new]]
    result[~is_new] = edge_middle[-1 - middle[~is_new]]
    return result


def _tails(first: Int32Array, nodes: Int32Array) -> Int32Array:
    return np.repeat(nodes, np.diff(first))


def _up_edges(result: Contraction, members: Int32Array, edge_middle: Int32Array) -> Edges:
    middle = _middles(result.up_middle, members, edge_middle)
    return Edges(_tails(result.up_first, members), members[result.up_head], result.up_weight, middle)


def _down_edges(result: Contraction, members: Int32Array, edge_middle: Int32Array) -> Edges:
    middle = _middles(result.down_middle, members, edge_middle)
    return Edges(_tails(result.down_first, members), members[result.down_tail], result.down_weight, middle)


def _remaining_edges(result: Contraction, members: Int32Array, edge_middle: Int32Array) -> Edges:
    nodes = members[result.remaining_node]
    middle = _middles(result.remaining_middle, members, edge_middle)
    return Edges(_tails(result.remaining_first, nodes), nodes[result.remaining_head], result.remaining_weight, middle)
