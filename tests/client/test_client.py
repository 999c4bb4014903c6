from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import math
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracer, SpanKind, StatusCode

from planmesh import errors
from planmesh.client import (
    AsyncClient,
    Client,
    EdgeRows,
    Explanation,
    Neighbor,
    NodeRows,
    Phase,
    RowOrigin,
    Step,
    Strategy,
    core,
)
from planmesh.client.rows import ROWS_PER_BATCH
from planmesh.telemetry.tracing import make_telemetry
from planmesh.v1 import graph_pb2, plan_pb2


async def test_a_plan(call: Any, stage: Any) -> None:
    plan = await call("plan", "a", "c")
    assert (plan.graph, plan.version, plan.start, plan.goal, plan.cost) == ("default", 3, "a", "c", 3.5)
    assert plan.steps == (Step("a", "b", 1.5, "p", "p"), Step("b", "c", 2.0, "p", "q"))
    assert plan.steps is plan.steps
    assert plan.partitions == ("p", "q")
    assert plan.cached
    assert len(plan.trace_id) == 32
    assert plan.explanation is None
    with pytest.raises(AttributeError):
        plan.cost = 1.0
    assert "steps=" not in repr(plan)


async def test_options_reach_the_server(call: Any, stage: Any) -> None:
    plan = await call("plan", "a", "c", graph="g", explain=True, bypass_cache=True)
    request = stage.gateway.requests[-1]
    assert request == plan_pb2.PlanRequest(
        graph="g", start="a", goal="c", explain=True, bypass_cache=True, detail=plan_pb2.DETAIL_STEPS
    )
    assert plan.explanation == Explanation(2.5, (Phase("overlay", 1.5, 7, 0),), 2, (1, 4), 0, 0, 0, 12, 2)
    await call("plan", "a", "c", client={"graph": "own"})
    assert stage.gateway.requests[-1].graph == "own"
    await call("ping", client={"token": "correct-horse"})
    assert stage.gateway.metadata[-1]["authorization"] == "Bearer correct-horse"
    await call("ping")
    assert "authorization" not in stage.gateway.metadata[-1]


@pytest.mark.parametrize("is_older", [False, True])
async def test_many_plans(call: Any, stage: Any, is_older: bool) -> None:
    """Answers come several in a message, and from an older mesh one by one."""
    stage.gateway.is_older = is_older
    answers = await call("plan_many", [("a", "b"), ("a", "unreachable"), ("c", "d")])
    assert [answer.index for answer in answers] == [0, 1, 2]
    assert answers[2].result().goal == "d"
    assert isinstance(answers[1].error, errors.NoPath)
    assert answers[1].error.metadata == {"start": "a", "goal": "unreachable"}
    with pytest.raises(errors.NoPath):
        answers[1].result()
    assert await call("plan_many", []) == []


def test_a_pair_with_neither_plan_nor_status_is_an_error() -> None:
    """An older gateway puts a pair's error into the field that is reserved now, which must not become an empty plan."""
    older = plan_pb2.PlanManyResponse.FromString(b"\x08\x02\x1a\x0b\x0a\x09NOT_FOUND")
    assert older.index == 2
    with pytest.raises(errors.InternalError, match="pair 5: expected a plan or a status"):
        core.pair_answer(3, older)


async def test_more_pairs_than_a_request_takes_are_several_requests(call: Any, stage: Any) -> None:
    pairs = [(str(index), "b") for index in range(10_001)]
    answers = await call("plan_many", pairs)
    assert [answer.index for answer in answers] == list(range(10_001))
    assert answers[-1].result().start == "10000"
    assert [len(request.pairs) for request in stage.gateway.requests] == [10_000, 1]


async def test_a_matrix(call: Any, stage: Any) -> None:
    found = await call("plan_matrix", ["a", "unreachable", "c"], ("x", "y"), graph="g")
    assert (found.graph, found.version, found.sources, found.targets) == (
        "g",
        3,
        ("a", "unreachable", "c"),
        ("x", "y"),
    )
    assert [row.tolist() for row in found.rows] == [[1.5, 1.5], [math.inf, math.inf], [1.5, 1.5]]
    assert found.cost("unreachable", "y") == math.inf
    with pytest.raises(ValueError, match="tuple"):
        found.cost("nowhere", "y")


@pytest.mark.parametrize("sources", [["a", "b", "lost"], ["lost", "b", "a"], ["a", "b", "mixed"]])
async def test_a_matrix_with_missing_or_mixed_rows_is_an_error(call: Any, sources: list[str]) -> None:
    with pytest.raises(errors.InternalError, match="expected"):
        await call("plan_matrix", sources, ["x"])


async def test_a_text_is_no_sequence_of_ids(call: Any) -> None:
    with pytest.raises(errors.InvalidRequest, match="targets: expected a sequence of ids"):
        await call("plan_matrix", ["a"], "xyz")


async def test_neighbors(call: Any, stage: Any) -> None:
    found = await call("neighbors", "a", depth=2, direction="both", max_neighbors=5)
    assert found.neighbors == (Neighbor("b", 1, 1.5, "p"),)
    request = stage.gateway.requests[-1]
    assert (request.depth, request.direction, request.max_neighbors) == (2, plan_pb2.DIRECTION_BOTH, 5)


async def test_patterns(call: Any, stage: Any) -> None:
    found = await call("match_pattern", "MATCH (n) RETURN n", {"id": "ü", "count": 2**63 - 1}, max_rows=5)
    assert (found.store, found.columns) == ("neo4j", ("n", "cost"))
    assert found.rows == (({"labels": []}, 1.5), (None, 7))
    request = stage.gateway.requests[-1]
    assert (request.query, request.max_rows) == ("MATCH (n) RETURN n", 5)
    assert json.loads(request.parameters_json) == {"id": "ü", "count": 2**63 - 1}
    await call("match_pattern", "RETURN 1")
    assert stage.gateway.requests[-1].parameters_json == ""


@pytest.mark.parametrize("parameters", [{"x": object()}, {1: "x"}, {"x": 2**64}, {"x": "\ud800"}])
async def test_parameters_that_json_does_not_have(call: Any, stage: Any, parameters: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidRequest, match="parameters"):
        await call("match_pattern", "RETURN 1", parameters)
    assert stage.gateway.requests == []


@pytest.mark.parametrize("options", [{"direction": "up"}, {"depth": -1}, {"max_neighbors": -1}])
async def test_what_cannot_be_asked_is_said_before_asking(call: Any, stage: Any, options: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidRequest):
        await call("neighbors", "a", **options)
    assert stage.gateway.requests == []


async def test_descriptions(call: Any, stage: Any) -> None:
    assert (await call("graph")).name == "default"
    assert (await call("graph", graph="g")).name == "g"
    assert [graph.name for graph in await call("graphs")] == ["default"]
    assert (await call("node", "a")).id == "a"
    sample = await call("sample_nodes", 3, seed=7)
    assert (sample.version, sample.ids) == (3, ("a", "a", "a"))
    assert stage.gateway.requests[-1].seed == 7
    with pytest.raises(errors.InvalidRequest):
        await call("sample_nodes", -1)
    exported = await call("export")
    assert exported == [
        NodeRows(["a"], [], ["r"], RowOrigin("store", "node", 1)),
        EdgeRows(["a"], ["b"], [2.0], RowOrigin("", "", 0)),
    ]
    assert await call("unload", graph="g") is None
    assert await call("ping") is None
    assert (await call("status")).ready


async def test_partitions_are_fetched_page_by_page(call: Any, stage: Any) -> None:
    found = await call("partitions")
    assert [partition.number for partition in found] == list(range(2_500))
    assert len(stage.gateway.requests) == 3


async def test_a_load(call: Any, stage: Any) -> None:
    rows = [
        NodeRows(["a", "b"], domains=["x", "x"], origin=RowOrigin("nodes.tsv", unit="line", first=2)),
        EdgeRows(["a"], ["b"], [2.5]),
        EdgeRows(["b"], ["a"]),
    ]
    report = await call(
        "load", rows, graph="g", strategy=Strategy.DOMAIN, partitions=4, undirected=True, implicit_nodes=True
    )
    assert report.version == 4
    header, nodes, edges, more = stage.gateway.requests
    assert header.header == graph_pb2.LoadGraphHeader(
        graph="g", strategy=graph_pb2.STRATEGY_DOMAIN, partitions=4, undirected=True, implicit_nodes=True
    )
    assert nodes.nodes.origin == graph_pb2.Origin(source="nodes.tsv", unit="line", first=2)
    assert list(edges.edges.costs) == [2.5]
    assert (list(more.edges.sources), list(more.edges.costs)) == (["b"], [])


async def test_a_load_of_tuples(call: Any, stage: Any) -> None:
    edges = [("a", "b", 1.5), ("b", "c")]
    await call("load", edges=edges, nodes=["a", ("b", "x"), ("c", "", "r")], strategy="hash")
    header, nodes, sent = stage.gateway.requests
    assert header.header == graph_pb2.LoadGraphHeader(graph="default", strategy=graph_pb2.STRATEGY_HASH)
    assert nodes.nodes == graph_pb2.NodeBatch(
        origin=graph_pb2.Origin(source="nodes", unit="item", first=1),
        ids=["a", "b", "c"],
        domains=["", "x", ""],
        regions=["", "", "r"],
    )
    assert sent.edges == graph_pb2.EdgeBatch(
        origin=graph_pb2.Origin(source="edges", unit="item", first=1),
        sources=["a", "b"],
        targets=["b", "c"],
        costs=[1.5, 1.0],
    )


async def test_the_ends_of_edges_are_nodes_where_no_nodes_are_given(call: Any, stage: Any) -> None:
    await call("load", edges=((str(number), str(number + 1)) for number in range(ROWS_PER_BATCH + 1)))
    header, *sent = stage.gateway.requests
    assert header.header.implicit_nodes
    assert [(message.edges.origin.first, len(message.edges.sources)) for message in sent] == [
        (1, ROWS_PER_BATCH),
        (ROWS_PER_BATCH + 1, 1),
    ]
    await call("load", nodes=["alone"])
    assert not stage.gateway.requests[-2].header.implicit_nodes


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({}, "rows"),
        ({"rows": [], "edges": []}, "rows"),
        ({"edges": [("a", "b")], "strategy": "best"}, "strategy"),
        ({"edges": [("a", "b")], "partitions": -1}, "partitions"),
        ({"edges": [("a", "b"), ("a",)]}, "edges"),
        ({"edges": ["ab"]}, "edges"),
        ({"edges": [(1, 2)]}, "edges"),
        ({"nodes": [("a", "d", "r", "more")]}, "nodes"),
        ({"nodes": [7]}, "nodes"),
    ],
)
async def test_loads_that_cannot_be_sent(call: Any, arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(errors.InvalidRequest) as raised:
        await call("load", **arguments)
    assert raised.value.metadata["field"] == field


async def test_an_error_of_the_rows_ends_the_load_and_is_raised(call: Any, stage: Any) -> None:
    def rows() -> Iterator[NodeRows]:
        yield NodeRows(["a"])
        raise errors.InvalidGraph("not a number", source="edges.tsv", record="line 17", field="cost")

    with pytest.raises(errors.InvalidGraph, match="line 17"):
        await call("load", rows())


async def test_an_async_load(stage: Any) -> None:
    async def rows() -> AsyncIterator[NodeRows]:
        yield NodeRows(["a"])
        await asyncio.sleep(0)
        yield NodeRows(["b"])

    async def broken() -> AsyncIterator[NodeRows]:
        yield NodeRows(["a"])
        raise ZeroDivisionError

    async with AsyncClient(stage.address) as client:
        assert (await client.load(rows())).version == 4
        assert len(stage.gateway.requests) == 3
        with pytest.raises(ZeroDivisionError):
            await client.load(broken())


@pytest.mark.parametrize("method", ["load", "plan_many", "plan", "graph", "export"])
async def test_errors_are_those_that_were_raised(call: Any, stage: Any, method: str, near: errors.NodeUnknown) -> None:
    def fail(request: Any) -> None:
        raise near

    stage.gateway.before = fail
    arguments: dict[str, tuple[Any, ...]] = {
        "load": ([NodeRows(["a"])],),
        "plan_many": ([("a", "b")],),
        "plan": ("a", "b"),
    }
    with pytest.raises(errors.NodeUnknown) as caught:
        await call(method, *arguments.get(method, ()))
    assert caught.value.near == ["xa", "xb"]
    assert caught.value.message == near.message
    assert len(caught.value.metadata["trace_id"]) == 32


async def test_unavailable_is_retried_and_the_rest_is_not(call: Any, stage: Any) -> None:
    remaining: list[errors.PlanmeshError] = [errors.ServiceUnavailable("away")]

    def fail(request: Any) -> None:
        if remaining:
            raise remaining.pop()

    stage.gateway.before = fail
    assert (await call("plan", "a", "b")).cost == 3.5
    assert len(stage.gateway.requests) == 2
    remaining[:] = [errors.ServiceUnavailable("away")]
    with pytest.raises(errors.ServiceUnavailable):
        await call("load", [NodeRows(["a"])])
    remaining[:] = [errors.Overloaded("full", retry_after_s=0.5)]
    with pytest.raises(errors.Overloaded) as caught:
        await call("plan", "a", "b")
    assert caught.value.retry_after_s == 0.5


async def test_nobody_there_is_unavailable_and_names_the_address(call: Any, stage: Any) -> None:
    address = stage.address
    await stage.server.stop(0)
    with pytest.raises(errors.ServiceUnavailable, match=address):
        await call("ping")


async def test_the_deadline_is_the_callers(call: Any) -> None:
    with pytest.raises(errors.DeadlineExceeded):
        await call("plan", "slow", "b", timeout_s=0.2)
    with pytest.raises(errors.DeadlineExceeded):
        await call("plan", "slow", "b", client={"timeout_s": 0.2})
    with pytest.raises(errors.DeadlineExceeded):
        await call("plan", "a", "b", timeout_s=0)


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_the_trace_starts_at_the_client(stage: Any, kind: str, near: errors.NodeUnknown) -> None:
    exporter = InMemorySpanExporter()
    telemetry = make_telemetry("client", span_processors=[SimpleSpanProcessor(exporter)])
    call = stage.caller(kind)
    await call("plan", "a", "b", client={"tracer": telemetry.tracer})
    await call("plan_many", [("a", "b")], client={"tracer": telemetry.tracer})

    def fail(request: Any) -> None:
        raise near

    stage.gateway.before = fail
    with pytest.raises(errors.NodeUnknown):
        await call("plan", "a", "b", client={"tracer": telemetry.tracer})
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans] == [f"planmesh.v1.PlanService/{name}" for name in ("Plan", "PlanMany", "Plan")]
    assert all(span.kind is SpanKind.CLIENT for span in spans)
    sent = [metadata["traceparent"].split("-")[1:3] for metadata in stage.gateway.metadata]
    assert sent == [[f"{s.context.trace_id:032x}", f"{s.context.span_id:016x}"] for s in spans]
    assert [span.status.status_code for span in spans] == [StatusCode.UNSET, StatusCode.UNSET, StatusCode.ERROR]
    telemetry.shutdown()


async def test_without_tracing_no_trace_is_sent(call: Any, stage: Any) -> None:
    await call("ping")
    await call("ping", client={"tracer": NoOpTracer()})
    assert [name for sent in stage.gateway.metadata for name in sent if name == "traceparent"] == []


async def test_leaving_a_stream_early_is_fine(stage: Any) -> None:
    pairs = [("a", "b")] * 5_000
    async with AsyncClient(stage.address) as client:
        async with contextlib.aclosing(client.plan_many(pairs)) as answers:
            async for answer in answers:
                assert answer.index == 0
                break
        assert (await client.plan("a", "c")).cost == 3.5

    def leave() -> None:
        with Client(stage.address) as sync:
            stream = sync.plan_many(pairs)
            assert next(stream).index == 0
            stream.close()
            assert sync.plan("a", "c").cost == 3.5

    await asyncio.to_thread(leave)


async def test_a_client_can_be_used_again_after_close(stage: Any) -> None:
    client = AsyncClient(stage.address)
    await client.ping()
    await client.close()
    await client.close()
    await client.ping()
    await client.close()


async def test_calls_at_the_same_time(stage: Any) -> None:
    async with AsyncClient(stage.address) as client:
        plans = await asyncio.gather(*(client.plan(str(index), "c") for index in range(50)))
    assert [plan.start for plan in plans] == [str(index) for index in range(50)]


def test_both_clients_have_the_same_methods_and_parameters() -> None:
    def methods(client: type[Any]) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(method).parameters)
            for name, method in inspect.getmembers(client, inspect.isfunction)
            if not name.startswith("_")
        }

    assert methods(AsyncClient) == methods(Client)
    assert list(inspect.signature(AsyncClient).parameters) == list(inspect.signature(Client).parameters)
