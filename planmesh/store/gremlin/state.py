"""The state of a graph, which a vertex of our own holds."""

from __future__ import annotations

from dataclasses import dataclass

from planmesh.errors import Conflict, StoreRefused
from planmesh.store.gremlin.connection import Connections
from planmesh.store.gremlin.traversals import Traversals


@dataclass(frozen=True, slots=True)
class Meta:
    """What the vertex says. `applying` is the version of a batch of changes that was begun and is incomplete, or 0."""

    revision: str
    replacing: bool
    position: int
    applying: int


class GraphState:
    """Reads the state of one graph."""

    def __init__(self, connections: Connections, traversals: Traversals, label: str) -> None:
        self._connections = connections
        self._traversals = traversals
        self._label = label

    async def get(self) -> Meta:
        """Return the state. Raises StoreRefused when the vertex is gone."""
        found = await self._connections.ask(self._traversals.get_meta())
        if not found:
            raise StoreRefused(
                f"the vertex with the revision of the graph {self._label} is gone; open the store again",
                store=self._connections.location.text,
            )
        row = found[0]
        position, applying = (int(row[name] or 0) for name in ("position", "applying"))
        return Meta(str(row["revision"]), bool(row["replacing"]), position, applying)

    async def settled(self) -> Meta:
        """Return the state. Raises Conflict while a replacement is being written, or after one failed."""
        meta = await self.get()
        if meta.replacing:
            raise Conflict(
                f"{self._connections.location.text}: a replacement of this graph is being written, or failed before it "
                "was complete; try again when it is done, or replace the graph again"
            )
        return meta
