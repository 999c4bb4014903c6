"""Descriptions of a version's nodes and partitions, read from its snapshot. All functions block."""

from __future__ import annotations

from typing import Final

import numpy as np

from planmesh.dispatch.queues import shard_of
from planmesh.errors import InvalidRequest, LimitExceeded, NodeUnknown
from planmesh.internal.v1 import partition_pb2
from planmesh.snapshot.report_file import read_neighbors
from planmesh.v1 import graph_pb2
from services.partition.catalog.served import KnownVersion

PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1_000
DRAWN_NODES_MAX: Final = 20_000
SUGGESTIONS_MAX: Final = 3


def describe_node(known: KnownVersion, node_id: str) -> graph_pb2.Node:
    """Return the description of a node for GetNode. Raises NodeUnknown with similar ids."""
    reader = known.open()
    directory = reader.directory()
    place = directory.locate(node_id)
    if place is None:
        raise NodeUnknown(node_id, directory.ids.near(node_id, SUGGESTIONS_MAX))
    number, local = place
    partition = reader.partition(number)
    node = int(directory.partition_first[number]) + local
    out_slice = slice(int(partition.out_first[local]), int(partition.out_first[local + 1]))
    in_slice = slice(int(partition.in_first[local]), int(partition.in_first[local + 1]))
    ends = np.concatenate([partition.out_head[out_slice], partition.in_tail[in_slice]])
    inside = (ends >= partition.partition_first) & (ends < partition.partition_first + partition.node_count)
    return graph_pb2.Node(
        id=node_id,
        version=known.number,
        domain=directory.domains.label(node),
        region=directory.regions.label(node),
        partition=directory.partition_names[number],
        boundary=not bool(inside.all()),
        out_degree=out_slice.stop - out_slice.start,
        in_degree=in_slice.stop - in_slice.start,
        state="up",
    )


def draw_nodes(known: KnownVersion, count: int, seed: int) -> list[str]:
    """Return `count` ids drawn uniformly, with repetition. The same seed and version give the same ids.

    Raises LimitExceeded above DRAWN_NODES_MAX.
    """
    if count > DRAWN_NODES_MAX:
        raise LimitExceeded(
            f"expected a sample of at most {DRAWN_NODES_MAX} nodes, got {count}", bound="DRAWN_NODES_MAX"
        )
    directory = known.open().directory()
    drawn = np.random.default_rng(seed).integers(0, directory.node_count, count).astype(np.int32)
    return directory.names(drawn)


def describe_partitions(
    known: KnownVersion, page_size: int, page_token: str, shard_count: int
) -> partition_pb2.DescribePartitionsResponse:
    """Return one page of ListPartitions, from `page_token` on ("": the first page).

    `page_size` 0 is PAGE_SIZE_DEFAULT. Raises LimitExceeded above PAGE_SIZE_MAX, and InvalidRequest for a token of
    another version or with another format.
    """
    if page_size > PAGE_SIZE_MAX:
        raise LimitExceeded(f"expected a page of at most {PAGE_SIZE_MAX}, got {page_size}", bound="PAGE_SIZE_MAX")
    total = len(known.manifest.partitions)
    start = _read_token(page_token, known.number, total)
    stop = min(total, start + (page_size or PAGE_SIZE_DEFAULT))
    return partition_pb2.DescribePartitionsResponse(
        partitions=_partitions(known, range(start, stop), shard_count),
        next_page_token=f"{known.number}:{stop}" if stop < total else "",
        version=known.number,
        total_size=total,
    )


def _partitions(known: KnownVersion, numbers: range, shard_count: int) -> list[graph_pb2.Partition]:
    entries = known.manifest.partitions
    report = known.open().report()
    described = []
    for number in numbers:
        entry = entries[number]
        neighbors = [
            graph_pb2.PartitionNeighbor(
                name=entries[one.partition].name,
                cross_edges_out=one.cross_edges_out,
                cross_edges_in=one.cross_edges_in,
                entries=one.entries,
                exits=one.exits,
            )
            for one in read_neighbors(report, number)
        ]
        described.append(
            graph_pb2.Partition(
                number=number,
                name=entry.name,
                shard=shard_of(number, len(entries), shard_count),
                nodes=entry.nodes,
                internal_edges=entry.internal_edges,
                cross_edges_out=entry.cross_edges_out,
                cross_edges_in=entry.cross_edges_in,
                entries=entry.entries,
                exits=entry.exits,
                overlay_nodes=entry.overlay_nodes,
                core_nodes=entry.core_nodes,
                index_bytes=entry.bytes,
                neighbors=neighbors,
                stores=_stores(known, number),
            )
        )
    return described


def _stores(known: KnownVersion, number: int) -> list[str]:
    """Return the stores that contain a partition's nodes, sorted, according to the labels of the nodes."""
    options = known.description.options
    if not options.region_stores and not options.domain_stores:
        return []
    directory = known.open().directory()
    nodes = slice(int(directory.partition_first[number]), int(directory.partition_first[number + 1]))
    found: set[str] = set()
    for labels, stores in ((directory.regions, options.region_stores), (directory.domains, options.domain_stores)):
        if stores:
            firsts = np.unique(labels.codes[nodes], return_index=True)[1]
            found.update(stores.get(labels.label(nodes.start + int(first)), "") for first in firsts)
    return sorted(found - {""})


def _read_token(token: str, version: int, total: int) -> int:
    if not token:
        return 0
    of_version, _, start = token.partition(":")
    if not (of_version.isdecimal() and start.isdecimal() and len(token) <= 40 and int(start) <= total):
        raise InvalidRequest(f"expected a page token of this service, got {token[:80]!r}", field="page_token")
    if int(of_version) != version:
        raise InvalidRequest(
            f"expected a page token of version {version}, which is served now, got one of version {of_version}; start "
            "again with the first page",
            field="page_token",
        )
    return int(start)
