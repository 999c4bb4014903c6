"""Rows of a graph in columns: what a load sends and an export returns, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple, TypeAlias, TypeVar

from planmesh.errors import InvalidRequest

ROWS_PER_BATCH: Final = 8_192
"""Rows of a batch that `batches` makes: some hundred kilobytes with usual ids. The gateway takes up to 65,536."""


class RowOrigin(NamedTuple):
    """The place of a batch in the caller's data; an error about row i names `unit` number `first + i` of `source`."""

    source: str = ""
    """A file's name, such as "edges.tsv.gz"."""
    unit: str = "record"
    first: int = 1


NO_ORIGIN: Final = RowOrigin()


@dataclass(frozen=True, slots=True)
class NodeRows:
    """Nodes, a column per field; at most 65,536 rows. Ids are 1 to 512 bytes of UTF-8 without control characters."""

    ids: Sequence[str]
    domains: Sequence[str] = ()
    """None at all, or one per row ("" for none)."""
    regions: Sequence[str] = ()
    """None at all, or one per row ("" for none)."""
    origin: RowOrigin = NO_ORIGIN

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class EdgeRows:
    """Directed edges, a column per field; at most 65,536 rows."""

    sources: Sequence[str]
    targets: Sequence[str]
    costs: Sequence[float] = ()
    """None at all (each edge costs 1), or one per row: finite, 0 to 1e298."""
    origin: RowOrigin = NO_ORIGIN

    def __len__(self) -> int:
        return len(self.sources)


GraphRows: TypeAlias = NodeRows | EdgeRows

NodeTuple: TypeAlias = str | tuple[str] | tuple[str, str] | tuple[str, str, str]
"""An id, or (id,), (id, domain) or (id, domain, region)."""

EdgeTuple: TypeAlias = tuple[str, str] | tuple[str, str, float]
"""(source, target), which costs 1, or (source, target, cost)."""

AnyItem = TypeVar("AnyItem")
AnyRows = TypeVar("AnyRows")


def batches(nodes: Iterable[NodeTuple] | None, edges: Iterable[EdgeTuple] | None) -> Iterator[GraphRows]:
    """Nodes, then edges, in batches of ROWS_PER_BATCH. Raises InvalidRequest for an item of another shape."""
    yield from _batches(nodes or (), _node_rows)
    yield from _batches(edges or (), _edge_rows)


def _batches(items: Iterable[AnyItem], rows: Callable[[list[AnyItem], int], AnyRows]) -> Iterator[AnyRows]:
    iterator, first = iter(items), 1
    while batch := list(islice(iterator, ROWS_PER_BATCH)):
        yield rows(batch, first)
        first += len(batch)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _node_rows(items: list[NodeTuple], first: int) -> NodeRows:
    ids, domains, regions = [], [], []
    for number, item in enumerate(items, first):
        fields = (item,) if isinstance(item, str) else item
        if not isinstance(fields, tuple | list) or not 1 <= len(fields) <= 3 or not all(map(_is_text, fields)):
            raise InvalidRequest(
                f"nodes: expected an id, (id, domain) or (id, domain, region) as item {number}, got {item!r:.200}",
                field="nodes",
            )
        ids.append(fields[0])
        domains.append(fields[1] if len(fields) > 1 else "")
        regions.append(fields[2] if len(fields) > 2 else "")
    return NodeRows(
        ids, domains if any(domains) else (), regions if any(regions) else (), RowOrigin("nodes", "item", first)
    )


def _edge_rows(items: list[EdgeTuple], first: int) -> EdgeRows:
    sources, targets, costs = [], [], []
    for number, item in enumerate(items, first):
        if not isinstance(item, tuple | list) or not 2 <= len(item) <= 3 or not all(map(_is_text, item[:2])):
            raise InvalidRequest(
                f"edges: expected (source, target) or (source, target, cost) as item {number}, got {item!r:.200}",
                field="edges",
            )
        sources.append(item[0])
        targets.append(item[1])
        costs.append(item[2] if len(item) == 3 else 1.0)
    return EdgeRows(sources, targets, costs, RowOrigin("edges", "item", first))
