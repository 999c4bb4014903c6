"""The rpcs of the partition service: descriptions, pages, samples, exports, removals and restarts."""

from __future__ import annotations

import math

import grpc.aio
import numpy as np
import pytest

from planmesh.errors import GraphUnknown, InvalidRequest, LimitExceeded, NodeUnknown, VersionGone
from planmesh.internal.v1 import partition_pb2 as pb
from planmesh.snapshot.reader import SnapshotReader
from planmesh.v1 import graph_pb2
from tests.services.partition.conftest import (
    Builder,
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


async def test_loaded_rows_are_read_back(service: Service) -> None:
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


async def test_the_same_rows_give_the_same_files_however_they_are_interleaved(service: Service) -> None:
    rows = random_rows()
    first, *rest = rows.messages(batch=50)
    await service.load([first, *rest])
    await service.load(
        [first, *(one for one in rest if one.HasField("edges")), *(one for one in rest if one.HasField("nodes"))]
    )
    one, other = (SnapshotReader.open(str(service.snapshot(version))).manifest for version in (1, 2))
    assert [entry.checksum for entry in one.files()] == [entry.checksum for entry in other.files()]


async def test_an_unknown_graph_is_an_error(service: Service) -> None:
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


async def test_a_removed_graph_is_gone_and_its_version_numbers_are_not_reused(service: Service) -> None:
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


async def test_a_restarted_service_serves_again_and_removes_leftovers(
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


async def test_old_versions_are_removed_after_their_grace(open_service: OpenService, builder: Builder) -> None:
    async with open_service(partition_version_grace_s=0.0, partition_versions_kept=1) as service:
        await service.load([header(), AB])
        await service.load([header(), AB])
        await until(lambda: not service.snapshot(1).exists())
        assert service.snapshot(2).exists()
        with pytest.raises(VersionGone):
            await service.call("ReportDamage", pb.ReportDamageRequest, graph="g", version=1, file="directory")
