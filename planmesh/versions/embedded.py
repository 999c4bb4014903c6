"""The embedded store of versions: a catalog in SQLite and bulk rows in Parquet, in one folder.

::

    <folder>/lock                     held by the one process that owns the store
    <folder>/catalog.sqlite           the committed versions
    <folder>/writing/<random>/        rows of a version that is being written
    <folder>/rows/<graph>/<version>/  rows of a committed version

A version is committed in three steps: the store syncs and seals its rows, renames their folder into `rows`, and commits
to the catalog. A crash before the last step leaves a folder that is not in the catalog, so a version exists whole or
not at all. The next start removes such a folder. If its rows were sealed, the start moves it back to `writing` instead,
so that its owner can resume or drop it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

from planmesh.errors import Conflict, PlanmeshError, SnapshotError
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.snapshot.array_file import sync_folder
from planmesh.versions import row_files
from planmesh.versions.catalog import Catalog, describe
from planmesh.versions.change_log import ChangeRecord, ChangeTransaction
from planmesh.versions.protocol import StoredVersion
from planmesh.versions.row_files import RowFacts, SealedRows, read_seal

T = TypeVar("T")

CATALOG_NAME: Final = "catalog.sqlite"
ROWS_FOLDER: Final = "rows"
WRITING_FOLDER: Final = "writing"
LOCK_NAME: Final = "lock"


class EmbeddedVersions:
    """The reference VersionStore.

    Opening it removes the leftovers of a crash. Raises Conflict when another process owns the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows = folder / ROWS_FOLDER
        self._writing = folder / WRITING_FOLDER
        self._rows.mkdir(parents=True, exist_ok=True)
        self._writing.mkdir(exist_ok=True)
        self._lock = _take_lock(folder / LOCK_NAME)
        try:
            self._catalog = Catalog(folder / CATALOG_NAME)
            self._remove_leftovers()
        except BaseException:
            os.close(self._lock)
            raise
        # One thread uses SQLite. It also orders commits and removals.
        self._thread = ThreadPoolExecutor(1, "store-catalog")

    async def health(self) -> None:
        """Query the catalog; see VersionStore."""
        await self._run(self._catalog.check)

    async def versions(self) -> list[StoredVersion]:
        """Return every version; see VersionStore."""
        return await self._run(self._catalog.versions)

    async def next_version(self, graph: str) -> int:
        """Return the next version's number; see VersionStore."""
        return await self._run(lambda: self._catalog.last_version(graph)) + 1

    @asynccontextmanager
    async def write(self, graph: str) -> AsyncIterator[EmbeddedVersionWriter]:
        """Yield a writer for a new version; see VersionStore."""
        folder = self._writing / secrets.token_hex(8)
        writer = EmbeddedVersionWriter(folder, graph, self._commit)
        try:
            await writer.open()
            yield writer
        finally:
            await writer.close()

    async def sealed(self) -> list[str]:
        """Return the tokens of sealed rows; see VersionStore."""
        return await self._run(lambda: sorted(folder.name for folder in self._writing.iterdir() if read_seal(folder)))

    @asynccontextmanager
    async def resume(self, graph: str, token: str) -> AsyncIterator[EmbeddedVersionWriter]:
        """Yield a writer of sealed rows; see VersionStore."""
        writer = EmbeddedVersionWriter(self._writing / token, graph, self._commit)
        try:
            await writer.open_sealed()
            yield writer
        finally:
            await writer.close()

    async def drop_sealed(self, token: str) -> None:
        """Drop sealed rows; see VersionStore."""
        await self._run(lambda: _remove_folder(self._writing / token))

    async def change(self, graph: str, work: Sequence[Callable[[ChangeTransaction], T]]) -> list[T | PlanmeshError]:
        """Do work on the changed state of a graph in one transaction; see VersionStore."""
        return await self._run(lambda: self._catalog.change(graph, work))

    async def log(self, graph: str, after: int, count_max: int) -> list[ChangeRecord]:
        """Return records of the log of changes; see VersionStore."""
        return await self._run(lambda: self._catalog.log(graph, after, count_max))

    async def read_nodes(self, graph: str, version: int) -> AsyncIterator[NodeRows]:
        """Stream the nodes of a version; see VersionStore."""
        facts = await self._run(lambda: self._catalog.row_facts(graph, version))
        async for rows in _stream(row_files.read_nodes(self._rows_folder(graph, version), facts.nodes)):
            yield rows

    async def read_edges(self, graph: str, version: int) -> AsyncIterator[EdgeRows]:
        """Stream the edges of a version; see VersionStore."""
        facts = await self._run(lambda: self._catalog.row_facts(graph, version))
        async for rows in _stream(row_files.read_edges(self._rows_folder(graph, version), facts.edges)):
            yield rows

    async def remove_version(self, graph: str, version: int) -> None:
        """Remove a version; see VersionStore."""

        def remove() -> None:
            self._catalog.remove(graph, version)
            _remove_folder(self._rows_folder(graph, version))

        await self._run(remove)

    async def remove_graph(self, graph: str) -> None:
        """Remove all versions of a graph; see VersionStore."""

        def remove() -> None:
            self._catalog.remove(graph)
            _remove_folder(self._rows / graph)

        await self._run(remove)

    async def close(self) -> None:
        """Close the catalog and release the folder's lock."""
        await self._run(self._catalog.close)
        self._thread.shutdown()
        os.close(self._lock)

    def _commit(self, folder: Path, stored: StoredVersion, facts: RowFacts, merges: bool) -> None:
        target = self._rows_folder(stored.graph, stored.version)
        target.parent.mkdir(exist_ok=True)
        sync_folder(self._rows)
        folder.rename(target)
        sync_folder(target.parent)
        try:
            self._thread.submit(self._catalog.add, stored, facts, merges=merges).result()
        except BaseException:
            shutil.rmtree(target)
            raise

    def _rows_folder(self, graph: str, version: int) -> Path:
        return self._rows / graph / str(version)

    def _remove_leftovers(self) -> None:
        whole = {(stored.graph, str(stored.version)) for stored in self._catalog.versions()}
        for graph in self._rows.iterdir():
            for version in graph.iterdir():
                if (graph.name, version.name) not in whole:
                    version.rename(self._writing / secrets.token_hex(8))
        for folder in list(self._writing.iterdir()):
            sealed = read_seal(folder)
            if sealed is None:
                shutil.rmtree(folder)
            elif sealed.token != folder.name:
                folder.rename(self._writing / sealed.token)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


class EmbeddedVersionWriter:
    """Writes each batch in its own thread while the caller prepares the next one; see VersionWriter."""

    def __init__(
        self, folder: Path, graph: str, publish: Callable[[Path, StoredVersion, RowFacts, bool], None]
    ) -> None:
        self._folder = folder
        self._graph = graph
        self._publish = publish
        self._thread = ThreadPoolExecutor(1, "store-rows")
        self._files: row_files.RowFiles | None = None
        self._behind: Future[None] | None = None
        self._sealed: SealedRows | None = None
        self._kept = False

    async def open(self) -> None:
        """Create the folder and its files."""
        await self._run(self._create)

    async def open_sealed(self) -> None:
        """Take over rows that were sealed before. Raises SnapshotError when they are missing or damaged."""
        self._kept = True  # a cancellation before they are taken over must not remove them
        await self._run(self._take_sealed)
        self._kept = False

    async def add_nodes(self, rows: NodeRows) -> None:
        """Add rows of nodes; see VersionWriter."""
        await self._write_behind(lambda files: files.add_nodes(rows))

    async def add_edges(self, rows: EdgeRows) -> None:
        """Add rows of edges; see VersionWriter."""
        await self._write_behind(lambda files: files.add_edges(rows))

    async def seal(self) -> str:
        """Sync the rows and return their token; see VersionWriter."""
        await self._catch_up()
        return (await self._run(self._seal)).token

    def keep(self) -> None:
        """Keep sealed rows after `close`; see VersionWriter."""
        self._kept = self._sealed is not None

    async def commit(self, version: int, description: str, *, merges: bool = False) -> StoredVersion:
        """Commit the version; see VersionWriter."""
        await self._catch_up()
        return await self._run(lambda: self._finish(version, description, merges))

    async def close(self) -> None:
        """Drop rows that are neither committed nor kept. Waits for the thread, so nothing is written afterwards."""
        closing = asyncio.ensure_future(self._run(self._discard))
        try:
            await asyncio.shield(closing)
        finally:
            self._thread.shutdown(wait=False)

    def _create(self) -> None:
        self._folder.mkdir()
        self._files = row_files.RowFiles(self._folder)

    def _take_sealed(self) -> None:
        sealed = row_files.read_seal(self._folder)
        if sealed is None:
            raise SnapshotError("the received rows are no longer in the store; load the graph again")
        row_files.verify_rows(self._folder, sealed.facts)
        self._sealed = sealed

    def _whole(self) -> SealedRows:
        """Finish the files of the rows."""
        files = self._open_files()
        facts = files.finish()
        self._files = None
        return SealedRows(self._folder.name, facts, files.nodes.rows, files.edges.rows)

    def _seal(self) -> SealedRows:
        if self._sealed is None:
            self._sealed = self._whole()
            row_files.write_seal(self._folder, self._sealed)
            sync_folder(self._folder.parent)
        return self._sealed

    def _finish(self, version: int, description: str, merges: bool) -> StoredVersion:
        sealed = self._sealed or self._whole()
        stored = describe(self._graph, version, sealed.nodes, sealed.edges, description)
        self._publish(self._folder, stored, sealed.facts, merges)
        return stored

    def _discard(self) -> None:
        if self._files is not None:
            self._files.abandon()
            self._files = None
        if not self._kept:
            _remove_folder(self._folder)

    def _open_files(self) -> row_files.RowFiles:
        assert self._files is not None, "a version is written, sealed and committed once"
        return self._files

    async def _write_behind(self, write: Callable[[row_files.RowFiles], None]) -> None:
        await self._catch_up()
        self._behind = self._thread.submit(lambda: write(self._open_files()))

    async def _catch_up(self) -> None:
        if self._behind is not None:
            behind, self._behind = self._behind, None
            await asyncio.wrap_future(behind)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


async def _stream(rows: Iterator[T]) -> AsyncIterator[T]:
    """Yield the items of a blocking iterator. Takes each item in a thread."""
    end = object()
    while (item := await asyncio.to_thread(next, rows, end)) is not end:
        yield item  # type: ignore[misc]


def _remove_folder(folder: Path) -> None:
    """Remove a folder that is not in the catalog. It may not exist: it was renamed, or never created."""
    if folder.exists():
        shutil.rmtree(folder)


def _take_lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise Conflict(f"{path.parent} belongs to another running partition service; stop it first") from error
    return descriptor
