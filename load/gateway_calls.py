"""The calls of an agent on planmesh's own stubs, over few connections.

The channels have no retry policy: what the mesh refuses or fails is to be seen here, not repaired on the way.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

import grpc

from load.tally import Outcome
from load.traffic import Pair
from planmesh.errors import NoPath, PlanmeshError
from planmesh.rpc.channel import channel_options, service_config
from planmesh.rpc.status import from_rpc_error, from_status
from planmesh.v1 import graph_pb2, graph_pb2_grpc, plan_pb2, plan_pb2_grpc

CALL_TIMEOUT_S: Final = 10.0
BATCH_TIMEOUT_S: Final = 30.0
NODES_SAMPLED: Final = 2_000
CHANNELS: Final = 4
"""Connections of one process, as a few agents' processes would hold."""


def loopback_target(host: str) -> str:
    """`host:port` of a gateway on this machine. Raises ValueError when it is any other."""
    target = host.removeprefix("grpc://").removeprefix("http://").rstrip("/")
    name, _, port = target.rpartition(":")
    try:
        local = name == "localhost" or ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        local = False
    if not local or not port.isdecimal():
        raise ValueError(
            f"expected a gateway on this machine, such as 127.0.0.1:50051, got {host!r}; "
            "one that is elsewhere is reached through a forwarded port"
        )
    return target


class PairFailedError(Exception):
    """A pair of a batch was refused or failed; the others of the batch were counted."""

    def __init__(self, error: PlanmeshError, outcome: Outcome) -> None:
        super().__init__(error.message)
        self.error = error
        self.outcome = outcome


class GatewayCalls:
    """Calls over one channel. Each raises PlanmeshError, or PairFailedError, when the mesh did not answer."""

    def __init__(self, target: str, graph: str) -> None:
        # Without a pool of its own a channel would share the connection of the others.
        options = [*channel_options(service_config()), ("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(target, options)
        self._target, self._graph = target, graph
        self._plans = plan_pb2_grpc.PlanServiceStub(self._channel)
        self._graphs = graph_pb2_grpc.GraphServiceStub(self._channel)

    def sample_nodes(self, seed: int) -> list[str]:
        """Ids of nodes of the graph, at most NODES_SAMPLED, the same for the same seed."""
        request = graph_pb2.SampleNodesRequest(graph=self._graph, count=NODES_SAMPLED, seed=seed)
        try:
            return sorted(self._graphs.SampleNodes(request, timeout=CALL_TIMEOUT_S).ids)
        except grpc.RpcError as error:
            raise self._told(error) from error

    def plan(self, pair: Pair) -> Outcome:
        """One plan; no path is an answer."""
        request = plan_pb2.PlanRequest(graph=self._graph, start=pair[0], goal=pair[1])
        try:
            response = self._plans.Plan(request, timeout=CALL_TIMEOUT_S)
        except grpc.RpcError as error:
            told = self._told(error)
            if isinstance(told, NoPath):
                return Outcome(plans=1, no_path=1)
            raise told from error
        outcome = Outcome(bytes=response.ByteSize())
        _count_plan(outcome, response.plan)
        return outcome

    def plan_many(self, pairs: Sequence[Pair]) -> Outcome:
        """A batch, read to its end."""
        request = plan_pb2.PlanManyRequest(
            graph=self._graph, pairs=[plan_pb2.Pair(start=start, goal=goal) for start, goal in pairs]
        )
        outcome = Outcome()
        failed: PlanmeshError | None = None
        answered = 0
        try:
            for message in self._plans.PlanMany(request, timeout=BATCH_TIMEOUT_S):
                answered += 1
                outcome.bytes += message.ByteSize()
                if message.HasField("plan"):
                    _count_plan(outcome, message.plan)
                    continue
                error = from_status(message.status, f"planmesh at {self._target}")
                if isinstance(error, NoPath):
                    outcome.plans += 1
                    outcome.no_path += 1
                else:
                    failed = error
        except grpc.RpcError as error:
            raise self._told(error) from error
        if failed is None and answered != len(pairs):
            failed = PlanmeshError(f"expected {len(pairs)} answers of a batch, got {answered}")
        if failed is not None:
            raise PairFailedError(failed, outcome)
        return outcome

    def neighbors(self, node: str) -> Outcome:
        """The nodes that an edge leads to."""
        request = plan_pb2.GetNeighborsRequest(graph=self._graph, node=node, depth=1)
        try:
            response = self._plans.GetNeighbors(request, timeout=CALL_TIMEOUT_S)
        except grpc.RpcError as error:
            raise self._told(error) from error
        return Outcome(bytes=response.ByteSize())

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def _told(self, error: grpc.RpcError) -> PlanmeshError:
        return from_rpc_error(error, f"planmesh at {self._target}")


def _count_plan(outcome: Outcome, plan: plan_pb2.Plan) -> None:
    outcome.plans += 1
    outcome.cached += plan.cached
    outcome.crossed += len(plan.partitions) > 1
