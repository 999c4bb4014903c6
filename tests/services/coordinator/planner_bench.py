"""A planner on a real snapshot, over a real Redis. The test takes the tasks, and answers them as workers do."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import msgpack
import pytest
import redis.asyncio
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import SecretStr

from planmesh.dispatch.broker_clock import BrokerClock
from planmesh.dispatch.celery_app import make_app
from planmesh.dispatch.checksum import open_sealed, seal
from planmesh.dispatch.connections import connect_async
from planmesh.dispatch.queues import query_queue
from planmesh.dispatch.reply_channel import ReplyChannel
from planmesh.dispatch.task_publisher import TaskPublisher
from planmesh.internal.v1 import task_pb2
from planmesh.rpc.deadline import Deadline
from planmesh.search.reference import dijkstra
from planmesh.settings import CoordinatorSettings
from planmesh.snapshot.reader import SnapshotReader
from planmesh.telemetry.tracing import Telemetry, make_telemetry
from planmesh.v1 import plan_pb2
from services.coordinator.answer_cache import AnswerCache
from services.coordinator.batch_planner import BatchPlanner
from services.coordinator.change_feed import Wanted
from services.coordinator.changed_plans import ChangedPlans
from services.coordinator.counters import Counters
from services.coordinator.dispatcher import Dispatcher
from services.coordinator.plan_batches import Answer, Asked, PlanBatches
from services.coordinator.planner import Planner
from services.coordinator.questions import Question
from services.coordinator.segment_expansion import SegmentExpander
from services.coordinator.served_graphs import ServedGraphs
from services.coordinator.shadow_checks import ShadowChecks
from services.coordinator.shard_queries import ShardQueries
from services.coordinator.versioned_graph import MappedPartitions, VersionedGraph
from tests.snapshot.small_snapshot import SmallSnapshot
from workers.query_items import OpenSnapshots, QueryItems

LONG = 60.0
START, GOAL = "node-0", "node-119"


@dataclass
class OneGraph:
    """Like ServedGraphs, with one graph that never changes."""

    graph: VersionedGraph
    damaged: list[str] = field(default_factory=list)

    def report_damage(self, graph: VersionedGraph, file: str) -> None:
        assert graph is self.graph
        self.damaged.append(file)

    async def get_wanted(self, name: str, deadline: Deadline, wanted: Wanted) -> VersionedGraph:
        assert name == self.graph.name
        return self.graph


@dataclass
class Bench:
    """A planner, and the worker's side of its queue."""

    planner: Planner
    batches: PlanBatches
    served: OneGraph
    queries: ShardQueries
    dispatcher: Dispatcher
    counters: Counters
    connection: redis.asyncio.Redis
    reply_key: str
    telemetry: Telemetry
    spans: InMemorySpanExporter
    items: QueryItems
    cost: float
    changed: ChangedPlans

    def ask(self, seconds: float = LONG, *, bypass_cache: bool = False) -> asyncio.Task[plan_pb2.Plan]:
        async def plan() -> plan_pb2.Plan:
            with self.telemetry.tracer.start_as_current_span("call"):
                question = Question("g", START, GOAL, explain=True, bypass_cache=bypass_cache)
                return plan_pb2.Plan.FromString(await self.planner.plan(question, Deadline.after(seconds), ""))

        return asyncio.create_task(plan())

    async def work(self, shard: int = 0) -> None:
        """Take one task and answer it."""
        popped = await self.connection.brpop([query_queue(shard)], timeout=60)
        assert popped is not None, "no task came"
        arguments, _, _ = msgpack.unpackb(base64.b64decode(json.loads(popped[1])["body"]))
        task = open_sealed(task_pb2.QueryTask, arguments[0])
        reply = task_pb2.QueryReply(batch=task.batch, items=[self.items.answer(item) for item in task.items])
        await self.connection.rpush(self.reply_key, seal(reply))

    @asynccontextmanager
    async def worker(self, shard: int = 0) -> AsyncIterator[None]:
        """Answer tasks while the block runs."""

        async def work_on() -> None:
            while True:
                await self.work(shard)

        working = asyncio.create_task(work_on())
        try:
            yield
        finally:
            working.cancel()
            await asyncio.wait({working})

    async def finish(self, plans: Sequence[asyncio.Task[plan_pb2.Plan]]) -> list[plan_pb2.Plan]:
        """Answer tasks until all plans are computed, and assert that each plan is the cheapest."""
        async with self.worker():
            found = await asyncio.gather(*plans)
        assert all(plan.cost == pytest.approx(self.cost) for plan in found)
        return found

    async def wait_for_tasks(self, count: int) -> None:
        async with asyncio.timeout(60):
            while await self.connection.llen(query_queue(0)) != count:
                await asyncio.sleep(0)


@asynccontextmanager
async def bench(
    redis_url: str, snapshot: SmallSnapshot, folder: Path, shards: int = 1, *, expands: bool = False
) -> AsyncIterator[Bench]:
    settings = CoordinatorSettings(
        redis_url=SecretStr(redis_url), shards=shards, coordinator_shared_cache_ttl_s=0, coordinator_batch_items_max=1
    )
    exporter = InMemorySpanExporter()
    telemetry = make_telemetry("test", span_processors=[SimpleSpanProcessor(exporter)])
    connection = connect_async(redis_url, socket_timeout_s=70.0)
    replies, clock, counters = ReplyChannel(redis_url, "bench"), BrokerClock(), Counters()
    publisher = TaskPublisher(make_app(redis_url), connection, clock)
    dispatcher = Dispatcher(publisher, replies.key, settings, telemetry, counters, clock)
    reader = SnapshotReader.open(str(snapshot.folder))
    url = str(snapshot.folder)
    mapped = MappedPartitions(reader) if expands else None
    graph = VersionedGraph("g", 1, url, reader.directory(), reader.overlay(), shards, reader.identity, mapped)
    items = QueryItems(OpenSnapshots(100), clock)
    known = snapshot.graph
    cost = float(dijkstra(known.first_out, known.head, known.weight, 0)[0][119])
    cache = AnswerCache(settings, connection)
    await replies.start(dispatcher.receive)
    dispatcher.note_workers(dict.fromkeys(range(shards), 8))
    with ThreadPoolExecutor(1) as executor:
        served = OneGraph(graph)
        queries = ShardQueries(cast("ServedGraphs", served), [dispatcher], executor)
        shadow = ShadowChecks(publisher, settings, telemetry, draw=lambda: 1.0)
        expander = SegmentExpander(queries, executor)
        changed = ChangedPlans(queries, expander, executor)
        planner = Planner(queries, expander, cache, executor, telemetry, counters, shadow, changed)
        together = BatchPlanner(queries, expander, executor, changed)
        batches = PlanBatches(planner, together, queries, cache, telemetry, counters, shadow)
        yield Bench(
            planner,
            batches,
            served,
            queries,
            dispatcher,
            counters,
            connection,
            replies.key,
            telemetry,
            exporter,
            items,
            cost,
            changed,
        )
    await dispatcher.close()
    await replies.close()
    await connection.aclose()


async def answered(
    batches: PlanBatches, questions: Sequence[Question], deadline: Deadline, trace_id: str
) -> list[Answer]:
    """Return the answers to questions of one call, in order."""
    answers: dict[int, Answer] = {}

    def take(position: int, answer: Answer) -> None:
        assert position not in answers, "answered twice"
        answers[position] = answer

    await batches.answer([Asked(question, trace_id) for question in questions], deadline, take)
    return [answers[position] for position in range(len(questions))]
