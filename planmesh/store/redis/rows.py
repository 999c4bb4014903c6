"""Converts rows to and from the texts that the scripts exchange."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.store.protocol import StoreChanges

LABEL_SEPARATOR: Final = "\n"
"""Separates domain and region: no label contains it (`planmesh.graph.rules`)."""


ALL: Final = slice(None)
"""The batch of all rows."""


def node_arguments(rows: NodeRows, batch: slice = ALL) -> Iterator[str]:
    """Yield the id and the joined labels of each node of a batch."""
    for node, domain, region in zip(rows.ids[batch], rows.domains[batch], rows.regions[batch], strict=True):
        yield node
        yield f"{domain}{LABEL_SEPARATOR}{region}"


def edge_arguments(rows: EdgeRows, batch: slice = ALL) -> Iterator[str]:
    """Yield source, target and cost of each edge of a batch; a cost is the shortest text of the same float64."""
    for source, target, cost in zip(rows.sources[batch], rows.targets[batch], rows.costs[batch].tolist(), strict=True):
        yield source
        yield target
        yield repr(cost)


def pair_arguments(pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield source and target of each pair."""
    return (end for pair in pairs for end in pair)


def change_arguments(changes: StoreChanges) -> list[str]:
    """Return the arguments of the script that applies a batch of changes."""
    removed, written, gone = changes.removed_nodes(), changes.written_nodes(), changes.deleted_edges
    numbers = (changes.version, len(removed), len(written), len(gone))
    return [
        *map(str, numbers),
        *removed,
        *node_arguments(written),
        *pair_arguments(gone),
        *edge_arguments(changes.upserted_edges),
    ]


def labels_of(text: str) -> tuple[str, str]:
    """Return the domain and the region in joined labels."""
    domain, _, region = text.partition(LABEL_SEPARATOR)
    return domain, region
