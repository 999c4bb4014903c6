"""Converts rows to and from the texts that the scripts exchange."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from planmesh.graph.rows import EdgeRows, NodeRows

LABEL_SEPARATOR: Final = "\n"
"""Separates domain and region: no label contains it (`planmesh.graph.rules`)."""


def node_arguments(rows: NodeRows, batch: slice) -> Iterator[str]:
    """Yield the id and the joined labels of each node of a batch."""
    for node, domain, region in zip(rows.ids[batch], rows.domains[batch], rows.regions[batch], strict=True):
        yield node
        yield f"{domain}{LABEL_SEPARATOR}{region}"


def edge_arguments(rows: EdgeRows, batch: slice) -> Iterator[str]:
    """Yield source, target and cost of each edge of a batch; a cost is the shortest text of the same float64."""
    for source, target, cost in zip(rows.sources[batch], rows.targets[batch], rows.costs[batch].tolist(), strict=True):
        yield source
        yield target
        yield repr(cost)


def labels_of(text: str) -> tuple[str, str]:
    """Return the domain and the region in joined labels."""
    domain, _, region = text.partition(LABEL_SEPARATOR)
    return domain, region
