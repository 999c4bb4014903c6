from __future__ import annotations

import math

import pytest

from planmesh.errors import InvalidChange, InvalidRequest, LimitExceeded
from planmesh.internal.v1 import partition_pb2 as pb
from planmesh.v1 import graph_pb2
from services.partition.changes import rules
from services.partition.changes.rules import check_request

GOOD = graph_pb2.Change(upsert_edge=graph_pb2.UpsertEdge(source="a", target="b", cost=1))


def edge(**fields: object) -> graph_pb2.Change:
    return graph_pb2.Change(upsert_edge=graph_pb2.UpsertEdge(**{"source": "a", "target": "b", **fields}))  # type: ignore[arg-type]


def node(**fields: object) -> graph_pb2.Change:
    return graph_pb2.Change(upsert_node=graph_pb2.UpsertNode(**{"id": "a", **fields}))  # type: ignore[arg-type]


BAD = [
    (graph_pb2.Change(), "", "expected upsert_node"),
    (edge(source=""), "upsert_edge.source", "not empty"),
    (edge(target="x" * 513), "upsert_edge.target", "512 bytes"),
    (edge(target="a"), "upsert_edge.target", "to itself"),
    (edge(cost=-1), "upsert_edge.cost", "finite cost from 0"),
    (edge(cost=math.nan), "upsert_edge.cost", "got nan"),
    (edge(cost=math.inf), "upsert_edge.cost", "got inf"),
    (edge(cost=1e299), "upsert_edge.cost", "finite cost from 0"),
    (edge(cost_factor=-0.5), "upsert_edge.cost_factor", "finite factor from 0"),
    (edge(cost_factor=math.nan), "upsert_edge.cost_factor", "got nan"),
    (edge(cost=1, attributes={str(k): "v" for k in range(33)}), "upsert_edge.attributes", "at most 32"),
    (node(id="a\nb"), "upsert_node.id", "control"),
    (node(domain="x" * 513), "upsert_node.domain", "512 bytes"),
    (node(region="a\0"), "upsert_node.region", "control"),
    (node(state=""), "upsert_node.state", "not empty"),
    (node(state="s" * 65), "upsert_node.state", "64 bytes"),
    (node(attributes={"": "v"}), "upsert_node.attributes (key)", "not empty"),
    (node(attributes={"k": "v" * 257}), "upsert_node.attributes['k']", "256 bytes"),
    (graph_pb2.Change(delete_node=graph_pb2.DeleteNode()), "delete_node.id", "not empty"),
    (graph_pb2.Change(delete_edge=graph_pb2.DeleteEdge(source="a")), "delete_edge.target", "not empty"),
]


@pytest.mark.parametrize(("change", "field", "message"), BAD, ids=lambda value: str(value)[:40] or "none")
def test_a_bad_change_is_named_by_its_position_and_field(change: graph_pb2.Change, field: str, message: str) -> None:
    with pytest.raises(InvalidChange) as raised:
        check_request(pb.ChangeGraphRequest(graph="g", changes=[GOOD, GOOD, change]))
    assert (raised.value.metadata["change"], raised.value.metadata["field"]) == ("2", field)
    assert raised.value.message.startswith("changes[2]")
    assert message in raised.value.message


def test_good_changes_pass() -> None:
    changes = [GOOD, edge(), edge(cost_factor=0), node(state="degraded", attributes={"k": ""}), node(domain="")]
    check_request(pb.ChangeGraphRequest(graph="g", changes=changes, idempotency_key="k" * 128))


def test_the_size_of_a_batch_and_its_key_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequest, match="got none"):
        check_request(pb.ChangeGraphRequest(graph="g"))
    monkeypatch.setattr(rules, "CHANGES_MAX", 2)
    with pytest.raises(LimitExceeded, match="at most 2 changes in a batch, got 3"):
        check_request(pb.ChangeGraphRequest(graph="g", changes=[GOOD] * 3))
    with pytest.raises(InvalidRequest, match="idempotency_key"):
        check_request(pb.ChangeGraphRequest(graph="g", changes=[GOOD], idempotency_key="k" * 129))
