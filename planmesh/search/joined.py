"""All indexes of a graph joined into one hierarchy: what a process searches that holds the whole graph.

The top core comes first and the overlay's levels after it, from the highest down, since most searches climb to these
few nodes; then the contracted nodes of one partition after another, because a search begins in one of them. Every
shortcut knows the two links that it stands for. What the mesh does in two local searches, one of the overlay and the
unpacking at workers is here one search and one expansion, over the same edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from planmesh.graph.model import INVALID_ID, Float64Array, Int32Array, Int64Array
from planmesh.kernels import kernel
from planmesh.search.overlay import Overlay
from planmesh.search.partition_index import PartitionIndex
from planmesh.search.read_only import read_only

LINK = np.dtype([("end", np.int32), ("middle", np.int32), ("weight", np.float64)])
"""An edge or shortcut between a node and one above it (or between two of the core), as the lower one of both has it."""

LinkArray = npt.NDArray[np.void]


class JoinedIndex(NamedTuple):
    """A hierarchy of n nodes with m links, in numbers of its own.

    - `number` int32[n] is its number of each node of the graph, `node` int32[n] the inverse; the first `core_count`
      were not contracted.
    - `links` LINK[m]: those that leave node v upward begin at `first[2 * v]` (int32[2 * n + 1]), those that come down
      to it at `first[2 * v + 1]`. `middle` is the node that a shortcut goes over, -1 for an edge of the graph.
    - `halves` int32[m, 2]: the links to and from that middle.
    """

    number: Int32Array
    node: Int32Array
    core_count: int
    first: Int32Array
    links: LinkArray
    halves: Int32Array


def join(
    indexes: Sequence[PartitionIndex],
    partition_first: Int32Array | Int64Array,
    overlay: Overlay,
    overlay_global: Int32Array,
) -> JoinedIndex:
    """Join the indexes of all partitions and their overlay.

    The nodes of partition p are `partition_first[p]` (int32 or int64[P + 1]) and following; `overlay_global` (int32[k])
    is the number of each overlay node among them.
    """
    first = np.asarray(partition_first, np.int64)
    node = _from_the_top(indexes, first, overlay, overlay_global)
    number = np.empty_like(node)
    number[node] = np.arange(len(node), dtype=np.int32)
    shortcuts = _LevelOneShortcuts(indexes, first)
    up, down = (
        _joined([_lower_edges(indexes, first, side, end), _upper_edges(overlay, overlay_global, side, end, shortcuts)])
        for side, end in (("up", "head"), ("down", "tail"))
    )
    link_first, links = _sorted_links(number, up, down)
    halves = _find_halves(link_first, links)
    return JoinedIndex(
        read_only(number, np.int32), read_only(node, np.int32), overlay.core_count, link_first, links, halves
    )


def _from_the_top(
    indexes: Sequence[PartitionIndex], first: Int64Array, overlay: Overlay, overlay_global: Int32Array
) -> Int32Array:
    """All nodes in the order of the joined index."""
    height = np.where(overlay.rank == INVALID_ID, overlay.node_count, overlay.rank)
    ordered = [overlay_global[np.argsort(-height, kind="stable")]]
    for index, base in zip(indexes, first[:-1].tolist(), strict=True):
        contracted = np.flatnonzero(index.rank != INVALID_ID)
        ordered.append((contracted[np.argsort(-index.rank[contracted])] + base).astype(np.int32))
    return np.concatenate(ordered).astype(np.int32)


class _Edges(NamedTuple):
    """Edges of nodes: the node that each belongs to, its other end, its weight, its middle."""

    owner: Int32Array
    end: Int32Array
    weight: Float64Array
    middle: Int32Array


def _joined(halves: Sequence[_Edges]) -> _Edges:
    columns: list[Any] = [np.concatenate(column) for column in zip(*halves, strict=True)]
    return _Edges(*columns)


def _lower_edges(indexes: Sequence[PartitionIndex], first: Int64Array, side: str, end: str) -> _Edges:
    """The edges of all contracted nodes of partitions."""
    none = np.empty(0, np.int32)
    halves = [_Edges(none, none, np.empty(0, np.float64), none)]
    for index, base in zip(indexes, first[:-1].astype(np.int32), strict=True):
        middle = getattr(index, f"{side}_middle")
        counts = np.diff(getattr(index, f"{side}_first"))
        owner = np.repeat(np.arange(index.node_count, dtype=np.int32), counts) + base
        end_node = getattr(index, f"{side}_{end}") + base
        over = np.where(middle == INVALID_ID, np.int32(INVALID_ID), middle + base)
        halves.append(_Edges(owner, end_node, getattr(index, f"{side}_weight"), over))
    return _joined(halves)


def _upper_edges(
    overlay: Overlay, overlay_global: Int32Array, side: str, end: str, shortcuts: _LevelOneShortcuts
) -> _Edges:
    """The edges of overlay nodes; those of level 1 get the middle that they have in their partition."""
    owner = np.repeat(overlay_global, np.diff(getattr(overlay, f"{side}_first")))
    end_node = overlay_global[getattr(overlay, f"{side}_{end}")]
    over = getattr(overlay, f"{side}_middle")
    middle = overlay_global[over]
    level_one = np.flatnonzero(over == INVALID_ID)
    ends = owner[level_one], end_node[level_one]
    middle[level_one] = shortcuts.middles(*(ends if side == "up" else ends[::-1]))
    return _Edges(owner, end_node, getattr(overlay, f"{side}_weight"), middle)


def _sorted_links(number: Int32Array, up: _Edges, down: _Edges) -> tuple[Int32Array, LinkArray]:
    """`first` and `links` of a joined index."""
    count = len(up.owner) + len(down.owner)
    if count >= 2**31:
        raise ValueError(f"expected fewer than 2^31 links in a joined index, got {count}")
    slot = np.concatenate([2 * number[up.owner].astype(np.int64), 2 * number[down.owner].astype(np.int64) + 1])
    both = _joined([up, down])
    order = np.argsort(slot, kind="stable")
    first = np.zeros(2 * len(number) + 1, np.int32)
    np.cumsum(np.bincount(slot, minlength=2 * len(number)), out=first[1:])
    links = np.empty(count, LINK)
    links["end"] = number[both.end[order]]
    middle = both.middle[order]
    links["middle"] = np.where(middle == INVALID_ID, np.int32(INVALID_ID), number[middle])
    links["weight"] = both.weight[order]
    return first, links


class _LevelOneShortcuts:
    """Looks up which shortcut of a partition an edge of level 1 is."""

    def __init__(self, indexes: Sequence[PartitionIndex], first: Int64Array) -> None:
        self._node_count = int(first[-1])
        keys, middles = [np.empty(0, np.int64)], [np.empty(0, np.int32)]
        for index, base in zip(indexes, first[:-1], strict=True):
            share = index.overlay_share
            is_shortcut = share.middle != INVALID_ID
            tails = np.repeat(share.node, np.diff(share.first_out))[is_shortcut] + base
            heads = share.node[share.head[is_shortcut]] + base
            keys.append(tails * self._node_count + heads)
            middles.append((share.middle[is_shortcut] + base).astype(np.int32))
        key = np.concatenate(keys)
        order = np.argsort(key)
        self._key = key[order]
        self._middle = np.concatenate(middles)[order]

    def middles(self, tails: Int32Array, heads: Int32Array) -> Int32Array:
        """The middle of each edge, -1 of one that is no partition's shortcut."""
        wanted = tails.astype(np.int64) * self._node_count + heads
        found = np.full(len(wanted), INVALID_ID, np.int32)
        if len(self._key):
            place = np.minimum(np.searchsorted(self._key, wanted), len(self._key) - 1)
            same = self._key[place] == wanted
            found[same] = self._middle[place[same]]
        return found


@kernel
def _find_halves(first: Int32Array, links: LinkArray) -> Int32Array:
    """`halves` of a joined index; -1 for edges of the graph."""
    halves = np.full((len(links), 2), -1, np.int32)
    for slot in range(len(first) - 1):
        node = slot >> 1
        for link in range(first[slot], first[slot + 1]):
            middle = links[link]["middle"]
            if middle >= 0:
                tail, head = (links[link]["end"], node) if slot & 1 else (node, links[link]["end"])
                halves[link, 0] = _position(links, first[2 * middle + 1], first[2 * middle + 2], tail)
                halves[link, 1] = _position(links, first[2 * middle], first[2 * middle + 1], head)
    return halves


@kernel
def _position(links: LinkArray, begin: int, stop: int, end: int) -> int:
    for link in range(begin, stop):
        if links[link]["end"] == end:
            return link
    raise AssertionError("a shortcut's middle has lost one of its edges")
