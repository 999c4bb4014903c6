"""Batched answers of PlanMany and details on the wire, read with gRPC and without the client."""

from __future__ import annotations

import random

import pytest

from planmesh.client import Client, Strategy
from planmesh.v1 import plan_pb2
from tests.mesh.small_graph import service_graph
from tests.mesh.wire import DEADLINE_S, Wire, refusal

pytestmark = pytest.mark.mesh

GRAPH = "batched"
SERVED = service_graph(seed=9, domains=8, nodes_per_domain=40)
ANSWERS_MAX = 64
BYTES_MAX = 2**20 + 4_096
"""Bytes of the answers, and of their tags and lengths."""


@pytest.mark.parametrize("detail", plan_pb2.Detail.values())
def test_a_batched_request_gets_the_same_answers_in_fewer_messages(
    wire: Wire, client: Client, detail: plan_pb2.Detail.ValueType
) -> None:
    """A client that does not know the field gets a message for each pair, as before."""
    SERVED.load(client, GRAPH, Strategy.DOMAIN)
    chance = random.Random(3)
    ends = [*SERVED.nodes, "nowhere"]
    pairs = [plan_pb2.Pair(start=chance.choice(ends), goal=chance.choice(ends)) for _ in range(300)]
    request = plan_pb2.PlanManyRequest(graph=GRAPH, pairs=pairs, bypass_cache=True, detail=detail)
    single = list(wire.plans.PlanMany(request, timeout=DEADLINE_S))
    assert not any(message.answers for message in single)
    assert sorted(message.index for message in single) == list(range(300))
    request.batched = True
    together = list(wire.plans.PlanMany(request, timeout=DEADLINE_S))
    assert -(-300 // ANSWERS_MAX) <= len(together) < 30
    assert all(message.WhichOneof("result") is None for message in together)
    assert all(0 < len(message.answers) <= ANSWERS_MAX and message.ByteSize() <= BYTES_MAX for message in together)
    answers = {answer.index: answer for message in together for answer in message.answers}
    assert set(answers) == set(range(300))
    plans = 0
    for one in single:
        answer = answers[one.index]
        assert answer.WhichOneof("result") == one.WhichOneof("result")
        assert (answer.status.code, answer.status.message) == (one.status.code, one.status.message)
        one.plan.trace_id = answer.plan.trace_id
        assert answer.plan == one.plan
        plans += answer.HasField("plan")
    assert 200 < plans < 300


def test_an_unknown_detail_is_refused_with_the_values(wire: Wire, client: Client) -> None:
    pairs = [plan_pb2.Pair(start="a", goal="b")]
    for call, request in (
        (wire.plans.Plan, plan_pb2.PlanRequest(start="a", goal="b", detail=4)),  # type: ignore[arg-type]
        (wire.plans.PlanMany, plan_pb2.PlanManyRequest(pairs=pairs, detail=4)),  # type: ignore[arg-type]
    ):
        refused = refusal(call, request)
        assert (refused.code, refused.field) == ("INVALID_ARGUMENT", "detail")
        assert "DETAIL_UNSPECIFIED, DETAIL_COST, DETAIL_NODES, DETAIL_STEPS, got 4" in refused.message
