"""The protocol of a store of versions: graphs as rows, and versions that appear whole or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from planmesh.errors import PlanmeshError
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.versions.change_log import ChangeRecord, ChangeTransaction

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A committed version. `description` is a text of its writer, which the store does not interpret.

    `nodes` and `edges` count its rows. `committed_unix_s` is in seconds since 1970.
    """

    graph: str
    version: int
    committed_unix_s: float
    nodes: int
    edges: int
    description: str


class VersionWriter(Protocol):
    """Receives the rows of one version, which are later read in the same order.

    Rows may be written with delay, so a later call may raise the error of an earlier one. The writer owns the lists
    that it receives until `commit` returns.
    """

    async def add_nodes(self, rows: NodeRows) -> None:
        """Add rows of nodes, which have passed the rules of `planmesh.graph.rules`."""
        ...

    async def add_edges(self, rows: EdgeRows) -> None:
        """Add rows of edges, which have passed the rules of `planmesh.graph.rules`."""
        ...

    async def seal(self) -> str:
        """Sync the rows to disk, so that they survive a crash, and refuse further rows.

        Returns a token, with which `VersionStore.resume` returns a writer of the same rows, in another process too.
        """
        ...

    def keep(self) -> None:
        """Keep sealed rows after the writer's context ends without a commit."""
        ...

    async def commit(self, version: int, description: str, *, merges: bool = False) -> StoredVersion:
        """Commit the version, synced to disk when this returns, and return its record.

        It replaces the graph: all changes are forgotten, unless it `merges` those up to its number.
        """
        ...


class VersionStore(Protocol):
    """A store of versions. Every method raises SnapshotError when its data is unusable, Unavailable when it is down.

    One process at a time owns a store, and calls its methods from one event loop.
    """

    async def health(self) -> None:
        """Return if the store responds; raise otherwise."""
        ...

    async def versions(self) -> list[StoredVersion]:
        """Return every version of every graph, by graph and ascending version."""
        ...

    async def next_version(self, graph: str) -> int:
        """Return a number greater than any version that the graph ever had, including removed ones."""
        ...

    def write(self, graph: str) -> AbstractAsyncContextManager[VersionWriter]:
        """Return a context with a writer for a new version. Leaving it without a commit drops the rows, unless kept."""
        ...

    async def sealed(self) -> list[str]:
        """Return the tokens of rows that are sealed, and neither committed nor dropped."""
        ...

    def resume(self, graph: str, token: str) -> AbstractAsyncContextManager[VersionWriter]:
        """Return a context with a writer of sealed rows, which accepts no more rows.

        Leaving it without a commit drops the rows, unless kept. Entering it raises SnapshotError when the rows are
        missing or damaged.
        """
        ...

    async def drop_sealed(self, token: str) -> None:
        """Drop sealed rows, if they exist."""
        ...

    async def change(self, graph: str, work: Sequence[Callable[[ChangeTransaction], T]]) -> list[T | PlanmeshError]:
        """Do several pieces of work on the changed state of a graph, each whole or not at all.

        Returns their results, or why they failed, when all that succeeded is synced to disk. The work runs in a thread
        of the store, which it blocks.
        """
        ...

    async def log(self, graph: str, after: int, count_max: int) -> list[ChangeRecord]:
        """Return the next records of the log of changes after a version, in order, at most `count_max`.

        Raises SnapshotDamaged, which names the record, when one is not as it was written.
        """
        ...

    def read_nodes(self, graph: str, version: int) -> AsyncIterator[NodeRows]:
        """Stream the nodes of a version in the order of writing. Raises VersionGone for an unknown version."""
        ...

    def read_edges(self, graph: str, version: int) -> AsyncIterator[EdgeRows]:
        """Stream the edges of a version in the order of writing. Raises VersionGone for an unknown version."""
        ...

    async def remove_version(self, graph: str, version: int) -> None:
        """Remove a version, if it exists."""
        ...

    async def remove_graph(self, graph: str) -> None:
        """Remove all versions of a graph, if there are any."""
        ...

    async def close(self) -> None:
        """Release the store's resources. No other method may be called afterwards."""
        ...
