"""Changes of a graph, batches of them, and what became of a batch, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from planmesh.errors import PlanmeshError


@dataclass(frozen=True, slots=True)
class UpsertNode:
    """Creates a node, or changes the given fields of an existing one. What is None stays as it is."""

    id: str
    domain: str | None = None
    region: str | None = None
    state: str | None = None
    """"up", "degraded", "down" or another text of at most 64 bytes. A node that is down is on no plan."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Attributes to set; an empty value removes one. At most 32 of a node: keys of 64 bytes, values of 256."""


@dataclass(frozen=True, slots=True)
class DeleteNode:
    """Deletes a node and its edges."""

    id: str


@dataclass(frozen=True, slots=True)
class UpsertEdge:
    """Creates an edge, or changes the given fields of an existing one. At most one of the costs is given."""

    source: str
    target: str
    cost: float | None = None
    """A finite number from 0 to 1e298. A new edge needs it."""
    cost_factor: float | None = None
    """The cost becomes the loaded cost times this number."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """As UpsertNode.attributes."""


@dataclass(frozen=True, slots=True)
class DeleteEdge:
    """Deletes an edge."""

    source: str
    target: str


Change: TypeAlias = UpsertNode | DeleteNode | UpsertEdge | DeleteEdge
"""One change of a graph."""


@dataclass(frozen=True, slots=True)
class UpdateBatch:
    """One batch of `update_graph_stream`; the fields are the arguments of `update_graph`."""

    changes: Sequence[Change]
    graph: str | None = None
    """None: the graph of the stream."""
    if_version: int | None = None
    key: str = ""
    """Without a key, a batch that is sent again is applied again."""
    ignore_missing: bool = False


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """An applied batch."""

    graph: str
    version: int
    """The version from which on the changes hold: pass it as `min_version` to read them."""
    applied: int
    """The number of changes in the batch."""
    repeated_attempt: bool
    """An earlier attempt with the same idempotency key had applied the batch already."""


@dataclass(frozen=True, slots=True)
class UpdateAnswer:
    """The answer to one batch of a stream: an update or an error."""

    index: int
    """Position of the batch in the stream, from 0."""
    update: UpdateResult | None
    error: PlanmeshError | None
    """Why the batch had no effect; the batches after it are not concerned."""

    def result(self) -> UpdateResult:
        """The update; raises the error when the batch was refused."""
        if self.update is None:
            assert self.error is not None
            raise self.error
        return self.update
