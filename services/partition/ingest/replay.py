"""The rows of a stored version, given to a spool as those of a load are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

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
    """Give a spool the rows of a stored version, in their order: the arrays become those of the first time."""
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


async def spool_rows(
    options: LoadOptions, folder: BuildFolder, work: BlockingWork, feed: Callable[[GraphSpool], Awaitable[None]]
) -> SpooledGraph:
    """Let `feed` give rows to a spool, and return the arrays."""
    spool = GraphSpool(folder.path, undirected=options.undirected, implicit_nodes=options.implicit_nodes)
    try:
        await feed(spool)
        return await work.run(spool.finish)
    finally:
        spool.close()
