"""Every span, attribute and metric name, declared before it is used.

rpc.*, messaging.*, error.*, process.* and cpu.* follow OpenTelemetry's semantic conventions; all other names begin
with "planmesh.".
"""

from __future__ import annotations

from typing import Final

# Spans. Those of calls are named by the rpc: "planmesh.v1.PlanService/Plan".
SPAN_JOIN: Final = "planmesh.join"
"""A plan waits for an equal one of another call, and links to its span."""
SPAN_CACHE: Final = "planmesh.cache"
SPAN_LOCATE: Final = "planmesh.locate"
SPAN_LOCAL_SEARCH: Final = "planmesh.local_search"
SPAN_OVERLAY: Final = "planmesh.overlay"
SPAN_UNPACK: Final = "planmesh.unpack"
SPAN_MERGE: Final = "planmesh.merge"
SPAN_QUERY_SEND: Final = "planmesh.query send"
SPAN_QUERY_PROCESS: Final = "planmesh.query process"
"""Spans of a task's sender and receiver: the task's name and the operation, as the messaging conventions ask."""
SPAN_ITEM: Final = "planmesh.item"
SPAN_BUILD: Final = "planmesh.build"
SPAN_INGEST_READ: Final = "planmesh.ingest.read"
SPAN_INGEST_PARTITION: Final = "planmesh.ingest.partition"
SPAN_INGEST_INDEX: Final = "planmesh.ingest.index"
SPAN_INGEST_OVERLAY: Final = "planmesh.ingest.overlay"
SPAN_INGEST_PUBLISH: Final = "planmesh.ingest.publish"

# Attributes of calls, as in OpenTelemetry's gRPC instrumentation.
RPC_SYSTEM: Final = "rpc.system"
RPC_SERVICE: Final = "rpc.service"
RPC_METHOD: Final = "rpc.method"
RPC_STATUS_CODE: Final = "rpc.grpc.status_code"
ERROR_TYPE: Final = "error.type"
CPU_MODE: Final = "cpu.mode"

# Attributes of tasks, by the messaging conventions.
MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_DESTINATION: Final = "messaging.destination.name"
MESSAGING_MESSAGE_COUNT: Final = "messaging.batch.message_count"

# Our own attributes.
GRAPH: Final = "planmesh.graph"
VERSION: Final = "planmesh.version"
PARTITION: Final = "planmesh.partition"
SHARD: Final = "planmesh.shard"
BATCH_SIZE: Final = "planmesh.batch.size"
OPERATION_KINDS: Final = "planmesh.operation.kinds"
SETTLED_NODES: Final = "planmesh.settled_nodes"
STEPS: Final = "planmesh.steps"
COST: Final = "planmesh.cost"
PHASE: Final = "planmesh.phase"
STATUS: Final = "planmesh.status"
REASON: Final = "planmesh.reason"
KIND: Final = "planmesh.kind"
"""The kind of a call: plan, batch, read, load, admin."""
PROCESS: Final = "planmesh.process"
WORKER: Final = "planmesh.worker"
HEDGED: Final = "planmesh.hedged"
RESULT: Final = "planmesh.result"

# Results of shadow checks.
SHADOW_MATCH: Final = "match"
SHADOW_MISMATCH: Final = "mismatch"
SHADOW_SKIPPED: Final = "skipped"
"""The check ran out of time, budget or space, so the answer was not verified."""
SHADOW_ERROR: Final = "error"
SHADOW_VERSION_GONE: Final = "version_gone"
SHADOW_RESULTS: Final = (SHADOW_MATCH, SHADOW_MISMATCH, SHADOW_SKIPPED, SHADOW_ERROR, SHADOW_VERSION_GONE)
STORE: Final = "planmesh.store"
"""The kind of a store, never its URL."""
STORE_OPERATION: Final = "planmesh.store.operation"

# Metrics. Durations are in seconds, as the conventions ask.
METRIC_CALL_DURATION: Final = "rpc.server.call.duration"
METRIC_PLANS: Final = "planmesh.plans"
METRIC_PHASE_DURATION: Final = "planmesh.plan.phase.duration"
METRIC_PLAN_DURATION: Final = "planmesh.plan.duration"
METRIC_PLAN_PARTITIONS: Final = "planmesh.plan.partitions"
METRIC_BATCH_SIZE: Final = "planmesh.batch.size"
METRIC_QUEUE_DEPTH: Final = "planmesh.queue.depth"
METRIC_QUEUE_AGE: Final = "planmesh.queue.age"
METRIC_WORKERS: Final = "planmesh.workers"
METRIC_PROCESS_UP: Final = "planmesh.process.up"
METRIC_GRAPH_VERSION: Final = "planmesh.graph.version"
METRIC_TASKS: Final = "planmesh.tasks"
METRIC_CACHE_HITS: Final = "planmesh.cache.hits"
METRIC_CACHE_MISSES: Final = "planmesh.cache.misses"
METRIC_JOINED: Final = "planmesh.plans.joined"
METRIC_HEDGES: Final = "planmesh.hedges"
METRIC_RETRIES: Final = "planmesh.retries"
METRIC_REFUSED: Final = "planmesh.calls.refused"
METRIC_UNDECODABLE: Final = "planmesh.messages.undecodable"
METRIC_IN_FLIGHT: Final = "planmesh.calls.in_flight"
METRIC_BUILD_DURATION: Final = "planmesh.build.duration"
METRIC_ITEM_DURATION: Final = "planmesh.item.duration"
METRIC_MEMORY: Final = "process.memory.usage"
METRIC_CPU_TIME: Final = "process.cpu.time"
METRIC_PROCESS_COST: Final = "planmesh.process.cost"
METRIC_SHADOW_CHECKS: Final = "planmesh.shadow.checks"
METRIC_GRAPH_SUSPECT: Final = "planmesh.graph.suspect"
METRIC_STORE_DURATION: Final = "planmesh.store.call.duration"
METRIC_STORE_ERRORS: Final = "planmesh.store.errors"
METRIC_STORE_HITS: Final = "planmesh.store.hits"
METRIC_STORE_MISSES: Final = "planmesh.store.misses"
METRIC_STORE_HOT_SHARE: Final = "planmesh.store.hot.share"
METRIC_STORE_QUERY_COST: Final = "planmesh.store.query.cost"
