"""The messages of a load: rows go to the spool and to the store, everything else is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from planmesh.errors import DeadlineExceeded, InvalidGraph, InvalidRequest
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.internal.v1 import partition_pb2 as pb
from planmesh.v1 import graph_pb2
from services.partition.blocking import BlockingWork
from services.partition.ingest import messages
from services.partition.ingest.messages import next_message, take_message
from services.partition.ingest.spool import GraphSpool
from tests.services.partition.conftest import edges, header, nodes


class Writer:
    """Records the rows that it gets."""

    def __init__(self) -> None:
        self.nodes: list[NodeRows] = []
        self.edges: list[EdgeRows] = []

    async def add_nodes(self, rows: NodeRows) -> None:
        self.nodes.append(rows)

    async def add_edges(self, rows: EdgeRows) -> None:
        self.edges.append(rows)


class Taking:
    """A spool, a writer and a thread for the messages under test."""

    def __init__(self, folder: Path) -> None:
        self.spool = GraphSpool(folder, undirected=False, implicit_nodes=False)
        self.writer = Writer()
        self.work = BlockingWork("test")

    async def take(self, message: pb.IngestGraphRequest) -> None:
        await take_message(message, self.spool, cast("Any", self.writer), self.work)


@pytest.fixture
def taking(tmp_path: Path) -> Iterator[Taking]:
    made = Taking(tmp_path)
    yield made
    made.work.close()
    made.spool.close()


async def test_rows_go_to_the_spool_and_to_the_store(taking: Taking) -> None:
    await taking.take(nodes(["a", "b"], ["x", "y"]))
    await taking.take(edges([("a", "b", 2.5)]))
    await taking.take(pb.IngestGraphRequest(edges=graph_pb2.EdgeBatch(sources=["b"], targets=["a"])))
    assert [(one.ids, one.domains, one.regions) for one in taking.writer.nodes] == [(["a", "b"], ["x", "y"], ["", ""])]
    assert [(one.sources, one.targets, one.costs.tolist()) for one in taking.writer.edges] == [
        (["a"], ["b"], [2.5]),
        (["b"], ["a"], [1.0]),
    ]
    spooled = taking.spool.finish()
    assert (spooled.tails.tolist(), spooled.heads.tolist()) == ([0, 1], [1, 0])
    np.testing.assert_array_equal(spooled.costs, [2.5, 1.0])


@pytest.mark.parametrize(
    ("message", "text"),
    [(header(), "got another one"), (pb.IngestGraphRequest(), "got neither")],
    ids=["second header", "empty"],
)
async def test_messages_without_rows_are_refused(taking: Taking, message: pb.IngestGraphRequest, text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        await taking.take(message)


async def test_a_bad_row_is_named_by_the_place_that_the_caller_gave(taking: Taking) -> None:
    with pytest.raises(InvalidGraph) as raised:
        await taking.take(nodes(["a", ""], first=17))
    assert (raised.value.metadata["source"], raised.value.metadata["record"]) == ("nodes.tsv", "line 18")
    with pytest.raises(InvalidGraph) as raised:
        await taking.take(pb.IngestGraphRequest(nodes=graph_pb2.NodeBatch(ids=["b", ""])))
    assert raised.value.metadata["record"] == "record 2"
    assert taking.writer.nodes == []


async def test_the_next_message_ends_with_the_stream_or_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stream() -> AsyncIterator[pb.IngestGraphRequest]:
        yield header()

    requests = stream()
    assert await next_message(requests) == header()
    assert await next_message(requests) is None

    async def silent() -> AsyncIterator[pb.IngestGraphRequest]:
        await asyncio.Event().wait()
        yield header()

    monkeypatch.setattr(messages, "MESSAGE_WAIT_S", 0.01)
    with pytest.raises(DeadlineExceeded, match=r"within 0\.01 s"):
        await next_message(silent())
