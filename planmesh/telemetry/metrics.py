"""The instruments of the mesh, created from one meter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry.metrics import Counter, Histogram, Meter, UpDownCounter

from planmesh.telemetry import names

if TYPE_CHECKING:
    from opentelemetry.metrics import _Gauge as Gauge


@dataclass(frozen=True, slots=True)
class Instruments:
    """All counters, gauges and histograms; every process creates all of them and uses its own."""

    call_duration: Histogram
    plans: Counter
    plan_duration: Histogram
    phase_duration: Histogram
    plan_partitions: Histogram
    batch_size: Histogram
    queue_depth: Gauge
    queue_age: Gauge
    workers: Gauge
    process_up: Gauge
    graph_version: Gauge
    tasks: Counter
    cache_hits: Counter
    cache_misses: Counter
    joined: Counter
    hedges: Counter
    retries: Counter
    refused: Counter
    undecodable: Counter
    in_flight: UpDownCounter
    build_duration: Histogram
    item_duration: Histogram
    shadow_checks: Counter
    graph_suspect: Gauge
    store_duration: Histogram
    store_errors: Counter
    store_hits: Counter
    store_misses: Counter
    store_hot_share: Gauge
    store_query_cost: Gauge


DURATION_BOUNDS_S = (
    0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 60.0,
)  # fmt: skip
"""Histogram bounds in seconds: a plan takes a few milliseconds, a phase less than one; the SDK's begin at five."""

BATCH_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

PARTITION_BOUNDS = (1, 2, 3, 5, 8, 13, 21, 34, 55)
"""The first bound separates plans within one partition from those that cross."""


def make_instruments(meter: Meter) -> Instruments:
    """Create every instrument, with the names that `names` declares."""

    def duration(name: str, description: str) -> Histogram:
        return meter.create_histogram(
            name, unit="s", description=description, explicit_bucket_boundaries_advisory=DURATION_BOUNDS_S
        )

    return Instruments(
        call_duration=duration(names.METRIC_CALL_DURATION, "Calls served, by method and status code."),
        plans=meter.create_counter(
            names.METRIC_PLANS, unit="{plan}", description="Plans, by the gRPC code of the answer."
        ),
        plan_duration=duration(names.METRIC_PLAN_DURATION, "From the request for a plan to its answer."),
        phase_duration=duration(names.METRIC_PHASE_DURATION, "Duration of each phase of a plan."),
        plan_partitions=meter.create_histogram(
            names.METRIC_PLAN_PARTITIONS,
            unit="{partition}",
            description="Partitions that a computed plan visits; a plan that visits several crosses partitions.",
            explicit_bucket_boundaries_advisory=PARTITION_BOUNDS,
        ),
        batch_size=meter.create_histogram(
            names.METRIC_BATCH_SIZE,
            unit="{request}",
            description="Items in a task.",
            explicit_bucket_boundaries_advisory=BATCH_BOUNDS,
        ),
        queue_depth=meter.create_gauge(
            names.METRIC_QUEUE_DEPTH, unit="{request}", description="Items that wait for an answer of a shard."
        ),
        queue_age=meter.create_gauge(
            names.METRIC_QUEUE_AGE, unit="s", description="Age of the item that has waited longest for a shard."
        ),
        workers=meter.create_gauge(names.METRIC_WORKERS, unit="{worker}", description="Live workers of a shard."),
        process_up=meter.create_gauge(
            names.METRIC_PROCESS_UP,
            unit="{process}",
            description="1 while a process that a coordinator needs answers, else 0.",
        ),
        graph_version=meter.create_gauge(
            names.METRIC_GRAPH_VERSION,
            unit="{version}",
            description="Version of a graph that the process serves; the partition service's is the newest.",
        ),
        tasks=meter.create_counter(names.METRIC_TASKS, unit="{task}", description="Tasks sent to workers."),
        cache_hits=meter.create_counter(names.METRIC_CACHE_HITS, unit="{plan}", description="Answers from a cache."),
        cache_misses=meter.create_counter(names.METRIC_CACHE_MISSES, unit="{plan}", description="Answers not cached."),
        joined=meter.create_counter(
            names.METRIC_JOINED, unit="{plan}", description="Plans that waited for the same plan of another call."
        ),
        hedges=meter.create_counter(
            names.METRIC_HEDGES,
            unit="{request}",
            description="Items sent once more because no reply came within the hedge time.",
        ),
        retries=meter.create_counter(
            names.METRIC_RETRIES, unit="{plan}", description="Plans restarted on a newer version."
        ),
        refused=meter.create_counter(
            names.METRIC_REFUSED, unit="{call}", description="Calls that the gateway refused, by kind and reason."
        ),
        undecodable=meter.create_counter(
            names.METRIC_UNDECODABLE,
            unit="{message}",
            description="Messages that the process could not decode, by method.",
        ),
        in_flight=meter.create_up_down_counter(
            names.METRIC_IN_FLIGHT, unit="{call}", description="Calls in progress at the gateway, by kind."
        ),
        build_duration=duration(names.METRIC_BUILD_DURATION, "Building the index of a partition."),
        item_duration=duration(names.METRIC_ITEM_DURATION, "The work of one item in a worker."),
        shadow_checks=meter.create_counter(
            names.METRIC_SHADOW_CHECKS,
            unit="{plan}",
            description="Answers drawn to be compared with a plain search on the same version, by result.",
        ),
        graph_suspect=meter.create_gauge(
            names.METRIC_GRAPH_SUSPECT,
            unit="{version}",
            description="1 while a plain search contradicts an answer on a graph's served version, else 0.",
        ),
        store_duration=duration(names.METRIC_STORE_DURATION, "Calls of a store, by store and operation."),
        store_errors=meter.create_counter(
            names.METRIC_STORE_ERRORS,
            unit="{call}",
            description="Calls of a store that failed. An answer that there is no such node or path is not a failure.",
        ),
        store_hits=meter.create_counter(
            names.METRIC_STORE_HITS,
            unit="{query}",
            description="Paths of hot pairs that the front of a hybrid store had.",
        ),
        store_misses=meter.create_counter(
            names.METRIC_STORE_MISSES,
            unit="{query}",
            description="Paths of hot pairs that the front of a hybrid store did not have.",
        ),
        store_hot_share=meter.create_gauge(
            names.METRIC_STORE_HOT_SHARE,
            unit="1",
            description="Share of all path queries since a hybrid store was opened that its front answered.",
        ),
        store_query_cost=meter.create_gauge(
            names.METRIC_STORE_QUERY_COST,
            unit="{USD}",
            description="Price of a store since it was opened, divided by the queries since then.",
        ),
    )
