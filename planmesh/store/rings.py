"""Finds the neighbours of a node ring by ring, for stores whose databases cannot bound such a search themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from planmesh.errors import LimitExceeded
from planmesh.store.protocol import NEIGHBORS_MAX, StoredNeighbor


async def neighbors_by_rings(
    node: str, depth: int, next_to: Callable[[Sequence[str]], Awaitable[Iterable[str]]]
) -> list[StoredNeighbor]:
    """Return the nodes within `depth` edges of a node, sorted by hops and ids.

    `next_to` returns the nodes one edge away from the given ones.

    Raises LimitExceeded for more than NEIGHBORS_MAX.
    """
    hops = {node: 0}
    ring = [node]
    for hop in range(1, depth + 1):
        ring = [one for one in dict.fromkeys(await next_to(ring)) if one not in hops]
        hops.update(dict.fromkeys(ring, hop))
        if len(hops) - 1 > NEIGHBORS_MAX:
            raise LimitExceeded(
                f"{node!r} has more than {NEIGHBORS_MAX:,} neighbours within {depth}; ask for a smaller depth",
                bound="NEIGHBORS_MAX",
            )
    del hops[node]
    return [StoredNeighbor(name, hop) for hop, name in sorted((hop, name) for name, hop in hops.items())]
