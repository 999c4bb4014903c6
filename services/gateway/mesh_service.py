"""The servicer of MeshService: Ping, and the state of all processes."""

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
from services.gateway.coordinators import Coordinators
from services.gateway.downstream import Downstream, deadline_of

PING_DEADLINE_S_DEFAULT: Final = 10.0
STATUS_DEADLINE_S_MAX: Final = 2.0
"""A process that does not answer in this time is reported as down, so that the status of a broken mesh comes soon."""


class MeshServicer(mesh_pb2_grpc.MeshServiceServicer):
    """Ping goes to the coordinator. GetStatus queries every process, and does not fail because one of them is down."""

    def __init__(
        self, coordinators: Coordinators, coordinator: Downstream, partition: Downstream, admission: Admission
    ) -> None:
        self._coordinators = coordinators
        self._coordinator = coordinator
        self._partition = partition
        self._admission = admission

    def service(self) -> Service:
        """Return the handlers for the server; Ping's response stays serialised."""
        service = Service.of(mesh_pb2_grpc.add_MeshServiceServicer_to_server, self)
        return service.with_raw_responses(("Ping",))

    async def Ping(self, request: mesh_pb2.PingRequest, context: Context) -> Any:
        """Make an empty call over both hops of a plan, to measure their latency."""
        with self._admission.admit(context, "planmesh.v1.MeshService/Ping"):
            deadline = deadline_of(context, default_s=PING_DEADLINE_S_DEFAULT, max_s=PING_DEADLINE_S_DEFAULT)
            return await self._coordinators.echo(deadline)

    async def GetStatus(
        self,
        request: mesh_pb2.GetStatusRequest,
        context: Context,
    ) -> mesh_pb2.GetStatusResponse:
        """Return the state of all processes, shards and graphs, and the counters.

        Its kind has a separate bound, so it is admitted even when plans fill the gateway.
        """
        with self._admission.admit(context, "planmesh.v1.MeshService/GetStatus"):
            deadline = deadline_of(context, default_s=STATUS_DEADLINE_S_MAX, max_s=STATUS_DEADLINE_S_MAX)
            described = coordinator_pb2.DescribeCoordinatorResponse
            coordinator, graphs = await asyncio.gather(
                self._ask(self._coordinator, "DescribeCoordinator", described, deadline),
                self._ask(self._partition, "DescribeGraphs", partition_pb2.DescribeGraphsResponse, deadline),
            )
            return compose_status(coordinator, graphs)

    async def _ask(self, process: Downstream, method: str, response: Any, deadline: Deadline) -> Any:
        """Return the parsed response of a process, or the error of the call."""
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
    """Return the status of the mesh from the answers of two processes, or an error for one that is down.

    The coordinator reports on Redis and the workers; while it is down their state is unknown.
    """
    status = mesh_pb2.GetStatusResponse(software_version=VERSION)
    processes = {"gateway": mesh_pb2.Process(name="gateway", up=True)}
    if isinstance(coordinator, PlanmeshError):
        processes["coordinator"] = mesh_pb2.Process(name="coordinator", up=False, message=coordinator.message)
        for name in ("redis", "workers"):
            message = "unknown: only the coordinator sees it, and that is down"
            processes[name] = mesh_pb2.Process(name=name, up=False, message=message)
    else:
        processes["coordinator"] = mesh_pb2.Process(name="coordinator", up=True)
        processes.update({process.name: process for process in coordinator.processes})
        status.shards.extend(coordinator.shards)
        status.counters.CopyFrom(coordinator.counters)
        status.ready = coordinator.ready
    # The partition service is up only if both the coordinator and the gateway reach it.
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
