"""Which partition a node goes to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

import numpy as np

from planmesh.errors import InvalidRequest, LimitExceeded
from planmesh.graph.model import PARTITIONS_MAX, Graph, Int32Array, Int64Array, UInt8Array
from planmesh.graph.node_ids import NodeIds
from planmesh.graph.node_ids_kernels import hash_bytes
from planmesh.kernels import kernel
from planmesh.partition.groups import Groups, Labels, group_by, group_by_both
from planmesh.partition.mincut import cut
from planmesh.partition.quotient import order_by_locality, quotient_of
from planmesh.partition.size_bounds import HALF_NODES_MIN, SizeBounds, merge_small, reduce_to, split_large
from planmesh.partition.streaming import stream

CUT_NODES_MIN: Final = 1_024
"""Least mean nodes that mincut, stream and hash aim at: below, a dispatch costs more than its search saves."""

CUT_NODES_MAX: Final = 16_384
"""Most nodes of a partition that they aim at: New York's 264,346 make 16 partitions, ten million 610."""

CUT_PARTITIONS_WANTED: Final = 16
"""Partitions aimed at in between, enough for the workers of one machine."""


class Strategy(StrEnum):
    """How nodes are put into partitions."""

    DOMAIN = "domain"
    REGION = "region"
    HYBRID = "hybrid"
    HASH = "hash"
    MINCUT = "mincut"
    STREAM = "stream"


@dataclass(frozen=True, slots=True)
class Partitioning:
    """A partition for every node: `partition_of` int32[n] from 0 to P - 1, none of them empty.

    `names` are P different names. Partitions near each other in the graph have numbers near each other. `warnings`
    say what was merged and split, with figures.
    """

    partition_of: Int32Array
    names: list[str]
    strategy: Strategy
    warnings: list[str] = field(default_factory=list)

    @property
    def partition_count(self) -> int:
        """Number of partitions."""
        return len(self.names)


@dataclass(frozen=True, slots=True)
class Numbering:
    """Node numbers in order of partition: node v is called `new_number[v]`, and node i was `new_order[i]`.

    Shapes and dtypes: both int32[n]; `partition_first` int32[P + 1], the first new number of each partition.
    """

    new_number: Int32Array
    new_order: Int32Array
    partition_first: Int32Array


def number_by_partition(partition_of: Int32Array, partitions: int) -> Numbering:
    """Number the nodes partition by partition, keeping their order within each."""
    new_order = np.argsort(partition_of, kind="stable").astype(np.int32)
    new_number = np.empty(len(partition_of), np.int32)
    new_number[new_order] = np.arange(len(partition_of), dtype=np.int32)
    partition_first = np.zeros(partitions + 1, np.int32)
    np.cumsum(np.bincount(partition_of, minlength=partitions), out=partition_first[1:])
    return Numbering(new_number, new_order, partition_first)


def default_partitions(nodes: int) -> int:
    """Return how many partitions mincut, stream and hash make when none are asked for.

    About 16, but so that they have from 1,024 to 16,384 nodes on average.
    """
    wanted = min(max(nodes / CUT_PARTITIONS_WANTED, CUT_NODES_MIN), CUT_NODES_MAX)
    return max(1, round(nodes / wanted))


def choose_strategy(domains: Labels | None, regions: Labels | None) -> Strategy:
    """Return what is done when no strategy is named: by domain if there are any, else by region, else by mincut."""
    if domains is not None and domains.any():
        return Strategy.DOMAIN
    if regions is not None and regions.any():
        return Strategy.REGION
    return Strategy.MINCUT


def partition(
    graph: Graph,
    strategy: Strategy | None = None,
    *,
    partitions: int = 0,
    domains: Labels | None = None,
    regions: Labels | None = None,
    ids: NodeIds | None = None,
    bounds: SizeBounds | None = None,
) -> Partitioning:
    """Put every node of a graph into a partition; the same input always gives the same output.

    `partitions` is how many are wanted, 0 for a default. MINCUT and STREAM make exactly so many, HASH too unless some
    would be empty. For DOMAIN, REGION and HYBRID it is an upper bound: more groups are merged into so many, whatever
    their size, but whole ones are not cut up just to reach the number. `ids` are needed by HASH, `domains` and
    `regions` by the strategies that are called so. `bounds` default to `SizeBounds.for_graph`.

    Raises InvalidRequest when the strategy lacks its labels or there are fewer nodes than partitions, LimitExceeded
    over PARTITIONS_MAX.
    """
    if partitions > PARTITIONS_MAX:
        raise LimitExceeded(
            f"expected at most {PARTITIONS_MAX:,} partitions, got {partitions:,}", bound="PARTITIONS_MAX"
        )
    if partitions < 0:
        raise InvalidRequest(f"expected a number of partitions, or 0 for a default, got {partitions}")
    chosen = strategy or choose_strategy(domains, regions)
    if graph.node_count == 0:
        return Partitioning(np.zeros(0, np.int32), [], chosen)
    if chosen is Strategy.MINCUT or chosen is Strategy.STREAM:
        return _by_edges(graph, chosen, partitions)
    if chosen is Strategy.HASH:
        assert ids is not None, "strategy hash needs the ids"
        return _by_hash(ids, partitions)
    return _by_label(graph, chosen, partitions, domains, regions, bounds or SizeBounds.for_graph(graph.node_count))


def _wanted(nodes: int, partitions: int) -> int:
    if partitions > nodes:
        raise InvalidRequest(f"expected at most one partition a node: {partitions:,} asked for, {nodes:,} nodes")
    return partitions or default_partitions(nodes)


def _by_edges(graph: Graph, strategy: Strategy, partitions: int) -> Partitioning:
    count = _wanted(graph.node_count, partitions)
    partition_of = cut(graph, count) if strategy is Strategy.MINCUT else stream(graph, count)
    order = order_by_locality(quotient_of(graph, partition_of, count))
    number = np.empty(count, np.int32)
    number[order] = np.arange(count, dtype=np.int32)
    name = "cut" if strategy is Strategy.MINCUT else "stream"
    return Partitioning(number[partition_of], [f"{name}.{i + 1}" for i in range(count)], strategy)


def _by_hash(ids: NodeIds, partitions: int) -> Partitioning:
    count = _wanted(len(ids), partitions)
    slot = hash_slots(ids.offsets, ids.blob, count)
    used, partition_of = np.unique(slot, return_inverse=True)
    warnings = []
    if len(used) < count:
        warnings.append(
            f"{count - len(used):,} of {count:,} partitions would have no node, because a hash spreads "
            f"{len(ids):,} nodes unevenly: {len(used):,} partitions were made"
        )
    names = [f"hash.{i + 1}" for i in range(len(used))]
    return Partitioning(partition_of.astype(np.int32), names, Strategy.HASH, warnings)


@kernel
def hash_slots(offsets: Int64Array, blob: UInt8Array, slots: int) -> Int32Array:
    """Return the slot of every id by its hash, int32[n]."""
    slot_of = np.empty(len(offsets) - 1, np.int32)
    for node in range(len(offsets) - 1):
        slot_of[node] = hash_bytes(blob, offsets[node], offsets[node + 1]) % np.uint64(slots)
    return slot_of


def _by_label(
    graph: Graph,
    strategy: Strategy,
    partitions: int,
    domains: Labels | None,
    regions: Labels | None,
    bounds: SizeBounds,
) -> Partitioning:
    groups = _label_groups(strategy, domains, regions)
    kind = "region" if strategy is Strategy.REGION else "domain"
    if partitions:
        bounds = replace(bounds, nodes_max=max(bounds.nodes_max, -(-graph.node_count * 3 // (partitions * 2))))
    nodes_max = bounds.nodes_max if strategy is Strategy.REGION else _half_bound(groups, graph.node_count, bounds)
    groups, split = split_large(graph, groups, nodes_max, kind)
    groups, merged = merge_small(graph, groups, bounds, kind)
    groups, reduced = reduce_to(graph, groups, partitions, kind)
    order = order_by_locality(quotient_of(graph, groups.of, len(groups)), groups.region)
    number = np.empty(len(groups), np.int32)
    number[order] = np.arange(len(groups), dtype=np.int32)
    names = [groups.names[group] for group in order.tolist()]
    return Partitioning(number[groups.of], names, strategy, split + merged + reduced)


def _label_groups(strategy: Strategy, domains: Labels | None, regions: Labels | None) -> Groups:
    needs = {
        Strategy.DOMAIN: (("domain", domains),),
        Strategy.REGION: (("region", regions),),
        Strategy.HYBRID: (("region", regions), ("domain", domains)),
    }[strategy]
    for name, labels in needs:
        if labels is None or not labels.any():
            raise InvalidRequest(
                f"strategy {strategy.value} needs the {name} of the nodes, but no node has one: "
                f"name the column that holds it, or use strategy mincut"
            )
    known_regions = regions if regions is not None and regions.any() else None
    if strategy is Strategy.REGION:
        assert regions is not None
        return group_by(regions, None)
    assert domains is not None
    if strategy is Strategy.HYBRID:
        assert regions is not None
        return group_by_both(domains, regions)
    return group_by(domains, known_regions)


def _half_bound(groups: Groups, nodes: int, bounds: SizeBounds) -> int:
    """Return the bound that also splits a domain with half the graph (or three quarters, where there are but two)."""
    share_max = (nodes - 1) // 2 if len(groups) > 2 else nodes * 3 // 4
    return max(min(bounds.nodes_max, share_max), min(HALF_NODES_MIN, bounds.nodes_max))
