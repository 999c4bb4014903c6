"""MeshService: is the mesh there, and how is it."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import grpc.aio

from planmesh.errors import PlanmeshError
from planmesh.internal.v1 import coordinator_pb2, partition_pb2
from planmesh.rpc import status as rpc_status
from planmesh.rpc.deadline import Deadline
from planmesh.rpc.interceptors import Context
from planmesh.rpc.server import Service
from planmesh.v1 import mesh_pb2, mesh_pb2_grpc
from planmesh.version import VERSION
from services.gateway.admission import Admission
from services.gateway.downstream import Downstream, deadline_of

PING_DEADLINE_S_DEFAULT: Final = 10.0
STATUS_DEADLINE_S_MAX: Final = 2.0
"""A process that does not answer in this time is told as away: the status of a broken mesh must come soon."""


class MeshServicer(mesh_pb2_grpc.MeshServiceServicer):
    """Ping goes through gateway and coordinator; GetStatus asks every process and never fails because one is away."""

    def __init__(self, coordinator: Downstream, partition: Downstream, admission: Admission) -> None:
        self._coordinator = coordinator
        self._partition = partition
        self._admission = admission

    def service(self) -> Service:
        """The handlers for the server."""
        service = Service.of(mesh_pb2_grpc.add_MeshServiceServicer_to_server, self)
        return service.with_raw_responses(("Ping",))

    async def Ping(self, request: mesh_pb2.PingRequest, context: Context) -> Any:
        """An empty call over the two hops of a plan."""
        with self._admission.admit(context, "planmesh.v1.MeshService/Ping"):
            deadline = deadline_of(context, default_s=PING_DEADLINE_S_DEFAULT, max_s=PING_DEADLINE_S_DEFAULT)
            return await self._coordinator.unary("Echo", request.SerializeToString(), deadline)

    async def GetStatus(
        self,
        request: mesh_pb2.GetStatusRequest,
        context: Context,
    ) -> mesh_pb2.GetStatusResponse:
        """What is up, served and counted. Let in also when plans fill the gateway: that is when it is asked."""
        with self._admission.admit(context, "planmesh.v1.MeshService/GetStatus"):
            deadline = deadline_of(context, default_s=STATUS_DEADLINE_S_MAX, max_s=STATUS_DEADLINE_S_MAX)
            described = coordinator_pb2.DescribeCoordinatorResponse
            coordinator, graphs = await asyncio.gather(
                self._ask(self._coordinator, "DescribeCoordinator", described, deadline),
                self._ask(self._partition, "DescribeGraphs", partition_pb2.DescribeGraphsResponse, deadline),
            )
            return compose_status(coordinator, graphs)

    async def _ask(self, process: Downstream, method: str, response: Any, deadline: Deadline) -> Any:
        """The parsed answer of a process, or the error that it gave."""
        try:
            return response.FromString(await process.unary(method, b"", deadline))
        except PlanmeshError as error:
            return error
        except grpc.aio.AioRpcError as error:
            return rpc_status.from_rpc_error(error, f"the {process.name} service")


def compose_status(
    coordinator: coordinator_pb2.DescribeCoordinatorResponse | PlanmeshError,
    graphs: partition_pb2.DescribeGraphsResponse | PlanmeshError,
) -> mesh_pb2.GetStatusResponse:
    """The mesh's status of what the processes said, an error standing for a process that is away.

    Redis and the workers are seen through the coordinator: without it nothing is known of them.
    """
    status = mesh_pb2.GetStatusResponse(software_version=VERSION)
    processes = {"gateway": mesh_pb2.Process(name="gateway", up=True)}
    if isinstance(coordinator, PlanmeshError):
        processes["coordinator"] = mesh_pb2.Process(name="coordinator", up=False, message=coordinator.message)
        for name in ("redis", "workers"):
            message = "not known: only the coordinator sees it, and that is away"
            processes[name] = mesh_pb2.Process(name=name, up=False, message=message)
    else:
        processes["coordinator"] = mesh_pb2.Process(name="coordinator", up=True)
        processes.update({process.name: process for process in coordinator.processes})
        status.shards.extend(coordinator.shards)
        status.counters.CopyFrom(coordinator.counters)
        status.ready = coordinator.ready
    # Whether the coordinator hears from the partition service and whether we do are two questions; both must be so.
    seen = processes.pop("partition", mesh_pb2.Process(name="partition", up=True))
    if isinstance(graphs, PlanmeshError):
        seen = mesh_pb2.Process(name="partition", up=False, message=graphs.message)
    else:
        status.graphs.extend(graphs.graphs)
    processes["partition"] = seen
    order = ("gateway", "coordinator", "partition", "redis", "workers")
    status.processes.extend(processes[name] for name in order if name in processes)
    status.processes.extend(process for name, process in processes.items() if name not in order)
    status.ready = status.ready and all(process.up for process in status.processes)
    return status
