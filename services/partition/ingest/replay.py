"""Feeds the rows of a stored version to a spool, like those of a load."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.graph.rules import Origin
from planmesh.snapshot.build_folder import BuildFolder
from planmesh.versions.protocol import StoredVersion, VersionStore, VersionWriter
from services.partition.blocking import BlockingWork
from services.partition.ingest.options import LoadOptions
from services.partition.ingest.progress import LoadProgress
from services.partition.ingest.spool import GraphSpool, SpooledGraph


async def replay(
    store: VersionStore,
    stored: StoredVersion,
    spool: GraphSpool,
    work: BlockingWork,
    progress: LoadProgress,
    writer: VersionWriter | None = None,
) -> None:
    """Add the rows of a stored version to a spool, in their stored order, and to `writer` if there is one.

    The spool's arrays become the same as in the original load.
    """
    async for nodes in store.read_nodes(stored.graph, stored.version):
        origin = Origin(source="store nodes", first=spool.rows + 1)
        rows = await work.run(lambda n=nodes, o=origin: spool.add_nodes(o, n.ids, n.domains, n.regions))  # type: ignore[misc]
        if writer is not None:
            await writer.add_nodes(rows)
        progress.advance(spool.rows, stored.nodes + stored.edges)
    async for edges in store.read_edges(stored.graph, stored.version):
        origin = Origin(source="store edges", first=spool.rows + 1)
        kept = await work.run(lambda e=edges, o=origin: spool.add_edges(o, e.sources, e.targets, e.costs))  # type: ignore[misc]
        if writer is not None:
            await writer.add_edges(kept)
        progress.advance(spool.rows, stored.nodes + stored.edges)


async def feed_rows(
    rows: AsyncIterator[NodeRows | EdgeRows],
    stored: StoredVersion,
    spool: GraphSpool,
    work: BlockingWork,
    progress: LoadProgress,
    writer: VersionWriter,
) -> None:
    """Add rows, nodes first, to a spool and to a writer. `stored` says about how many rows there are."""
    async for some in rows:
        if not len(some):
            continue
        origin = Origin(source="store", first=spool.rows + 1)
        if isinstance(some, NodeRows):
            nodes = await work.run(partial(spool.add_nodes, origin, some.ids, some.domains, some.regions))
            await writer.add_nodes(nodes)
        else:
            edges = await work.run(partial(spool.add_edges, origin, some.sources, some.targets, some.costs))
            await writer.add_edges(edges)
        progress.advance(spool.rows, max(spool.rows, stored.nodes + stored.edges))


async def spool_rows(
    options: LoadOptions, folder: BuildFolder, work: BlockingWork, feed: Callable[[GraphSpool], Awaitable[None]]
) -> SpooledGraph:
    """Let `feed` add rows to a new spool in `folder`, and return the arrays. Raises the errors of GraphSpool."""
    spool = GraphSpool(folder.path, undirected=options.undirected, implicit_nodes=options.implicit_nodes)
    try:
        await feed(spool)
        return await work.run(spool.finish)
    finally:
        spool.close()
