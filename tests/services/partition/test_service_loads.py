"""Loads through the partition service: refusals, progress, cancellation, adoption and warnings."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator

import numpy as np
import pytest

from planmesh.errors import (
    Conflict,
    GraphUnknown,
    InvalidGraph,
    InvalidRequest,
    Overloaded,
    WorkerUnavailable,
)
from planmesh.internal.v1 import partition_pb2 as pb
from planmesh.snapshot.reader import SnapshotReader
from planmesh.v1 import graph_pb2
from services.partition import loads
from tests.services.partition.conftest import (
    Builder,
    Message,
    OpenService,
    Service,
    edges,
    header,
    nodes,
    random_rows,
    read_rows,
    until,
)

pytestmark = pytest.mark.mesh

AB = nodes(["a", "b"])

REFUSED: dict[str, tuple[list[Message], type[InvalidRequest], dict[str, str]]] = {
    "empty id": ([header(), nodes(["a", ""])], InvalidGraph, {"source": "nodes.tsv", "record": "line 3"}),
    "long id": ([header(), nodes(["a" * 513])], InvalidGraph, {"record": "line 2", "field": "id"}),
    "control character": ([header(), nodes(["a\tb"])], InvalidGraph, {"record": "line 2", "field": "id"}),
    "long domain": ([header(), nodes(["a"], ["d" * 513])], InvalidGraph, {"record": "line 2", "field": "domain"}),
    "twice": ([header(), AB, nodes(["c", "a"], first=10)], InvalidGraph, {"record": "line 11", "field": "id"}),
    "negative": ([header(), AB, edges([("a", "b", -1.0)])], InvalidGraph, {"record": "line 2", "field": "cost"}),
    "nan": ([header(), AB, edges([("a", "b", 1.0), ("a", "b", math.nan)])], InvalidGraph, {"record": "line 3"}),
    "infinite": ([header(), AB, edges([("a", "b", math.inf)])], InvalidGraph, {"source": "edges.tsv", "field": "cost"}),
    "unknown source": ([header(), AB, edges([("x", "b", 1.0)], first=5)], InvalidGraph, {"field": "source"}),
    "unknown target": ([header(), AB, edges([("a", "x", 1.0)], first=5)], InvalidGraph, {"field": "target"}),
    "no nodes": ([header()], InvalidGraph, {}),
    "no header": ([AB], InvalidRequest, {}),
    "nothing": ([], InvalidRequest, {}),
    "two headers": ([header(), AB, header()], InvalidRequest, {}),
    "empty message": ([header(), Message()], InvalidRequest, {}),
    "bad name": ([header("../x")], InvalidRequest, {"field": "graph"}),
    "no domains": ([header(strategy=graph_pb2.STRATEGY_DOMAIN), AB], InvalidRequest, {}),
    "too many partitions": ([header(strategy=graph_pb2.STRATEGY_HASH, partitions=3), AB], InvalidRequest, {}),
}  # fmt: skip


async def test_an_invalid_load_is_refused_and_the_old_version_stays_served(service: Service) -> None:
    await service.load([header(), AB, edges([("a", "b", 1.0)])])
    for name, (messages, kind, facts) in REFUSED.items():
        with pytest.raises(kind) as caught:
            await service.load(messages)
        assert facts.items() <= caught.value.metadata.items(), name
        assert type(caught.value) is kind, name
        graph = await service.describe()
        assert (graph.version, graph.state, graph.HasField("loading")) == (1, graph_pb2.GRAPH_STATE_SERVING, False), (
            name
        )
        assert not list((service.data / "builds").iterdir()), name
    assert await read_rows(service) == (["a", "b"], [("a", "b", 1.0)])
    assert (await service.load([header(), AB])).version == 2


class Held:
    """A load whose caller has not sent all of its messages yet."""

    def __init__(self, service: Service, first: list[Message]) -> None:
        self._more: asyncio.Queue[Message | None] = asyncio.Queue()
        for message in first:
            self._more.put_nowait(message)
        self.task = asyncio.create_task(service.load(self._messages()))
        self._service = service

    async def _messages(self) -> AsyncIterator[Message]:
        while (message := await self._more.get()) is not None:
            yield message

    def send(self, message: Message | None) -> None:
        self._more.put_nowait(message)

    async def has_read(self, rows: int, graph: str = "g") -> graph_pb2.Graph:
        """Wait until `rows` rows of the load have been read, and return the graph."""
        async with asyncio.timeout(60):
            while True:
                try:
                    described = await self._service.describe(graph)
                except GraphUnknown:
                    continue
                if described.loading.done >= rows:
                    return described


async def test_progress_is_reported_and_a_graph_has_one_load_at_a_time(service: Service) -> None:
    held = Held(service, [header(), AB])
    graph = await held.has_read(2)
    assert (graph.state, graph.version) == (graph_pb2.GRAPH_STATE_LOADING, 0)
    assert (graph.loading.phase, graph.loading.done, graph.loading.total) == ("read", 2, 0)
    assert graph.loading.started_at.seconds > 0
    with pytest.raises(Conflict):
        await service.load([header(), AB])
    with pytest.raises(Conflict):
        await service.call("RemoveGraph", pb.RemoveGraphRequest, graph="g")
    with pytest.raises(GraphUnknown, match="first time"):
        await service.call("DrawNodes", pb.DrawNodesRequest, graph="g", count=1)
    other = Held(service, [header("other"), AB])
    await other.has_read(2, "other")
    with pytest.raises(Overloaded, match="2 loads"):
        await service.load([header("third"), AB])
    held.send(None)
    other.send(None)
    assert (await held.task).version == (await other.task).version == 1


async def test_a_load_right_after_a_cancelled_one_waits_for_its_end(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loads, "LEAVING_NOTICED_S", 60.0)
    ended = asyncio.Event()
    held = Held(service, [header(), AB])
    await held.has_read(2)
    next_one = asyncio.create_task(service.load([header(), AB]))  # it comes before the cancellation does
    next_one.add_done_callback(lambda _: ended.set())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not ended.is_set()
    held.task.cancel()
    assert (await next_one).version == 1
    assert held.task.cancelled()


async def test_a_cancelled_load_leaves_nothing(service: Service) -> None:
    await service.load([header("old"), AB])
    for graph in ("old", "new"):
        held = Held(service, [header(graph), AB])
        await held.has_read(2, graph)
        held.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await held.task
        await until(lambda: not list((service.data / "builds").iterdir()))
        await until(lambda: not list((service.data / "store" / "writing").iterdir()))
    with pytest.raises(GraphUnknown):
        await service.describe("new")
    await until(service.is_idle)
    assert (await service.load([header("old"), AB])).version == 2


async def test_without_a_builder_a_load_fails_and_the_old_version_stays_served(
    open_service: OpenService, builder: Builder, redis_server: object
) -> None:
    async with open_service() as service:
        await service.load([header(), AB])
    # Another Redis, whose queue no builder serves.
    async with open_service(redis_url=redis_server.url, partition_build_stall_s=0.6) as service:  # type: ignore[attr-defined]
        with pytest.raises(WorkerUnavailable, match="no build worker"):
            await service.load([header(), AB])
        assert (await service.describe()).version == 1


async def test_a_load_returns_when_the_coordinators_that_watch_serve_it(
    open_service: OpenService, builder: Builder
) -> None:
    async with open_service(partition_adoption_wait_s=60.0) as service:
        received: asyncio.Queue[pb.WatchGraphsResponse] = asyncio.Queue()
        answers: asyncio.Queue[pb.WatchGraphsRequest] = asyncio.Queue()
        answers.put_nowait(pb.WatchGraphsRequest(coordinator="c"))

        async def requests() -> AsyncIterator[pb.WatchGraphsRequest]:
            while True:
                yield await answers.get()

        async def watch() -> None:
            async for event in service.stub.WatchGraphs(requests()):
                received.put_nowait(event)

        watching = asyncio.create_task(watch())
        assert (await received.get()).HasField("initial_state_sent")
        loading = asyncio.create_task(service.load(random_rows().messages()))
        served = (await received.get()).served
        assert (served.graph, served.version) == ("g", 1)
        assert SnapshotReader.open(served.snapshot_url).manifest.version == 1
        assert not loading.done()
        graph = await service.describe()
        assert (graph.version, graph.loading.phase) == (1, "publish")
        adoption = pb.GraphAdoption(graph="g", version=1)
        answers.put_nowait(pb.WatchGraphsRequest(coordinator="c", adoption=adoption))
        assert not [warning for warning in (await loading).warnings if "coordinator" in warning]

        loading = asyncio.create_task(service.load(random_rows().messages()))
        assert (await received.get()).served.version == 2
        failure = pb.GraphAdoption(graph="g", version=2, failure="no room left")
        answers.put_nowait(pb.WatchGraphsRequest(coordinator="c", adoption=failure))
        (watcher,) = service.running.resources.hub.watchers
        await until(lambda: "g" in watcher.failures)
        assert not loading.done(), "the coordinator retries"
        adoption = pb.GraphAdoption(graph="g", version=2)
        answers.put_nowait(pb.WatchGraphsRequest(coordinator="c", adoption=adoption))
        assert not [warning for warning in (await loading).warnings if "coordinator" in warning]

        await service.call("RemoveGraph", pb.RemoveGraphRequest, graph="g")
        assert (await received.get()).removed.graph == "g"
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_a_partitioning_with_many_cross_edges_causes_a_warning(service: Service) -> None:
    draw = np.random.default_rng(3)
    ids = [f"n{number}" for number in range(300)]
    rows = [(ids[a], ids[b], 1.0) for a, b in draw.integers(0, 300, (900, 2))]
    report = await service.load([header(strategy=graph_pb2.STRATEGY_HASH, partitions=6), nodes(ids), edges(rows)])
    assert report.cross_edge_share > 0.5
    assert any("%" in warning and "mincut" in warning for warning in report.warnings)
    heavy = await service.load([header(), nodes(ids), edges([("n1", "n2", 1e14), ("n2", "n3", 1.0)])])
    assert any("2^53" in warning for warning in heavy.warnings)
    assert any("no edge" in warning for warning in heavy.warnings)
