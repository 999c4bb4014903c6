"""What planmesh asks of a system of record: graphs as rows, versions that appear whole or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from planmesh.graph.rows import EdgeRows, NodeRows


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A version that is whole. `description` is what its writer committed with it, a text opaque to the store."""

    graph: str
    version: int
    committed_unix_s: float
    nodes: int
    edges: int
    description: str


class VersionWriter(Protocol):
    """Takes the rows of one version in the order in which they are to be read again.

    Rows may be written behind: an error of the store may be raised by a later call. The writer owns the lists it is
    given until `commit` returns.
    """

    async def add_nodes(self, rows: NodeRows) -> None:
        """Add nodes."""
        ...

    async def add_edges(self, rows: EdgeRows) -> None:
        """Add edges."""
        ...

    async def seal(self) -> str:
        """Make the rows survive a crash, on disk when this returns; no more can be added.

        Returns a token: `VersionStore.resume` gives a writer of the same rows for it, in another process too.
        """
        ...

    def keep(self) -> None:
        """Let sealed rows outlive the writer's context though they are not committed."""
        ...

    async def commit(self, version: int, description: str) -> StoredVersion:
        """Make the version appear, on disk when this returns."""
        ...


class VersionStore(Protocol):
    """A system of record. Every method raises SnapshotError when its data cannot be used, Unavailable when it is away.

    One process at a time owns a store; its methods may be called from one event loop.
    """

    async def health(self) -> None:
        """Return when the store answers."""
        ...

    async def versions(self) -> list[StoredVersion]:
        """Return every version of every graph, by graph and ascending version."""
        ...

    async def next_version(self, graph: str) -> int:
        """Return a number greater than any version the graph ever had, removed ones included."""
        ...

    def write(self, graph: str) -> AbstractAsyncContextManager[VersionWriter]:
        """Begin a version. Leaving the context without a commit drops what was written, unless it is to be kept."""
        ...

    async def sealed(self) -> list[str]:
        """Return the tokens of rows that were sealed and neither committed nor dropped."""
        ...

    def resume(self, graph: str, token: str) -> AbstractAsyncContextManager[VersionWriter]:
        """Give a writer of sealed rows, which takes no more; leaving it without a commit drops them, unless kept.

        Raises SnapshotError when they are not there whole.
        """
        ...

    async def drop_sealed(self, token: str) -> None:
        """Drop sealed rows; nothing happens when there are none such."""
        ...

    def read_nodes(self, graph: str, version: int) -> AsyncIterator[NodeRows]:
        """Stream the nodes of a version in the order they were written; VersionGone when there is none such."""
        ...

    def read_edges(self, graph: str, version: int) -> AsyncIterator[EdgeRows]:
        """Stream the edges of a version in the order they were written; VersionGone when there is none such."""
        ...

    async def remove_version(self, graph: str, version: int) -> None:
        """Remove a version; nothing happens when there is none such."""
        ...

    async def remove_graph(self, graph: str) -> None:
        """Remove all versions of a graph; nothing happens when there are none."""
        ...

    async def close(self) -> None:
        """Give back what the store holds; nothing else may be called then."""
        ...
