"""The status of a mesh, composed of what its processes report."""

from __future__ import annotations

import planmesh
from planmesh.errors import PlanmeshError, ServiceUnavailable
from planmesh.internal.v1 import coordinator_pb2, partition_pb2
from planmesh.v1 import graph_pb2, mesh_pb2
from services.gateway.mesh_service import compose_status

DOWN = ServiceUnavailable("it does not answer")
GRAPHS = partition_pb2.DescribeGraphsResponse(graphs=[graph_pb2.Graph(name="g")])


def coordinator(*, ready: bool = True, **down: str) -> coordinator_pb2.DescribeCoordinatorResponse:
    """Return a coordinator's report; `down` are the problems of processes that are down."""
    return coordinator_pb2.DescribeCoordinatorResponse(
        ready=ready,
        processes=[
            mesh_pb2.Process(name=name, up=name not in down, message=down.get(name, ""))
            for name in ("redis", "workers", "partition")
        ],
        shards=[mesh_pb2.Shard(number=0, workers=2)],
        counters=mesh_pb2.Counters(plans=7),
    )


def ups(status: mesh_pb2.GetStatusResponse) -> dict[str, bool]:
    return {process.name: process.up for process in status.processes}


def composed(
    of_coordinator: coordinator_pb2.DescribeCoordinatorResponse | PlanmeshError,
    of_partition: partition_pb2.DescribeGraphsResponse | PlanmeshError,
) -> tuple[mesh_pb2.GetStatusResponse, set[str]]:
    """Return the status, and the names of the processes that are down."""
    status = compose_status(of_coordinator, of_partition)
    assert list(ups(status)) == ["gateway", "coordinator", "partition", "redis", "workers"]
    return status, {name for name, up in ups(status).items() if not up}


def test_a_mesh_is_ready_when_all_processes_are_up() -> None:
    status, down = composed(coordinator(), GRAPHS)
    assert (status.ready, down, status.software_version) == (True, set(), planmesh.__version__)
    assert ([graph.name for graph in status.graphs], status.counters.plans) == (["g"], 7)
    assert [(shard.number, shard.workers) for shard in status.shards] == [(0, 2)]


def test_without_the_coordinator_redis_and_the_workers_are_unknown() -> None:
    status, down = composed(DOWN, GRAPHS)
    assert (status.ready, down) == (False, {"coordinator", "redis", "workers"})
    messages = {process.name: process.message for process in status.processes}
    assert messages["coordinator"] == DOWN.message
    assert "unknown" in messages["redis"]
    assert [graph.name for graph in status.graphs] == ["g"]


def test_the_partition_service_is_up_only_if_gateway_and_coordinator_reach_it() -> None:
    for of_coordinator, of_partition, message in (
        (coordinator(), DOWN, DOWN.message),
        (coordinator(partition="the watch failed"), GRAPHS, "the watch failed"),
    ):
        status, down = composed(of_coordinator, of_partition)
        assert (status.ready, down) == (False, {"partition"})
        assert next(one.message for one in status.processes if one.name == "partition") == message


def test_a_coordinator_that_is_not_ready_makes_the_mesh_not_ready() -> None:
    status, down = composed(coordinator(ready=False), GRAPHS)
    assert (status.ready, down) == (False, set())
