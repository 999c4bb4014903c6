"""The Celery task of a build worker: makes the indexes of some partitions and reports each as it is done."""

from __future__ import annotations

from typing import Any

import redis
from celery import Celery
from google.protobuf.message import DecodeError
from redis.exceptions import RedisError

from planmesh.dispatch.queues import BUILD_TASK, REPLY_TTL_S
from planmesh.errors import PlanmeshError
from planmesh.internal.v1 import task_pb2
from planmesh.snapshot.build_folder import build_partition_file
from planmesh.telemetry import names
from planmesh.telemetry.logs import get_logger
from planmesh.telemetry.trace_context import TRACEPARENT
from planmesh.telemetry.tracing import Telemetry, remote_context

log = get_logger(__name__)


class BuildTasks:
    """Builds partitions, several at once in threads: the kernels release the interpreter's lock."""

    def __init__(self, connection: redis.Redis, telemetry: Telemetry) -> None:
        self._connection = connection
        self._telemetry = telemetry

    def register(self, app: Celery) -> None:
        """Make the application run this for build tasks."""

        @app.task(name=BUILD_TASK, bind=True, ignore_result=True)  # type: ignore[untyped-decorator]
        def build(_task: Any, payload: bytes) -> None:
            self.run(payload)

    def run(self, payload: bytes) -> None:
        """Do one serialised BuildTask. A partition that fails is reported as such; the asker decides."""
        try:
            task = task_pb2.BuildTask.FromString(payload)
        except DecodeError as error:
            log.error("task dropped: expected a BuildTask", error=str(error), bytes=len(payload))
            return
        for partition in task.partitions:
            reply = self._build(task, partition)
            try:
                with self._connection.pipeline(transaction=False) as pipeline:
                    pipeline.rpush(task.reply_channel, reply.SerializeToString())
                    pipeline.expire(task.reply_channel, REPLY_TTL_S)
                    pipeline.execute()
            except (RedisError, OSError) as error:
                # The file is there; the asker finds it when it asks again.
                log.warning("build reply not delivered", partition=partition, error=str(error))

    def _build(self, task: task_pb2.BuildTask, partition: int) -> task_pb2.BuildReply:
        parent = remote_context({TRACEPARENT: task.traceparent})
        with self._telemetry.tracer.start_as_current_span(names.SPAN_BUILD, parent) as span:
            span.set_attribute(names.PARTITION, partition)
            reply = task_pb2.BuildReply(build_path=task.build_path, partition=partition)
            try:
                built = build_partition_file(task.build_path, partition)
            except (PlanmeshError, OSError, ValueError, AssertionError, MemoryError) as error:
                log.exception("partition not built", partition=partition)
                reply.failure = f"{type(error).__name__}: {error}"
                return reply
        self._telemetry.instruments.build_duration.record(built.seconds)
        reply.file = built.file
        reply.bytes = built.bytes
        reply.checksum = built.checksum
        reply.overlay_nodes = built.overlay_nodes
        reply.core_nodes = built.core_nodes
        reply.overlay_edges = built.overlay_edges
        reply.seconds = built.seconds
        reply.format = built.format
        return reply
