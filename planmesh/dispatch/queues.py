"""Names of tasks, queues, channels and keys in Redis, and the assignment of partitions to shards."""

from __future__ import annotations

from typing import Final

QUERY_TASK: Final = "planmesh.query"
BUILD_TASK: Final = "planmesh.build"
BUILD_QUEUE: Final = "planmesh.build"
"""Queue of index builds. Queries have separate queues, so that a build never delays a query."""
SHADOW_TASK: Final = "planmesh.shadow"
SHADOW_QUEUE: Final = "planmesh.shadow"
"""Queue of answers to check by a plain search; build workers serve it along with their builds."""

REPLY_TTL_S: Final = 60
"""Life of a reply list without new replies. When it expires, its reader has died, and callers have repeated their
requests at another coordinator."""

ANSWER_KEY_PREFIX: Final = "planmesh:answer:"
WORKERS_KEY: Final = "planmesh:workers"
"""Hash of worker processes: `shard:name` to a counter that rises while the worker lives."""

SUSPECT_TTL_S: Final = 7 * 86_400
"""Life of a suspicion in Redis. The partition service reads it within seconds and stores it; a week is longer than any
outage of that service."""


def suspect_key(identity: str) -> str:
    """Return the Redis key of the serialised Suspicion against the snapshot with this identity."""
    return f"planmesh:suspect:{identity}"


def query_queue(shard: int) -> str:
    """Return the name of the queue of one shard's query tasks."""
    return f"planmesh.query.{shard}"


def reply_list(name: str) -> str:
    """Return the key of the Redis list on which the process `name` receives replies."""
    return f"planmesh:reply:{name}"


def worker_field(shard: int, worker: str) -> str:
    """Return the field of a worker process in the hash WORKERS_KEY."""
    return f"{shard}:{worker}"


def server_of(shard: int, server_count: int) -> int:
    """Return which of several Redis servers has a shard's queue and the replies to its tasks."""
    return shard % server_count


def server_name(server: int) -> str:
    """Return the name of a Redis server in reports: the first, which also has what belongs to no shard, is "redis"."""
    return f"redis-{server}" if server else "redis"


def shard_of(partition: int, partition_count: int, shard_count: int) -> int:
    """Return the shard that serves a partition. Shards have contiguous ranges of nearly equal length.

    Partitions with consecutive numbers are close to each other in the graph, so a plan that crosses a few partitions
    stays in one or two shards.
    """
    assert 0 <= partition < partition_count, (partition, partition_count)
    return partition * shard_count // partition_count
