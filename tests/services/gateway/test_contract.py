"""The gateway forwards bytes, so the public and the internal messages must have the same wire format."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from planmesh.internal.v1 import coordinator_pb2, partition_pb2
from planmesh.v1 import graph_pb2, mesh_pb2, plan_pb2

COORDINATOR = coordinator_pb2.DESCRIPTOR.services_by_name["CoordinatorService"]
PARTITION = partition_pb2.DESCRIPTOR.services_by_name["PartitionService"]
PLAN = plan_pb2.DESCRIPTOR.services_by_name["PlanService"]
GRAPH = graph_pb2.DESCRIPTOR.services_by_name["GraphService"]
MESH = mesh_pb2.DESCRIPTOR.services_by_name["MeshService"]

FORWARDED = [
    (PLAN.methods_by_name["Plan"], COORDINATOR.methods_by_name["ComputePlan"]),
    (PLAN.methods_by_name["PlanMany"], COORDINATOR.methods_by_name["ComputePlans"]),
    (PLAN.methods_by_name["PlanMatrix"], COORDINATOR.methods_by_name["ComputeMatrix"]),
    (PLAN.methods_by_name["GetNeighbors"], COORDINATOR.methods_by_name["ComputeNeighbors"]),
    (PLAN.methods_by_name["GetReachable"], COORDINATOR.methods_by_name["ComputeReachable"]),
    (PLAN.methods_by_name["GetBlastRadius"], COORDINATOR.methods_by_name["ComputeBlastRadius"]),
    (PLAN.methods_by_name["MatchPattern"], PARTITION.methods_by_name["AskStore"]),
    (MESH.methods_by_name["Ping"], COORDINATOR.methods_by_name["Echo"]),
    (GRAPH.methods_by_name["LoadGraph"], PARTITION.methods_by_name["IngestGraph"]),
    (GRAPH.methods_by_name["UpdateGraph"], PARTITION.methods_by_name["ChangeGraph"]),
    (GRAPH.methods_by_name["UpdateGraphStream"], PARTITION.methods_by_name["ChangeGraphStream"]),
    (GRAPH.methods_by_name["UnloadGraph"], PARTITION.methods_by_name["RemoveGraph"]),
    (GRAPH.methods_by_name["GetGraph"], PARTITION.methods_by_name["DescribeGraph"]),
    (GRAPH.methods_by_name["ListGraphs"], PARTITION.methods_by_name["DescribeGraphs"]),
    (GRAPH.methods_by_name["GetNode"], PARTITION.methods_by_name["DescribeNode"]),
    (GRAPH.methods_by_name["ListPartitions"], PARTITION.methods_by_name["DescribePartitions"]),
    (GRAPH.methods_by_name["SampleNodes"], PARTITION.methods_by_name["DrawNodes"]),
    (GRAPH.methods_by_name["ExportGraph"], PARTITION.methods_by_name["ReadGraph"]),
]


def test_every_forwarded_public_method_is_compared() -> None:
    compared = {public.full_name for public, _ in FORWARDED}
    every = {method.full_name for service in (PLAN, GRAPH, MESH) for method in service.methods}
    assert every - compared == {"planmesh.v1.MeshService.GetStatus"}


@pytest.mark.parametrize(("public", "internal"), FORWARDED, ids=lambda method: method.name)
def test_both_sides_are_the_same_on_the_wire(public: MethodDescriptor, internal: MethodDescriptor) -> None:
    assert public.client_streaming == internal.client_streaming
    assert public.server_streaming == internal.server_streaming
    same_on_the_wire(public.input_type, internal.input_type)
    same_on_the_wire(public.output_type, internal.output_type)


def same_on_the_wire(one: Descriptor | None, other: Descriptor | None) -> None:
    assert one is not None
    assert other is not None
    assert [shape(field) for field in one.fields] == [shape(field) for field in other.fields]
    for field in other.fields:
        if field.full_name in OF_OWN_TYPE:
            same_on_the_wire(one.fields_by_name[field.name].message_type, field.message_type)


SERIALIZED = {
    "planmesh.internal.v1.ComputePlanResponse.plan": "planmesh.v1.Plan",
    "planmesh.internal.v1.ComputePlansResponse.plan": "planmesh.v1.Plan",
    "planmesh.internal.v1.ComputedAnswer.plan": "planmesh.v1.Plan",
}
"""Fields of bytes that hold a serialized message, which is the same on the wire as the message."""

OF_OWN_TYPE = {
    "planmesh.internal.v1.ComputePlansResponse.answers": "planmesh.v1.PairAnswer",
    "planmesh.internal.v1.ChangeGraphStreamRequest.update": "planmesh.v1.UpdateGraphRequest",
    "planmesh.internal.v1.ChangeGraphStreamResponse.response": "planmesh.v1.UpdateGraphResponse",
}
"""Fields whose messages have a type of their own, and the public type, which is the same on the wire."""


def shape(field: FieldDescriptor) -> tuple[object, ...]:
    """Return all properties that decide a field's bytes and their meaning. Inner messages must be the same types."""
    if field.full_name in SERIALIZED:
        assert field.type == FieldDescriptor.TYPE_BYTES
        oneof = field.containing_oneof.name if field.containing_oneof else None
        message = SERIALIZED[field.full_name]
        return (field.number, field.name, FieldDescriptor.TYPE_MESSAGE, field.is_repeated, True, message, None, oneof)
    return (
        field.number,
        field.name,
        field.type,
        field.is_repeated,
        field.has_presence,
        OF_OWN_TYPE.get(field.full_name, field.message_type.full_name) if field.message_type else None,
        field.enum_type.full_name if field.enum_type else None,
        field.containing_oneof.name if field.containing_oneof else None,
    )
