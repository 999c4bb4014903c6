from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from planmesh import errors
from planmesh.client import (
    AsyncClient,
    Change,
    DeleteEdge,
    DeleteNode,
    UpdateAnswer,
    UpdateBatch,
    UpdateResult,
    UpsertEdge,
    UpsertNode,
)
from planmesh.client.update_requests import UpdateStream
from planmesh.v1 import graph_pb2, plan_pb2

EDGE = UpsertEdge("a", "b", cost=2.5)


async def test_every_change_reaches_the_server(call: Any, stage: Any) -> None:
    changes: list[Change] = [
        UpsertNode("a", domain="", state="down", attributes={"rack": "7", "owner": ""}),
        UpsertNode("b"),
        DeleteNode("c"),
        UpsertEdge("a", "b", cost=0.0),
        UpsertEdge("b", "a", cost_factor=1.5, attributes={"link": "x"}),
        UpsertEdge("b", "c"),
        DeleteEdge("a", "c"),
    ]
    found = await call("update_graph", iter(changes), graph="g", if_version=0, key="k", ignore_missing=True)
    assert found == UpdateResult("g", 5, 7, False)
    (request,) = stage.gateway.requests
    assert (request.graph, request.idempotency_key, request.ignore_missing) == ("g", "k", True)
    assert request.HasField("if_version")
    assert list(request.changes) == [
        graph_pb2.Change(
            upsert_node=graph_pb2.UpsertNode(id="a", domain="", state="down", attributes={"rack": "7", "owner": ""})
        ),
        graph_pb2.Change(upsert_node=graph_pb2.UpsertNode(id="b")),
        graph_pb2.Change(delete_node=graph_pb2.DeleteNode(id="c")),
        graph_pb2.Change(upsert_edge=graph_pb2.UpsertEdge(source="a", target="b", cost=0.0)),
        graph_pb2.Change(
            upsert_edge=graph_pb2.UpsertEdge(source="b", target="a", cost_factor=1.5, attributes={"link": "x"})
        ),
        graph_pb2.Change(upsert_edge=graph_pb2.UpsertEdge(source="b", target="c")),
        graph_pb2.Change(delete_edge=graph_pb2.DeleteEdge(source="a", target="c")),
    ]
    assert [request.changes[index].upsert_node.HasField("region") for index in (0, 1)] == [False, False]
    assert request.changes[3].upsert_edge.WhichOneof("price") == "cost"
    assert request.changes[5].upsert_edge.WhichOneof("price") is None


async def test_a_retry_of_grpc_has_the_key_of_the_first_attempt(call: Any, stage: Any) -> None:
    def fail_once(request: Any) -> None:
        if len(stage.gateway.requests) == 1:
            raise errors.ServiceUnavailable("partition is away")

    stage.gateway.before = fail_once
    assert (await call("update_graph", [EDGE])).version == 5
    first, second = stage.gateway.requests
    assert len(first.idempotency_key) == 32
    assert first == second
    await call("update_graph", [EDGE])
    assert stage.gateway.requests[-1].idempotency_key not in {"", first.idempotency_key}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ([EDGE, UpsertEdge("a", "b", cost=1, cost_factor=2)], "upsert_edge.cost_factor"),
        ([EDGE, UpsertEdge("a", "b", cost="1")], ""),  # type: ignore[arg-type]
        ([EDGE, UpsertNode(7)], ""),  # type: ignore[arg-type]
        ([EDGE, UpsertNode("a", attributes={"x": 1})], ""),  # type: ignore[dict-item]
        ([EDGE, UpsertNode("a", attributes=["x"])], ""),  # type: ignore[arg-type]
        ([EDGE, DeleteNode("\ud800")], ""),
        ([EDGE, ("a", "b")], ""),
    ],
)
async def test_a_change_that_no_message_can_hold_is_named(
    call: Any, stage: Any, changes: list[Any], field: str
) -> None:
    with pytest.raises(errors.InvalidChange, match=r"^changes\[1\]") as refused:
        await call("update_graph", changes)
    assert refused.value.metadata == {"change": "1", "field": field}
    assert stage.gateway.requests == []


@pytest.mark.parametrize(
    ("changes", "options", "field"),
    [([], {}, "changes"), ([EDGE] * 10_001, {}, "changes"), ([EDGE], {"if_version": -1}, "if_version")],
)
async def test_a_batch_that_no_message_can_hold_is_refused(
    call: Any, stage: Any, changes: list[Any], options: dict[str, Any], field: str
) -> None:
    with pytest.raises(errors.InvalidRequest) as refused:
        await call("update_graph", changes, **options)
    assert refused.value.metadata["field"] == field
    assert stage.gateway.requests == []


@pytest.mark.parametrize(
    "raised",
    [
        errors.InvalidChange("expected a finite number, got nan", change=3, field="upsert_edge.cost"),
        errors.ChangeTargetUnknown("no node", change=0, field="delete_node.id"),
        errors.VersionConflict("the graph has version 7", version="7"),
        errors.KeyReused("used for another batch"),
    ],
)
async def test_refusals_come_back_as_they_were_raised(call: Any, stage: Any, raised: errors.PlanmeshError) -> None:
    def refuse(request: Any) -> None:
        raise raised

    stage.gateway.before = refuse
    with pytest.raises(type(raised)) as caught:
        await call("update_graph", [EDGE])
    assert caught.value.message == raised.message
    assert raised.metadata.items() <= caught.value.metadata.items()


async def test_a_stream_answers_each_batch_in_order(call: Any, stage: Any) -> None:
    def refuse_other_versions(request: Any) -> None:
        if request.HasField("if_version"):
            raise errors.VersionConflict("the graph has version 5", version="5")

    stage.gateway.before = refuse_other_versions
    batches = [[EDGE], UpdateBatch([EDGE, EDGE], if_version=4), UpdateBatch([EDGE], graph="g", key="k")]
    first, second, third = await call("update_graph_stream", batches)
    assert (first, third.index) == (UpdateAnswer(0, UpdateResult("default", 5, 1, False), None), 2)
    assert third.result().graph == "g"
    assert second.update is None
    with pytest.raises(errors.VersionConflict) as conflict:
        second.result()
    assert conflict.value.metadata["version"] == "5"
    assert [request.idempotency_key for request in stage.gateway.requests] == ["", "", "k"]


async def test_a_stream_is_answered_while_it_is_sent(stage: Any) -> None:
    answered = asyncio.Semaphore(1)

    async def one_by_one() -> Any:
        for _ in range(5):
            await answered.acquire()
            yield [EDGE]

    async with AsyncClient(stage.address) as client:
        async for answer in client.update_graph_stream(one_by_one(), graph="g"):
            assert answer.result().graph == "g"
            answered.release()
    assert len(stage.gateway.requests) == 5


async def test_an_error_of_the_batches_ends_the_stream_and_is_raised(call: Any) -> None:
    def broken() -> Iterator[list[Change]]:
        yield [EDGE]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await call("update_graph_stream", broken())
    with pytest.raises(errors.InvalidRequest, match="1 to 10000 changes"):
        await call("update_graph_stream", [[EDGE], []])


async def test_a_stream_that_ends_without_every_answer_is_an_error(call: Any) -> None:
    with pytest.raises(errors.InternalError, match="expected answers to 1 batches, got 0"):
        await call("update_graph_stream", [[EDGE]], graph="silent")
    with pytest.raises(errors.InternalError, match="batch 0: expected a response or a status"):
        UpdateStream("g").answer(graph_pb2.UpdateGraphStreamResponse())


async def test_versions_and_what_is_avoided_reach_the_server(call: Any, stage: Any) -> None:
    options: dict[str, Any] = {"min_version": 3, "at_version": 4}
    avoided: dict[str, Any] = {"avoid_nodes": ("x",), "avoid_edges": [("a", "b"), ["b", "c"]]}
    await call("plan", "a", "c", **options, **avoided)
    await call("plan_many", [("a", "c")], **options, **avoided)
    await call("plan_matrix", ["a"], ["c"], **options)
    await call("neighbors", "a", **options)
    asked = stage.gateway.requests
    assert [(request.min_version, request.at_version) for request in asked] == [(3, 4)] * 4
    avoid = plan_pb2.Avoid(nodes=["x"], edges=[plan_pb2.Pair(start="a", goal="b"), plan_pb2.Pair(start="b", goal="c")])
    assert [request.avoid for request in asked[:2]] == [avoid] * 2
    await call("plan", "a", "c", at_version=0)
    await call("plan", "a", "c")
    zero, none = stage.gateway.requests[-2:]
    assert zero.HasField("at_version")
    assert not none.HasField("at_version")
    assert not none.HasField("avoid")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"min_version": -1}, "min_version"),
        ({"at_version": 2**64}, "at_version"),
        ({"avoid_nodes": "abc"}, "avoid_nodes"),
        ({"avoid_edges": ["ab"]}, "avoid_edges"),
        ({"avoid_edges": [("a", "b", "c")]}, "avoid_edges"),
    ],
)
async def test_what_no_plan_can_be_asked_is_said_before_asking(
    call: Any, stage: Any, options: dict[str, Any], field: str
) -> None:
    for method, arguments in (("plan", ("a", "b")), ("plan_many", ([("a", "b")],))):
        with pytest.raises(errors.InvalidRequest) as refused:
            await call(method, *arguments, **options)
        assert refused.value.metadata["field"] == field
    assert stage.gateway.requests == []


async def test_graphs_nodes_and_explanations_show_updates(call: Any, stage: Any) -> None:
    graph = await call("graph")
    assert (graph.base_version, graph.unmerged_changes) == (3, 12)
    node = await call("node", "a")
    assert (node.state, node.attributes) == ("degraded", {"rack": "7"})
    assert (await call("node", "plain")).state == "up"
    explanation = (await call("plan", "a", "c", explain=True)).explanation
    assert (explanation.unmerged_changes, explanation.opened_partitions) == (12, 2)
