"""The error of a pair of a batch is a google.rpc.Status: that with which Plan fails for the same pair."""

from __future__ import annotations

import pytest
from google.rpc import code_pb2, error_details_pb2

from planmesh.client import Client
from planmesh.v1 import plan_pb2
from tests.mesh.small_graph import SmallGraph
from tests.mesh.wire import DEADLINE_S, Wire, refusal

pytestmark = pytest.mark.mesh

GRAPH = "pair-errors"
SERVED = SmallGraph(
    {"alpha": "left", "beta": "left", "gamma": "right", "lonely": "right"},
    [("alpha", "beta", 1.0), ("beta", "gamma", 2.0)],
)


def test_a_pair_fails_with_the_status_of_its_plan(wire: Wire, client: Client) -> None:
    SERVED.load(client, GRAPH)
    pairs = [("alpha", "lonely"), ("alpha", "gamma"), ("alhpa", "gamma")]
    request = plan_pb2.PlanManyRequest(graph=GRAPH, pairs=[plan_pb2.Pair(start=s, goal=g) for s, g in pairs])
    answers = {answer.index: answer for answer in wire.plans.PlanMany(request, timeout=DEADLINE_S)}
    assert answers[1].plan.cost == 3.0
    reasons = {}
    for index in (0, 2):
        start, goal = pairs[index]
        alone = refusal(wire.plans.Plan, plan_pb2.PlanRequest(graph=GRAPH, start=start, goal=goal))
        status = answers[index].status
        info = error_details_pb2.ErrorInfo()
        assert status.details[0].Unpack(info)
        metadata = dict(info.metadata)
        assert len(metadata.pop("trace_id")) == len(alone.metadata.pop("trace_id")) == 32
        assert (code_pb2.Code.Name(status.code), info.domain) == (alone.code, "planmesh")
        assert (info.reason, status.message, metadata) == (alone.reason, alone.message, alone.metadata)
        reasons[index] = info.reason
    assert reasons == {0: "NO_PATH", 2: "NODE_UNKNOWN"}
