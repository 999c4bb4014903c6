"""Updates of a running partition service, against a model of plain dicts."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from random import Random
from typing import Any

import pytest

from planmesh.errors import (
    ChangeTargetUnknown,
    GraphUnknown,
    InvalidChange,
    KeyReused,
    NodeUnknown,
    Overloaded,
    PlanmeshError,
    Unavailable,
    VersionConflict,
)
from planmesh.internal.v1 import partition_pb2 as pb
from planmesh.v1 import graph_pb2
from services.partition.changes import updates
from tests.services.partition.conftest import Builder, OpenService, Rows, Service, random_rows, read_rows, until

pytestmark = pytest.mark.mesh

Change = graph_pb2.Change


def upsert_edge(source: str, target: str, **fields: Any) -> Change:
    return Change(upsert_edge=graph_pb2.UpsertEdge(source=source, target=target, **fields))


def upsert_node(node: str, **fields: Any) -> Change:
    return Change(upsert_node=graph_pb2.UpsertNode(id=node, **fields))


def delete_edge(source: str, target: str) -> Change:
    return Change(delete_edge=graph_pb2.DeleteEdge(source=source, target=target))


def delete_node(node: str) -> Change:
    return Change(delete_node=graph_pb2.DeleteNode(id=node))


async def update(service: Service, *changes: Change, **fields: Any) -> pb.ChangeGraphResponse:
    response: pb.ChangeGraphResponse = await service.call(
        "ChangeGraph", pb.ChangeGraphRequest, graph="g", changes=changes, **fields
    )
    return response


class Model:
    """The graph as plain dicts."""

    def __init__(self, rows: Rows) -> None:
        self.nodes = set(rows.ids)
        self.edges: dict[tuple[str, str], float] = {}
        for source, target, cost in rows.edges:
            if source != target:
                self.edges[source, target] = min(cost, self.edges.get((source, target), cost))
        self.loaded = dict(self.edges)

    def change(self, random: Random) -> Change:
        """Make a random valid change, and return it."""
        nodes, pairs = sorted(self.nodes), sorted(self.edges)
        kind = random.choice(["cost", "cost", "factor", "new", "edge", "node", "gone"])
        if kind == "cost":
            pair = random.choice(pairs)
            self.edges[pair] = float(random.randint(0, 50))
            return upsert_edge(*pair, cost=self.edges[pair])
        if kind == "factor":
            pair = random.choice(pairs)
            factor = random.choice([0.0, 0.5, 1.0, 3.0])
            self.edges[pair] = self.loaded[pair] * factor
            return upsert_edge(*pair, cost_factor=factor)
        if kind == "new":
            source, target = random.sample(nodes, 2)
            cost = float(random.randint(0, 50))
            self.loaded.setdefault((source, target), cost)
            if (source, target) not in self.edges:
                self.loaded[source, target] = cost
            self.edges[source, target] = cost
            return upsert_edge(source, target, cost=cost)
        if kind == "edge":
            pair = random.choice(pairs)
            del self.edges[pair], self.loaded[pair]
            return delete_edge(*pair)
        if kind == "node":
            node = f"new{random.randint(0, 20)}"
            self.nodes.add(node)
            return upsert_node(node, domain="d1")
        node = random.choice(nodes)
        self.nodes.remove(node)
        for pair in [pair for pair in self.edges if node in pair]:
            del self.edges[pair], self.loaded[pair]
        return delete_node(node)

    async def check(self, service: Service) -> None:
        ids, rows = await read_rows(service)
        assert sorted(ids) == sorted(self.nodes)
        found: dict[tuple[str, str], float] = {}
        for source, target, cost in rows:
            if source != target:
                found[source, target] = min(cost, found.get((source, target), cost))
        assert found == self.edges


@pytest.fixture
async def loaded(service: Service) -> Service:
    await service.load(random_rows(80).messages())
    return service


async def test_updates_equal_the_model_also_after_merges_and_restarts(
    open_service: OpenService, builder: Builder
) -> None:
    rows, random = random_rows(80), Random(5)
    model, version = Model(rows), 1
    async with open_service() as service:
        await service.load(rows.messages())
    for settings in ({}, {"merge_after_s": 0.0}, {}):
        async with open_service(**settings) as service:
            for _ in range(12):
                changes = [model.change(random) for _ in range(random.randint(1, 6))]
                answer = await update(service, *changes)
                assert answer.version > version
                version = answer.version
            await model.check(service)
            if settings:
                await until(lambda service=service: _is_merged(service))  # type: ignore[misc]
                assert (await service.describe()).base_version > 1
                await model.check(service)
                version = (await service.describe()).version
            graph = await service.describe()
            assert (graph.version, graph.unmerged_changes > 0) == (version, not settings)


async def _is_merged(service: Service) -> bool:
    return (await service.describe()).unmerged_changes == 0


async def test_a_batch_is_whole_or_not_at_all(loaded: Service) -> None:
    before = await read_rows(loaded)
    bad: list[tuple[Change, type[PlanmeshError], str]] = [
        (upsert_edge("n0", "nowhere", cost=1), ChangeTargetUnknown, "upsert_edge.target"),
        (upsert_edge("nowhere", "n0", cost=1), ChangeTargetUnknown, "upsert_edge.source"),
        (upsert_edge("n0", "n79", cost_factor=2), ChangeTargetUnknown, "upsert_edge.cost_factor"),
        (upsert_edge("n0", "n79"), ChangeTargetUnknown, "upsert_edge.cost"),
        (delete_edge("n0", "n79"), ChangeTargetUnknown, "delete_edge.target"),
        (delete_node("nowhere"), ChangeTargetUnknown, "delete_node.id"),
        (upsert_edge("n0", "n79", cost=-1), InvalidChange, "upsert_edge.cost"),
        (Change(), InvalidChange, ""),
    ]
    for change, error, field in bad:
        with pytest.raises(error) as raised:
            await update(loaded, upsert_node("fresh"), upsert_edge("n0", "fresh", cost=2), change)
        assert (raised.value.metadata["change"], raised.value.metadata["field"]) == ("2", field)
    assert await read_rows(loaded) == before
    assert (await loaded.describe()).version == 1
    with pytest.raises(NodeUnknown):
        await loaded.call("DescribeNode", pb.DescribeNodeRequest, graph="g", node="fresh")
    answer = await update(loaded, delete_node("nowhere"), delete_edge("n0", "n79"), ignore_missing=True)
    assert (answer.version, answer.applied) == (2, 2)


async def test_conditions_and_keys(loaded: Service) -> None:
    first = await update(loaded, upsert_node("x"), idempotency_key="k", if_version=1)
    assert (first.version, first.applied, first.repeated_attempt) == (2, 1, False)
    again = await update(loaded, upsert_node("x"), idempotency_key="k", if_version=1)
    assert (again.version, again.applied, again.repeated_attempt) == (2, 1, True)
    with pytest.raises(KeyReused):
        await update(loaded, upsert_node("y"), idempotency_key="k")
    with pytest.raises(VersionConflict) as raised:
        await update(loaded, upsert_node("y"), if_version=1)
    assert raised.value.metadata["version"] == "2"
    assert (await loaded.describe()).version == 2
    with pytest.raises(GraphUnknown):
        await loaded.call("ChangeGraph", pb.ChangeGraphRequest, graph="h", changes=[upsert_node("x")])


async def test_nodes_are_described_with_their_changes(loaded: Service) -> None:
    await update(loaded, upsert_node("x", domain="d9", state="degraded", attributes={"a": "1", "b": "2"}))
    await update(loaded, upsert_node("x", region="r"), upsert_edge("n0", "x", cost=1))
    await update(loaded, upsert_node("x", attributes={"a": ""}))
    found = (await loaded.call("DescribeNode", pb.DescribeNodeRequest, graph="g", node="x")).node
    assert (found.domain, found.region, found.state, dict(found.attributes)) == ("d9", "r", "degraded", {"b": "2"})
    assert (found.partition, found.in_degree, found.out_degree, found.version) == ("", 1, 0, 4)
    await update(loaded, delete_node("x"))
    with pytest.raises(NodeUnknown):
        await loaded.call("DescribeNode", pb.DescribeNodeRequest, graph="g", node="x")
    other = (await loaded.call("DescribeNode", pb.DescribeNodeRequest, graph="g", node="n0")).node
    assert (other.state, other.partition) == ("up", "d0")


async def test_callers_at_once_get_versions_of_their_own(loaded: Service) -> None:
    answers = await asyncio.gather(*(update(loaded, upsert_node(f"x{number}")) for number in range(50)))
    assert sorted(answer.version for answer in answers) == list(range(2, 52))
    assert (await loaded.describe()).unmerged_changes == 50


async def test_too_much_at_once_is_refused(open_service: OpenService, builder: Builder, monkeypatch: Any) -> None:
    async with open_service(delta_edges_max=3) as service:
        await service.load(random_rows(80).messages())
        await service.running.merges.close()
        await update(service, *(upsert_node(f"x{number}") for number in range(4)))
        with pytest.raises(Overloaded, match="wait to be merged") as raised:
            await update(service, upsert_node("y"))
        assert raised.value.retry_after_s == 10
        monkeypatch.setattr(updates, "WAITING_MAX", 0)
        with pytest.raises(Overloaded, match="to wait"):
            await update(service, upsert_node("y"))


async def test_a_stream_answers_in_order_and_goes_on_after_a_refusal(loaded: Service) -> None:
    async def requests() -> AsyncIterator[pb.ChangeGraphStreamRequest]:
        for number in range(30):
            change = delete_node("nowhere") if number == 10 else upsert_node(f"x{number}")
            yield pb.ChangeGraphStreamRequest(update=pb.ChangeGraphRequest(graph="g", changes=[change]))

    answers = [answer async for answer in loaded.stub.ChangeGraphStream(requests())]
    assert len(answers) == 30
    assert answers[10].status.message.startswith("changes[0].delete_node.id: ")
    found = [answer.response.version for position, answer in enumerate(answers) if position != 10]
    assert found == list(range(2, 31))


async def test_a_watch_gets_each_version_once_and_pongs_behind_what_was_acknowledged(loaded: Service) -> None:
    await update(loaded, upsert_node("x0"))
    outgoing: asyncio.Queue[pb.WatchGraphsRequest] = asyncio.Queue()
    outgoing.put_nowait(pb.WatchGraphsRequest(coordinator="c"))

    async def requests() -> AsyncIterator[pb.WatchGraphsRequest]:
        while True:
            yield await outgoing.get()

    call = loaded.stub.WatchGraphs(requests())
    writing = [asyncio.create_task(update(loaded, upsert_node(f"x{number}"))) for number in range(1, 20)]
    seen: list[int] = []
    acknowledged = 0
    async for event in call:
        seen += [batch.version for batch in event.changed.batches]
        if event.HasField("initial_state_sent"):
            answers = await asyncio.gather(*writing)
            acknowledged = max(answer.version for answer in answers)
            outgoing.put_nowait(pb.WatchGraphsRequest(coordinator="c", ping=7))
        if event.WhichOneof("event") == "pong":
            assert event.pong == 7
            break
    call.cancel()
    assert acknowledged == 21
    assert sorted(set(seen)) == list(range(2, 22)), "no gap, and all before the pong"


async def test_a_load_replaces_the_changes_and_versions_go_on(loaded: Service) -> None:
    await update(loaded, upsert_node("x"), delete_node("n1"), idempotency_key="k")
    report = await loaded.load(random_rows(80).messages())
    assert report.version == 3
    graph = await loaded.describe()
    assert (graph.version, graph.base_version, graph.unmerged_changes) == (3, 3, 0)
    assert "n1" in (await read_rows(loaded))[0]
    assert (await update(loaded, upsert_node("x"), idempotency_key="k")).version == 4
    await loaded.call("RemoveGraph", pb.RemoveGraphRequest, graph="g")
    with pytest.raises(GraphUnknown):
        await update(loaded, upsert_node("x"))


async def test_a_graph_whose_log_is_damaged_is_not_served_and_others_are(
    open_service: OpenService, builder: Builder
) -> None:
    async with open_service() as service:
        for graph in ("g", "h"):
            await service.load(random_rows(80).messages(graph))
        await update(service, upsert_node("x"))
        catalog = service.data / "store" / "catalog.sqlite"
    with closing(sqlite3.connect(catalog)) as connection, connection:
        connection.execute("UPDATE change SET payload = x'00'")
    async with open_service() as service:
        assert (await service.describe()).state == graph_pb2.GRAPH_STATE_UNREADABLE
        assert (await service.describe("h")).state == graph_pb2.GRAPH_STATE_SERVING
        with pytest.raises(Unavailable, match="the record of version 2 failed its checksum"):
            await update(service, upsert_node("y"))
        await service.load(random_rows(80).messages())
        assert (await update(service, upsert_node("y"))).version == 4
