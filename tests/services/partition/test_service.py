from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator

import grpc.aio
import numpy as np
import pytest

from planmesh.errors import (
    Conflict,
    GraphUnknown,
    InvalidGraph,
    InvalidRequest,
    LimitExceeded,
    NodeUnknown,
    Overloaded,
    VersionGone,
    WorkerUnavailable,
)
from planmesh.internal.v1 import partition_pb2 as pb
from planmesh.snapshot.reader import SnapshotReader
from planmesh.v1 import graph_pb2
from tests.services.partition.conftest import (
    Builder,
    Message,
    OpenService,
    Service,
    edges,
    header,
    nodes,
    random_rows,
    until,
)

pytestmark = pytest.mark.mesh


async def read_rows(
    service: Service, version: int = 0, graph: str = "g"
) -> tuple[list[str], list[tuple[str, str, float]]]:
    ids: list[str] = []
    rows: list[tuple[str, str, float]] = []
    async for part in service.stub.ReadGraph(pb.ReadGraphRequest(graph=graph, version=version)):
        ids += part.nodes.ids
        rows += zip(part.edges.sources, part.edges.targets, part.edges.costs, strict=True)
    return ids, rows


async def test_a_load_is_counted_and_served(service: Service) -> None:
    rows = random_rows()
    report = await service.load(rows.messages())
    kept: dict[tuple[str, str], float] = {}
    for source, target, cost in rows.edges:
        if source != target:
            kept[source, target] = min(cost, kept.get((source, target), math.inf))
    loops = sum(source == target for source, target, _ in rows.edges)
    domain_of = dict(zip(rows.ids, rows.domains, strict=True))
    crossing = [(s, t) for s, t in kept if domain_of[s] != domain_of[t]]
    assert (report.graph, report.version, report.nodes, report.edges) == ("g", 1, 200, len(kept))
    assert (report.self_loops, report.parallel_edges) == (loops, len(rows.edges) - loops - len(kept))
    assert (report.partitions, report.cross_edges) == (5, len(crossing))
    assert report.cross_edge_share == len(crossing) / len(kept)
    assert report.boundary_nodes == len({end for pair in crossing for end in pair})
    assert report.strategy == graph_pb2.STRATEGY_DOMAIN
    assert [one.phase for one in report.phases] == ["read", "partition", "index", "overlay", "publish"]
    assert all(one.seconds > 0 for one in report.phases)
    assert any("no coordinator" in warning for warning in report.warnings)

    graph = await service.describe()
    assert (graph.version, graph.state, graph.nodes) == (1, graph_pb2.GRAPH_STATE_SERVING, 200)
    assert not graph.HasField("loading")
    assert graph.overlay_nodes >= report.boundary_nodes
    listed = await service.call("DescribeGraphs", pb.DescribeGraphsRequest)
    assert [one.name for one in listed.graphs] == ["g"]

    reader = SnapshotReader.open(str(service.snapshot(1)))
    directory = reader.directory()
    found: dict[tuple[str, str], float] = {}
    for number in range(5):
        partition = reader.partition(number)
        tails = np.repeat(np.arange(partition.node_count), np.diff(partition.out_first)) + partition.partition_first
        names = directory.names(tails.astype(np.int32)), directory.names(partition.out_head)
        found |= dict(zip(zip(*names, strict=True), partition.out_cost.tolist(), strict=True))
    assert found == kept

    some = "n41"
    node = (await service.call("DescribeNode", pb.DescribeNodeRequest, graph="g", node=some)).node
    assert (node.id, node.version, node.domain, node.region, node.partition) == (some, 1, "d1", "", "d1")
    assert node.out_degree == sum(source == some for source, _ in kept)
    assert node.in_degree == sum(target == some for _, target in kept)
    assert node.boundary == any(some in pair for pair in crossing)


async def test_partitions_are_listed_page_by_page(service: Service) -> None:
    await service.load(random_rows().messages())
    listed: list[graph_pb2.Partition] = []
    token = ""
    while True:
        page = await service.call(
            "DescribePartitions", pb.DescribePartitionsRequest, graph="g", page_size=2, page_token=token
        )
        assert (page.version, page.total_size) == (1, 5)
        listed += page.partitions
        token = page.next_page_token
        if not token:
            break
    assert [one.number for one in listed] == list(range(5))
    assert {one.name for one in listed} == {f"d{number}" for number in range(5)}
    assert [one.shard for one in listed] == [0, 0, 0, 1, 1]
    assert sum(one.nodes for one in listed) == 200
    by_name = {one.name: one for one in listed}
    for one in listed:
        assert one.index_bytes > 0
        assert sum(neighbor.cross_edges_out for neighbor in one.neighbors) == one.cross_edges_out
        for neighbor in one.neighbors:
            back = next(other for other in by_name[neighbor.name].neighbors if other.name == one.name)
            assert (back.cross_edges_in, back.cross_edges_out) == (neighbor.cross_edges_out, neighbor.cross_edges_in)
    whole = await service.call("DescribePartitions", pb.DescribePartitionsRequest, graph="g")
    assert list(whole.partitions) == listed
    for bad in ("x", "1:", "1:9", "2:0", ":", "1:1:1"):
        with pytest.raises(InvalidRequest):
            await service.call("DescribePartitions", pb.DescribePartitionsRequest, graph="g", page_token=bad)
    with pytest.raises(LimitExceeded, match="1000"):
        await service.call("DescribePartitions", pb.DescribePartitionsRequest, graph="g", page_size=1001)


async def test_nodes_are_drawn_and_near_ones_suggested(service: Service) -> None:
    await service.load(random_rows().messages())

    async def draw(count: int, seed: int) -> list[str]:
        return list((await service.call("DrawNodes", pb.DrawNodesRequest, graph="g", count=count, seed=seed)).ids)

    drawn = await draw(1_000, 7)
    assert drawn == await draw(1_000, 7)
    assert drawn != await draw(1_000, 8)
    assert len(set(drawn)) > 150
    assert set(drawn) <= set(random_rows().ids)
    assert await draw(0, 1) == []
    with pytest.raises(LimitExceeded, match="20000"):
        await draw(20_001, 1)
    with pytest.raises(NodeUnknown) as caught:
        await service.call("DescribeNode", pb.DescribeNodeRequest, graph="g", node="N41")
    assert "n41" in caught.value.near


async def test_what_was_given_is_read_back(service: Service) -> None:
    rows = random_rows()
    await service.load(rows.messages())
    assert await read_rows(service) == (rows.ids, rows.edges)
    await service.load([header(undirected=True, implicit_nodes=True), edges([("a", "b", 1.0), ("b", "b", 2.0)])])
    ids, read = await read_rows(service)
    assert (sorted(ids), sorted(read)) == (
        ["a", "b"],
        [("a", "b", 1.0), ("b", "a", 1.0), ("b", "b", 2.0), ("b", "b", 2.0)],
    )
    assert await read_rows(service, version=1) == (rows.ids, rows.edges)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read_rows(service, version=9)
    assert "version 9" in str(caught.value.details())


async def test_the_same_rows_give_the_same_files_however_they_are_mixed(service: Service) -> None:
    rows = random_rows()
    first, *rest = rows.messages(batch=50)
    await service.load([first, *rest])
    await service.load(
        [first, *(one for one in rest if one.HasField("edges")), *(one for one in rest if one.HasField("nodes"))]
    )
    one, other = (SnapshotReader.open(str(service.snapshot(version))).manifest for version in (1, 2))
    assert [entry.checksum for entry in one.files()] == [entry.checksum for entry in other.files()]


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


async def test_what_breaks_a_rule_is_refused_whole_and_the_old_version_goes_on(service: Service) -> None:
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


async def test_a_graph_that_is_not_there(service: Service) -> None:
    for method, request in [
        ("DescribeGraph", pb.DescribeGraphRequest),
        ("DescribeNode", pb.DescribeNodeRequest),
        ("DescribePartitions", pb.DescribePartitionsRequest),
        ("DrawNodes", pb.DrawNodesRequest),
        ("RemoveGraph", pb.RemoveGraphRequest),
        ("ReportDamage", pb.ReportDamageRequest),
    ]:
        with pytest.raises(GraphUnknown):
            await service.call(method, request, graph="nobody")
        with pytest.raises(InvalidRequest):
            await service.call(method, request, graph="../nobody")


async def test_a_removed_graph_is_gone_and_its_versions_are_not_used_again(service: Service) -> None:
    await service.load(random_rows().messages())
    await service.call("RemoveGraph", pb.RemoveGraphRequest, graph="g")
    with pytest.raises(GraphUnknown):
        await service.describe()
    assert not service.snapshot(1).exists()
    assert not (service.data / "store" / "rows" / "g").exists()
    assert (await service.load(random_rows().messages())).version == 2


async def test_graphs_of_one_node_and_of_one_partition(service: Service) -> None:
    assert (await service.load([header(), nodes(["only"])])).partitions == 1
    report = await service.load([header(), *random_rows(30).messages()[1:]])
    assert (report.partitions, report.cross_edges, report.boundary_nodes) == (1, 0, 0)
    assert (await service.call("DescribeNode", pb.DescribeNodeRequest, graph="g", node="n3")).node.boundary is False


class Held:
    """A load whose caller has not sent everything yet."""

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
        """Return the graph when so many rows of the load have been read."""
        async with asyncio.timeout(60):
            while True:
                try:
                    described = await self._service.describe(graph)
                except GraphUnknown:
                    continue
                if described.loading.done >= rows:
                    return described


async def test_progress_is_told_and_one_load_has_a_graph_at_a_time(service: Service) -> None:
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


async def test_without_a_builder_a_load_is_refused_and_the_old_version_goes_on(
    open_service: OpenService, builder: Builder, redis_server: object
) -> None:
    async with open_service() as service:
        await service.load([header(), AB])
    # Another Redis, on whose queue nobody listens.
    async with open_service(redis_url=redis_server.url, partition_build_stall_s=0.6) as service:  # type: ignore[attr-defined]
        with pytest.raises(WorkerUnavailable, match="no build worker"):
            await service.load([header(), AB])
        assert (await service.describe()).version == 1


async def test_a_closed_service_answers_again_and_removes_what_was_left(
    open_service: OpenService, builder: Builder
) -> None:
    rows = random_rows()
    async with open_service() as service:
        for _ in range(3):
            await service.load(rows.messages())
        assert [service.snapshot(version).exists() for version in (1, 2, 3)] == [True, True, True]
        (service.data / "builds" / "left-over").mkdir()
        (service.snapshot(9) / "partitions").mkdir(parents=True)
    async with open_service() as service:
        assert [service.snapshot(version).exists() for version in (1, 2, 3, 9)] == [False, True, True, False]
        assert not list((service.data / "builds").iterdir())
        graph = await service.describe()
        assert (graph.version, graph.state, graph.nodes) == (3, graph_pb2.GRAPH_STATE_SERVING, 200)
        assert await read_rows(service) == (rows.ids, rows.edges)
        assert await read_rows(service, version=2) == (rows.ids, rows.edges)
        with pytest.raises(grpc.aio.AioRpcError):
            await read_rows(service, version=1)
        assert (await service.call("DescribeNode", pb.DescribeNodeRequest, graph="g", node="n7")).node.version == 3


async def test_old_versions_go_after_their_grace(open_service: OpenService, builder: Builder) -> None:
    async with open_service(partition_version_grace_s=0.0, partition_versions_kept=1) as service:
        await service.load([header(), AB])
        await service.load([header(), AB])
        await until(lambda: not service.snapshot(1).exists())
        assert service.snapshot(2).exists()
        with pytest.raises(VersionGone):
            await service.call("ReportDamage", pb.ReportDamageRequest, graph="g", version=1, file="directory")


async def test_a_load_returns_when_the_coordinators_that_watch_serve_it(
    open_service: OpenService, builder: Builder
) -> None:
    async with open_service(partition_adoption_wait_s=60.0) as service:
        told: asyncio.Queue[pb.WatchGraphsResponse] = asyncio.Queue()
        answers: asyncio.Queue[pb.WatchGraphsRequest] = asyncio.Queue()
        answers.put_nowait(pb.WatchGraphsRequest(coordinator="c"))

        async def requests() -> AsyncIterator[pb.WatchGraphsRequest]:
            while True:
                yield await answers.get()

        async def watch() -> None:
            async for event in service.stub.WatchGraphs(requests()):
                told.put_nowait(event)

        watching = asyncio.create_task(watch())
        assert (await told.get()).HasField("initial_state_sent")
        loading = asyncio.create_task(service.load(random_rows().messages()))
        served = (await told.get()).served
        assert (served.graph, served.version) == ("g", 1)
        assert SnapshotReader.open(served.snapshot_url).manifest.version == 1
        assert not loading.done()
        graph = await service.describe()
        assert (graph.version, graph.loading.phase) == (1, "publish")
        adoption = pb.GraphAdoption(graph="g", version=1)
        answers.put_nowait(pb.WatchGraphsRequest(coordinator="c", adoption=adoption))
        assert not [warning for warning in (await loading).warnings if "coordinator" in warning]

        loading = asyncio.create_task(service.load(random_rows().messages()))
        assert (await told.get()).served.version == 2
        failure = pb.GraphAdoption(graph="g", version=2, failure="no room left")
        answers.put_nowait(pb.WatchGraphsRequest(coordinator="c", adoption=failure))
        (watcher,) = service.running.resources.hub.watchers
        await until(lambda: "g" in watcher.failures)
        assert not loading.done(), "the coordinator tries again"
        adoption = pb.GraphAdoption(graph="g", version=2)
        answers.put_nowait(pb.WatchGraphsRequest(coordinator="c", adoption=adoption))
        assert not [warning for warning in (await loading).warnings if "coordinator" in warning]

        await service.call("RemoveGraph", pb.RemoveGraphRequest, graph="g")
        assert (await told.get()).removed.graph == "g"
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_a_partitioning_that_cuts_much_is_warned_of(service: Service) -> None:
    draw = np.random.default_rng(3)
    ids = [f"n{number}" for number in range(300)]
    rows = [(ids[a], ids[b], 1.0) for a, b in draw.integers(0, 300, (900, 2))]
    report = await service.load([header(strategy=graph_pb2.STRATEGY_HASH, partitions=6), nodes(ids), edges(rows)])
    assert report.cross_edge_share > 0.5
    assert any("%" in warning and "mincut" in warning for warning in report.warnings)
    heavy = await service.load([header(), nodes(ids), edges([("n1", "n2", 1e14), ("n2", "n3", 1.0)])])
    assert any("2^53" in warning for warning in heavy.warnings)
    assert any("no edge" in warning for warning in heavy.warnings)
