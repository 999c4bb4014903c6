"""Copies a graph from one store into another; the copy can be resumed, and counts and a content hash verify it.

There are three steps. The source is read into an embedded store in a working folder, unless the source is itself an
embedded store, which always reads one state. The rows are then written into the target as one replacement. Last, the
target is read back and compared.

If a copy is killed or its target fails, call it again with the same working folder: a source that has not changed since
is not read again. The target keeps the promises of its `replace`: where `atomic_replacement` is true, no client sees a
partial copy, and an interrupted write starts from the beginning.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from planmesh.errors import Conflict, InvalidRequest, StoreError
from planmesh.store.content_hash import ContentHash, hash_of
from planmesh.store.protocol import GraphStore
from planmesh.store.urls import open_store, redacted

SPOOL_NAME: Final = "rows.sqlite"
JOURNAL_NAME: Final = "journal.json"


@dataclass(frozen=True, slots=True)
class CopyReport:
    """The result of a copy.

    `parallel_edges`: rows of the source that were dropped because a cheaper row joins the same pair of nodes.
    `resumed`: the source was not read again, because an earlier attempt had already read all of it.
    """

    source: str
    target: str
    nodes: int
    edges: int
    parallel_edges: int
    content_hash: str
    revision: str
    resumed: bool
    seconds: float


Show = Callable[[str, int, int], None]
"""Called with the step ("read", "write" or "verify"), the rows done so far, and all rows of the step."""


async def copy_graph(source_url: str, target_url: str, work: Path, show: Show) -> CopyReport:
    """Replace the graph of the target store with the graph of the source store.

    `work` is a folder that only this copy uses. Raises InvalidRequest when both URLs are the same, Conflict when the
    source is written to while it is read, StoreError when the target does not hold what was written, and what the
    stores raise.
    """
    if source_url == target_url:
        raise InvalidRequest("expected two different stores, got the same URL twice", field="store")
    began_s = time.monotonic()
    source = await open_store(source_url)
    try:
        target = await open_store(target_url)
        try:
            return await _copy(source, target, _folder(work, source_url, target_url), show, began_s)
        finally:
            await target.close()
    finally:
        await source.close()


async def _copy(source: GraphStore, target: GraphStore, folder: Path, show: Show, began_s: float) -> CopyReport:
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    resumed, parallel_edges = False, 0
    if source.traits.name == "sqlite":
        written, revision = await _write(source, target, show)
    else:
        spool = await open_store(f"sqlite:///{(await asyncio.to_thread(folder.resolve)) / SPOOL_NAME}")
        try:
            resumed, parallel_edges = await _read(source, spool, folder / JOURNAL_NAME, show)
            written, revision = await _write(spool, target, show)
        finally:
            await spool.close()
    await _verify(target, written, show)
    await asyncio.to_thread(shutil.rmtree, folder)
    return CopyReport(
        source=source.url,
        target=target.url,
        nodes=written.nodes,
        edges=written.edges,
        parallel_edges=parallel_edges,
        content_hash=written.text(),
        revision=revision,
        resumed=resumed,
        seconds=time.monotonic() - began_s,
    )


async def _read(source: GraphStore, spool: GraphStore, journal: Path, show: Show) -> tuple[bool, int]:
    """Read the source into the spool; return whether an earlier attempt had read it, and the parallel edges dropped."""
    known = await asyncio.to_thread(_read_journal, journal)
    if known is not None and known == (await source.revision(), await spool.revision(), known[2]):
        return True, known[2]
    counts = await source.counts()
    total, rows = counts.nodes + counts.edges, 0
    seen = ContentHash()
    async with source.read() as reading, spool.replace() as replacement:
        async for nodes in reading.nodes():
            await replacement.add_nodes(nodes)
            seen.add_nodes(nodes)
            rows += len(nodes)
            show("read", rows, total)
        async for edges in reading.edges():
            await replacement.add_edges(edges)
            seen.add_edges(edges)
            rows += len(edges)
            show("read", rows, total)
        if not await reading.unchanged():
            raise Conflict(f"{source.url}: the graph was written to while it was read; copy it again when writes pause")
        revision = await replacement.commit()
    held = await spool.counts()
    if held.nodes != seen.nodes:
        raise StoreError(f"expected each node once, got {seen.nodes - held.nodes:,} duplicates", store=source.url)
    parallel_edges = seen.edges - held.edges
    await asyncio.to_thread(_write_journal, journal, reading.revision, revision, parallel_edges)
    return False, parallel_edges


async def _write(spool: GraphStore, target: GraphStore, show: Show) -> tuple[ContentHash, str]:
    """Replace the graph of the target; return the hash of the rows written, and the target's new revision."""
    counts = await spool.counts()
    total = counts.nodes + counts.edges
    written = ContentHash()
    async with spool.read() as reading, target.replace() as replacement:
        async for nodes in reading.nodes():
            await replacement.add_nodes(nodes)
            written.add_nodes(nodes)
            show("write", written.nodes, total)
        async for edges in reading.edges():
            await replacement.add_edges(edges)
            written.add_edges(edges)
            show("write", written.nodes + written.edges, total)
        revision = await replacement.commit()
    return written, revision


async def _verify(target: GraphStore, written: ContentHash, show: Show) -> None:
    show("verify", 0, 1)
    async with target.read() as reading:
        found = await hash_of(reading)
        if found != written:
            changed = "" if await reading.unchanged() else "; another client wrote to it in the meantime"
            raise StoreError(
                f"the copy differs from what was written: expected {written.nodes:,} nodes and {written.edges:,} "
                f"edges with hash {written.text()}, found {found.nodes:,} and {found.edges:,} with {found.text()}"
                f"{changed}",
                store=target.url,
            )
    show("verify", 1, 1)


def _folder(work: Path, source_url: str, target_url: str) -> Path:
    """Return the folder for this pair of stores; its name is a hash that no password enters."""
    name = f"{redacted(source_url)}\n{redacted(target_url)}".encode()
    return work / hashlib.blake2b(name, digest_size=8).hexdigest()


def _read_journal(path: Path) -> tuple[str, str, int] | None:
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError):  # without a sound journal, read the source again
        read = orjson.loads(path.read_bytes())
        return str(read["source_revision"]), str(read["spool_revision"]), int(read["parallel_edges"])
    return None


def _write_journal(path: Path, source_revision: str, spool_revision: str, parallel_edges: int) -> None:
    aside = path.with_suffix(".part")
    aside.write_bytes(
        orjson.dumps(
            {
                "source_revision": source_revision,
                "spool_revision": spool_revision,
                "parallel_edges": parallel_edges,
            }
        )
    )
    aside.replace(path)
