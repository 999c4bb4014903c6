"""A private mesh for your own tests. Needs `planmesh[server]`.

::

    from planmesh.testing import local_mesh

    def test_the_cheapest_path() -> None:
        with local_mesh(edges=[("a", "b", 1.0), ("b", "c", 2.0), ("a", "c", 9.0)]) as client:
            assert client.plan("a", "c").cost == 3.0

A start takes about five seconds, and a minute the first time after an installation, when the search kernels are
compiled. A fixture with the scope of a session shares one mesh; `client.load(graph=...)` gives each test a graph.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from planmesh.client import AsyncClient, Client, GraphRows, Strategy
from planmesh.client.rows import EdgeTuple, NodeTuple, batches
from planmesh.errors import InvalidRequest
from planmesh.extras import require_extra

if TYPE_CHECKING:
    from planmesh.local.options import MeshOptions

__all__ = ["local_mesh", "local_mesh_async"]

WORKERS_DEFAULT: Final = 2
FOLDER_PREFIX: Final = "planmesh-testing-"


@contextmanager
def local_mesh(
    *,
    edges: Iterable[EdgeTuple] | None = None,
    nodes: Iterable[NodeTuple] | None = None,
    file: str | Path | None = None,
    undirected: bool = False,
    strategy: Strategy | str | None = None,
    partitions: int = 0,
    workers: int = WORKERS_DEFAULT,
    shards: int = 1,
) -> Iterator[Client]:
    """Start a mesh on free ports of 127.0.0.1, with its data in a temporary folder, and yield a client of it.

    `client.address` is the gateway's "127.0.0.1:port". The graph "default" is loaded first if it is given, as tuples
    (`edges`, `nodes`, as for `Client.load`) or as a `file` in any format that `planmesh load` reads. The mesh stops
    and its folder is removed at the end of the block; the mesh also ends when this process is killed.

    Raises MissingExtraError (an ImportError) without planmesh[server], InvalidRequest for a wrong number of workers
    or shards, ServiceUnavailable with the end of a log when the mesh does not start, and what `Client.load` raises.
    """
    require_extra("server", "planmesh.testing.local_mesh()")
    from planmesh.local.detach import owned_mesh  # noqa: PLC0415 - the base installation has no numpy

    rows, implicit_nodes, undirected = _graph(nodes, edges, file, undirected=undirected)
    with tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX) as folder:
        options = _options(Path(folder), workers, shards)
        with owned_mesh(options) as state, Client(state.address) as client:
            if rows is not None:
                client.load(
                    rows,
                    strategy=strategy,
                    partitions=partitions,
                    undirected=undirected,
                    implicit_nodes=implicit_nodes,
                )
            yield client


@asynccontextmanager
async def local_mesh_async(
    *,
    edges: Iterable[EdgeTuple] | None = None,
    nodes: Iterable[NodeTuple] | None = None,
    file: str | Path | None = None,
    undirected: bool = False,
    strategy: Strategy | str | None = None,
    partitions: int = 0,
    workers: int = WORKERS_DEFAULT,
    shards: int = 1,
) -> AsyncIterator[AsyncClient]:
    """As `local_mesh`, for asyncio: yields an AsyncClient. The mesh is started and stopped in a thread."""
    mesh = local_mesh(
        edges=edges,
        nodes=nodes,
        file=file,
        undirected=undirected,
        strategy=strategy,
        partitions=partitions,
        workers=workers,
        shards=shards,
    )
    starting = asyncio.create_task(asyncio.to_thread(mesh.__enter__))
    try:
        client = await asyncio.shield(starting)
    except asyncio.CancelledError:
        # A thread cannot be cancelled: the mesh is stopped as soon as its start has ended.
        await asyncio.wait({starting})
        if starting.exception() is None:
            await asyncio.to_thread(mesh.__exit__, None, None, None)
        raise
    try:
        async with AsyncClient(client.address) as asynchronous:
            yield asynchronous
    finally:
        await asyncio.to_thread(mesh.__exit__, None, None, None)


def _options(folder: Path, workers: int, shards: int) -> MeshOptions:
    from planmesh.local.options import mesh_options  # noqa: PLC0415 - as above

    return mesh_options(folder, workers, shards, port=0)


def _graph(
    nodes: Iterable[NodeTuple] | None, edges: Iterable[EdgeTuple] | None, file: str | Path | None, *, undirected: bool
) -> tuple[Iterable[GraphRows] | None, bool, bool]:
    """The rows to load, None for none; whether the ends of edges are nodes; whether edges lead both ways."""
    if file is None:
        given = nodes is not None or edges is not None
        return (batches(nodes, edges) if given else None), nodes is None, undirected
    if nodes is not None or edges is not None:
        raise InvalidRequest("local_mesh: expected a file, or edges and nodes, not both", field="file")
    from planmesh.ingest import Columns, open_source  # noqa: PLC0415 - as above
    from planmesh.sources.client_rows import rows_to_send  # noqa: PLC0415 - as above

    source = open_source(Path(file), None, Columns())
    description = source.description
    return rows_to_send(source), description.implicit_nodes, undirected or description.undirected
