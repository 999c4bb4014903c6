"""Results of `MeshService`: what runs, what is served, and counters, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass

from planmesh.client.graph_results import Graph


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One kind of process that the mesh needs."""

    name: str
    """gateway, coordinator, partition, redis or workers."""
    up: bool
    message: str
    """Why it is not up; empty when it is."""


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """One shard: its workers and its queue."""

    number: int
    workers: int
    """Worker processes that have reported within the last seconds."""
    pending: int
    """Items that wait in the coordinator or in the queue."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Counts since the coordinator's start."""

    plans: int
    tasks: int
    """Query tasks sent, repeats included."""
    task_items: int
    """Items that these tasks carried."""
    cache_hits: int
    cache_misses: int
    hedges: int
    retries: int
    duplicate_replies: int
    """Replies for items that were answered already."""
    failed: int
    """Plans that ended with an error."""
    joined: int
    """Plans that waited for the same plan of another call."""


@dataclass(frozen=True, slots=True)
class MeshStatus:
    """The state of the mesh, as one coordinator sees it."""

    software_version: str
    """Of the gateway that answers."""
    ready: bool
    """Plans can be answered: every process is up."""
    processes: tuple[ProcessStatus, ...]
    shards: tuple[ShardStatus, ...]
    graphs: tuple[Graph, ...]
    """By name."""
    counters: Counters
