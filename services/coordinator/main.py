"""Wiring and entry point of the coordinator."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from planmesh.internal.v1 import coordinator_pb2_grpc, partition_pb2_grpc
from planmesh.rpc.channel import make_channel
from planmesh.rpc.plan_encoding import warm as warm_encoding
from planmesh.rpc.process import run_process
from planmesh.rpc.server import Server, Service, make_server, serve_until_signal
from planmesh.search.warm import warm as warm_search
from planmesh.settings import CoordinatorSettings
from planmesh.telemetry.tracing import Telemetry
from services.coordinator.adoption import open_snapshot
from services.coordinator.answer_cache import AnswerCache
from services.coordinator.availability import Availability
from services.coordinator.batch_planner import BatchPlanner
from services.coordinator.changed_plans import ChangedPlans
from services.coordinator.conversations import Conversations
from services.coordinator.counters import Counters
from services.coordinator.freshness import Freshness
from services.coordinator.matrices import Matrices
from services.coordinator.plan_batches import PlanBatches
from services.coordinator.plan_queue import PlanQueue
from services.coordinator.planner import Planner
from services.coordinator.redis_server import RedisServer
from services.coordinator.segment_expansion import SegmentExpander
from services.coordinator.served_graphs import ServedGraphs
from services.coordinator.service import CoordinatorServicer
from services.coordinator.shadow_checks import ShadowChecks
from services.coordinator.shard_queries import ShardQueries

SERVICE: Final = "planmesh-coordinator"

SEARCH_THREADS: Final = max(2, os.cpu_count() or 1)
"""Concurrent overlay searches: one for each processor, because the kernels release the interpreter's lock."""


@contextlib.asynccontextmanager
async def coordinator(settings: CoordinatorSettings, telemetry: Telemetry) -> AsyncIterator[Server]:
    """Run a coordinator that listens until the block is left. Yields its server."""
    name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    counters = Counters()
    async with contextlib.AsyncExitStack() as stack:
        executor = stack.enter_context(ThreadPoolExecutor(SEARCH_THREADS, "search"))
        channel = await stack.enter_async_context(make_channel(settings.partition_address, telemetry))
        open_version = functools.partial(
            open_snapshot, shard_count=settings.shards, expands=settings.coordinator_expands
        )
        freshness = Freshness(settings.staleness_ms_max / 1_000)
        graphs = ServedGraphs(name, partition_pb2_grpc.PartitionServiceStub(channel), open_version, freshness)
        servers = [
            RedisServer(number, url, name, settings, telemetry, counters)
            for number, url in enumerate(settings.redis_servers)
        ]
        for server in servers:
            stack.push_async_callback(server.connection.aclose)
        cache = AnswerCache(settings, servers[0].connection)
        queries = ShardQueries(graphs, [server.dispatcher for server in servers], executor)
        shadow = ShadowChecks(servers[0].publisher, settings, telemetry)
        expander = SegmentExpander(queries, executor)
        changed = ChangedPlans(queries, expander, executor)
        planner = Planner(queries, expander, cache, executor, telemetry, counters, shadow, changed)
        matrices = Matrices(queries, telemetry, counters, changed)
        together = BatchPlanner(queries, expander, executor, changed)
        batches = PlanBatches(planner, together, queries, cache, telemetry, counters, shadow)
        queue = PlanQueue(batches)
        conversations = Conversations(queue, telemetry)
        availability = Availability(servers, settings.shards, graphs, telemetry)
        servicer = CoordinatorServicer(
            planner, batches, conversations, matrices, queries, availability, telemetry, counters, changed
        )
        service = Service.of(coordinator_pb2_grpc.add_CoordinatorServiceServicer_to_server, servicer)
        service = service.with_lasting(("Converse",))
        listening = make_server([service], [settings.coordinator_listen], telemetry)
        listening.follow(conversations.set_ready)
        await listening.start()
        stack.push_async_callback(listening.stop, 0)
        for close in (cache.close, queue.close, *(server.close for server in servers)):
            stack.push_async_callback(close)
        for close in (graphs.close, availability.close, shadow.close, matrices.close):
            stack.push_async_callback(close)
        for server in servers:
            await server.start()
        await graphs.start()
        await shadow.start()
        await availability.start(listening.set_ready)
        yield listening


async def serve(settings: CoordinatorSettings, telemetry: Telemetry) -> None:
    """Compile the kernels, so that no request waits for that, then serve until SIGTERM or SIGINT."""
    warm_search()
    warm_encoding()
    async with coordinator(settings, telemetry) as server:
        await serve_until_signal(server, grace_s=settings.shutdown_grace_s, leave_s=settings.shutdown_leave_s)


def main() -> int:
    """Run the process and return its exit code."""
    return run_process(SERVICE, CoordinatorSettings, serve)
