"""Wiring and entry point of a worker: `python -m workers --role query --shard 0`, or `--role build`."""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
import uuid
from collections.abc import Iterator

from celery import Celery
from kombu.entity import Queue

from planmesh.dispatch.broker_clock import BrokerClock
from planmesh.dispatch.celery_app import make_app
from planmesh.dispatch.connections import connect
from planmesh.dispatch.queues import BUILD_QUEUE, SHADOW_QUEUE, query_queue, server_of
from planmesh.dispatch.worker_registry import Heartbeat
from planmesh.search.warm import warm
from planmesh.settings import SettingsError, WorkerSettings, read_settings
from planmesh.telemetry.logs import get_logger
from planmesh.telemetry.process_metrics import observe_process
from planmesh.telemetry.tracing import Telemetry, setup
from workers.build_tasks import BuildTasks
from workers.pulse import Pulse
from workers.query_items import OpenSnapshots, QueryItems
from workers.query_tasks import QueryTasks
from workers.shadow_tasks import make_shadow_tasks

log = get_logger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Run a worker until SIGTERM or SIGINT. Return the exit code: 0, or 2 when the settings are invalid."""
    parser = argparse.ArgumentParser(prog="python -m workers", description=__doc__)
    parser.add_argument("--role", choices=["query", "build"], help="kind of tasks; default: PLANMESH_WORKER_ROLE")
    parser.add_argument("--shard", type=int, help="shard of a query worker; default: PLANMESH_WORKER_SHARD")
    given = parser.parse_args(arguments)
    overrides = {"PLANMESH_WORKER_ROLE": given.role, "PLANMESH_WORKER_SHARD": given.shard}
    environ = {**os.environ, **{name: str(value) for name, value in overrides.items() if value is not None}}
    try:
        settings = read_settings(WorkerSettings, environ)
        telemetry = setup(f"planmesh-{settings.worker_role}-worker", settings)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    shard = settings.worker_shard if settings.worker_role == "query" else None
    observe_process(telemetry.meter, usd_per_hour=settings.usd_per_hour, shard=shard)
    warm()
    try:
        if settings.worker_role == "query":
            run_query_worker(settings, telemetry)
        else:
            run_build_worker(settings, telemetry)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    finally:
        telemetry.shutdown()
    return 0


def run_query_worker(settings: WorkerSettings, telemetry: Telemetry) -> None:
    """Serve the queries of one shard, one task at a time. For parallelism, run several processes for a shard."""
    servers = settings.redis_servers
    redis_url = servers[server_of(settings.worker_shard, len(servers))]
    name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    connection = connect(redis_url)
    clock = BrokerClock()
    items = QueryItems(OpenSnapshots(settings.worker_open_partitions_max), clock)
    app = make_app(redis_url)
    QueryTasks(items, connection, telemetry, name, settings.worker_shard, clock).register(app)
    # A separate connection, so that a heartbeat never waits for a reply that is being pushed.
    heartbeat = Heartbeat(connect(redis_url), settings.worker_shard, name, clock)
    heartbeat.start()
    log.info("query worker ready", shard=settings.worker_shard, worker=name)
    try:
        queue = Queue(query_queue(settings.worker_shard), no_ack=True)  # type: ignore[no-untyped-call]
        with pulse(settings, app):
            run(app, "solo", [queue], concurrency=1, name=name)
    finally:
        heartbeat.stop()
        connection.close()


def run_build_worker(settings: WorkerSettings, telemetry: Telemetry) -> None:
    """Build indexes in as many threads as the settings say, by default one per processor; and check answers."""
    redis_url = settings.redis_servers[0]
    name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    connection = connect(redis_url)
    app = make_app(redis_url)
    BuildTasks(connection, telemetry).register(app)
    queues = [Queue(BUILD_QUEUE)]  # type: ignore[no-untyped-call]
    with contextlib.ExitStack() as stack:
        stack.callback(connection.close)
        if settings.shadow_processor_share > 0:
            checks = make_shadow_tasks(
                settings.worker_open_partitions_max,
                settings.shadow_processor_share,
                stack.enter_context(connect(redis_url)),
                telemetry,
            )
            checks.register(app)
            checks.start()
            stack.callback(checks.stop)
            queues.append(Queue(SHADOW_QUEUE, no_ack=True))  # type: ignore[no-untyped-call]
        log.info("build worker ready", worker=name)
        stack.enter_context(pulse(settings, app))
        threads = settings.worker_build_threads or os.cpu_count() or 1
        run(app, "threads", queues, concurrency=threads, name=name)


@contextlib.contextmanager
def pulse(settings: WorkerSettings, app: Celery) -> Iterator[None]:
    """Write the files for probes while the block runs, if the settings name a folder for them; see Pulse."""
    if settings.worker_pulse is None:
        yield
        return
    shown = Pulse(settings.worker_pulse)
    shown.start(app)
    try:
        yield
    finally:
        shown.stop()


def run(app: Celery, pool: str, queues: list[Queue], concurrency: int, name: str) -> None:
    """Run a Celery worker in this process until SIGTERM or SIGINT."""
    app.conf.task_queues = queues
    worker = app.Worker(
        pool=pool,
        queues=[queue.name for queue in queues],
        concurrency=concurrency,
        hostname=f"planmesh@{name}",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
