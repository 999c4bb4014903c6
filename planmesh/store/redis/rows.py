"""Rows as the texts that scripts take and return."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from planmesh.graph.rows import EdgeRows, NodeRows

LABEL_SEPARATOR: Final = "\n"
"""Between domain and region: no label contains it (`planmesh.graph.rules`)."""


def node_arguments(rows: NodeRows, part: slice) -> Iterator[str]:
    """Yield id and labels of each node of a part."""
    for node, domain, region in zip(rows.ids[part], rows.domains[part], rows.regions[part], strict=True):
        yield node
        yield f"{domain}{LABEL_SEPARATOR}{region}"


def edge_arguments(rows: EdgeRows, part: slice) -> Iterator[str]:
    """Yield source, target and cost of each edge of a part; a cost is the shortest text that gives the same float64."""
    for source, target, cost in zip(rows.sources[part], rows.targets[part], rows.costs[part].tolist(), strict=True):
        yield source
        yield target
        yield repr(cost)


def labels_of(text: str) -> tuple[str, str]:
    """Return domain and region."""
    domain, _, region = text.partition(LABEL_SEPARATOR)
    return domain, region
