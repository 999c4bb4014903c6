"""The messages of a load: each is checked, and its rows go to the spool and to the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import numpy as np

from planmesh.errors import DeadlineExceeded, InvalidRequest
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.graph.rules import Origin
from planmesh.internal.v1 import partition_pb2
from planmesh.v1 import graph_pb2
from planmesh.versions.protocol import VersionWriter
from services.partition.blocking import BlockingWork
from services.partition.ingest.spool import GraphSpool

MESSAGE_WAIT_S: Final = 120.0
"""How long a load waits for the caller's next message: a caller that has hung holds one of few places."""

Requests = AsyncIterator[partition_pb2.IngestGraphRequest]


async def next_message(requests: Requests) -> partition_pb2.IngestGraphRequest | None:
    """Return the next message, None at the end of the stream."""
    try:
        async with asyncio.timeout(MESSAGE_WAIT_S):
            return await anext(requests, None)
    except TimeoutError as error:
        raise DeadlineExceeded(f"no message of the load came for {MESSAGE_WAIT_S:g} s; send it again") from error


async def take_message(
    request: partition_pb2.IngestGraphRequest, spool: GraphSpool, writer: VersionWriter, work: BlockingWork
) -> None:
    """Check one message of a load and hand its rows to the spool and to the store."""
    part = request.WhichOneof("content")
    if part == "nodes":
        await writer.add_nodes(await work.run(lambda: _spool_nodes(spool, request.nodes)))
    elif part == "edges":
        await writer.add_edges(await work.run(lambda: _spool_edges(spool, request.edges)))
    elif part == "header":
        raise InvalidRequest("expected one header, as the first message of a load, got another")
    else:
        raise InvalidRequest("expected nodes or edges in every message of a load after the header, got neither")


def _spool_nodes(spool: GraphSpool, batch: graph_pb2.NodeBatch) -> NodeRows:
    return spool.add_nodes(_origin(batch.origin), list(batch.ids), list(batch.domains), list(batch.regions))


def _spool_edges(spool: GraphSpool, batch: graph_pb2.EdgeBatch) -> EdgeRows:
    costs = np.array(batch.costs, np.float64) if batch.costs else None
    return spool.add_edges(_origin(batch.origin), list(batch.sources), list(batch.targets), costs)


def _origin(origin: graph_pb2.Origin) -> Origin:
    return Origin(source=origin.source, unit=origin.unit or "record", first=origin.first or 1)
