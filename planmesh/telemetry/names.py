"""Every span, attribute and metric name, declared before it is used.

rpc.* and service.* are OpenTelemetry's semantic conventions; all else begins with "planmesh.".
"""

from __future__ import annotations

from typing import Final

# Spans. Those of calls are named by the rpc: "planmesh.v1.PlanService/Plan".
SPAN_LOCATE: Final = "planmesh.locate"
SPAN_LOCAL_SEARCH: Final = "planmesh.local_search"
SPAN_OVERLAY: Final = "planmesh.overlay"
SPAN_UNPACK: Final = "planmesh.unpack"
SPAN_MERGE: Final = "planmesh.merge"
SPAN_DISPATCH: Final = "planmesh.dispatch"
SPAN_WORK: Final = "planmesh.work"
SPAN_BUILD: Final = "planmesh.build"
SPAN_INGEST_READ: Final = "planmesh.ingest.read"
SPAN_INGEST_PARTITION: Final = "planmesh.ingest.partition"
SPAN_INGEST_INDEX: Final = "planmesh.ingest.index"
SPAN_INGEST_OVERLAY: Final = "planmesh.ingest.overlay"
SPAN_INGEST_PUBLISH: Final = "planmesh.ingest.publish"

# Attributes of calls, as OpenTelemetry's gRPC instrumentation writes them.
RPC_SYSTEM: Final = "rpc.system"
RPC_SERVICE: Final = "rpc.service"
RPC_METHOD: Final = "rpc.method"
RPC_STATUS_CODE: Final = "rpc.grpc.status_code"
ERROR_TYPE: Final = "error.type"

# Attributes of ours.
GRAPH: Final = "planmesh.graph"
VERSION: Final = "planmesh.version"
PARTITION: Final = "planmesh.partition"
SHARD: Final = "planmesh.shard"
BATCH_SIZE: Final = "planmesh.batch.size"
SETTLED_NODES: Final = "planmesh.settled_nodes"
STEPS: Final = "planmesh.steps"
COST: Final = "planmesh.cost"
CACHED: Final = "planmesh.cached"
PAIRS: Final = "planmesh.pairs"
PHASE: Final = "planmesh.phase"
STATUS: Final = "planmesh.status"
REASON: Final = "planmesh.reason"
WORKER: Final = "planmesh.worker"
RETRY: Final = "planmesh.retry"
HEDGED: Final = "planmesh.hedged"
STORE: Final = "planmesh.store"
"""Of a store: its kind, never its URL."""
STORE_OPERATION: Final = "planmesh.store.operation"

# Metrics. Durations are in seconds, as the conventions ask.
METRIC_CALL_DURATION: Final = "rpc.server.call.duration"
METRIC_PLANS: Final = "planmesh.plans"
METRIC_PHASE_DURATION: Final = "planmesh.plan.phase.duration"
METRIC_PLAN_DURATION: Final = "planmesh.plan.duration"
METRIC_BATCH_SIZE: Final = "planmesh.batch.size"
METRIC_QUEUE_DEPTH: Final = "planmesh.queue.depth"
METRIC_QUEUE_AGE: Final = "planmesh.queue.age"
METRIC_WORKERS: Final = "planmesh.workers"
METRIC_GRAPH_VERSION: Final = "planmesh.graph.version"
METRIC_TASKS: Final = "planmesh.tasks"
METRIC_CACHE_HITS: Final = "planmesh.cache.hits"
METRIC_CACHE_MISSES: Final = "planmesh.cache.misses"
METRIC_HEDGES: Final = "planmesh.hedges"
METRIC_RETRIES: Final = "planmesh.retries"
METRIC_REFUSED: Final = "planmesh.calls.refused"
METRIC_IN_FLIGHT: Final = "planmesh.calls.in_flight"
METRIC_BUILD_DURATION: Final = "planmesh.build.duration"
METRIC_WORK_DURATION: Final = "planmesh.work.duration"
METRIC_STORE_DURATION: Final = "planmesh.store.call.duration"
METRIC_STORE_ERRORS: Final = "planmesh.store.errors"
METRIC_STORE_HITS: Final = "planmesh.store.hits"
METRIC_STORE_MISSES: Final = "planmesh.store.misses"
METRIC_STORE_HOT_SHARE: Final = "planmesh.store.hot.share"
METRIC_STORE_QUERY_COST: Final = "planmesh.store.query.cost"
