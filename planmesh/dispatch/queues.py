"""Names of tasks, queues, channels and keys in Redis, and which shard serves which partition."""

from __future__ import annotations

from typing import Final

QUERY_TASK: Final = "planmesh.query"
BUILD_TASK: Final = "planmesh.build"
BUILD_QUEUE: Final = "planmesh.build"
"""Queue of index builds. Queries have queues of their own, so that a build never delays one."""
SHADOW_TASK: Final = "planmesh.shadow"
SHADOW_QUEUE: Final = "planmesh.shadow"
"""Queue of answers to be checked by a plain search; build workers serve it beside their builds."""

REPLY_TTL_S: Final = 60
"""A reply list that nobody reads is gone after this: its reader died, and whoever waited has asked again."""

ANSWER_KEY_PREFIX: Final = "planmesh:answer:"
WORKERS_KEY: Final = "planmesh:workers"
"""Hash of worker processes: `shard:name` to a count that rises while the worker lives."""

SUSPECT_TTL_S: Final = 7 * 86_400
"""The partition service takes a suspicion up within seconds and keeps it; a week outlasts any absence of it."""


def suspect_key(identity: str) -> str:
    """Key in Redis of what makes the snapshot of this identity suspect: a serialised Suspicion."""
    return f"planmesh:suspect:{identity}"


def query_queue(shard: int) -> str:
    """Name of the queue of one shard's query tasks."""
    return f"planmesh.query.{shard}"


def reply_list(name: str) -> str:
    """Key of the Redis list on which the process `name` receives replies."""
    return f"planmesh:reply:{name}"


def worker_field(shard: int, worker: str) -> str:
    """Field of a worker process in the hash WORKERS_KEY."""
    return f"{shard}:{worker}"


def shard_of(partition: int, partition_count: int, shard_count: int) -> int:
    """The shard that serves a partition: contiguous ranges, as even as can be.

    Partitions with neighbouring numbers lie near each other in the graph, so a plan that crosses a few of them stays
    in one or two shards.
    """
    assert 0 <= partition < partition_count, (partition, partition_count)
    return partition * shard_count // partition_count
