"""Wiring and entry point of the partition service."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from planmesh.dispatch.broker_clock import BrokerClock
from planmesh.dispatch.celery_app import make_app
from planmesh.dispatch.connections import connect_async
from planmesh.dispatch.reply_channel import ReplyChannel
from planmesh.dispatch.task_publisher import TaskPublisher
from planmesh.errors import SnapshotDamaged, SnapshotError
from planmesh.internal.v1 import partition_pb2_grpc
from planmesh.rpc.process import run_process
from planmesh.rpc.server import Server, Service, serve_until_signal
from planmesh.settings import PartitionSettings
from planmesh.telemetry import names
from planmesh.telemetry.logs import get_logger
from planmesh.telemetry.tracing import Telemetry
from planmesh.versions.embedded import EmbeddedVersions
from planmesh.versions.protocol import StoredVersion, VersionStore
from services.partition.build.disk_watch import DiskWatch
from services.partition.build.freezing import changes_since
from services.partition.build.index_build import IndexBuilds
from services.partition.build.journal import UnfinishedBuild, find_unfinished
from services.partition.build.merge import Merges
from services.partition.build.rebuilds import Rebuilds
from services.partition.build.repair import Repairs
from services.partition.build.resources import BuildResources
from services.partition.catalog.folders import Folders
from services.partition.catalog.graph_locks import GraphLocks
from services.partition.catalog.graph_stores import GraphStores, read_stores
from services.partition.catalog.retire import Retirement
from services.partition.catalog.served import KnownGraphs, KnownVersion, UnservedVersion
from services.partition.catalog.suspects import Suspects
from services.partition.catalog.unserved import read_version
from services.partition.catalog.watch import WatchHub
from services.partition.changes.updates import Updates
from services.partition.loads import Loads
from services.partition.removal import Removals
from services.partition.service import PartitionServicer
from services.partition.shutdown import Shutdown

SERVICE: Final = "planmesh-partition"


log = get_logger(__name__)


class PartitionServer(Server):
    """A server that ends the coordinators' watches before it drains, because they would last for ever."""

    def __init__(self, hub: WatchHub, shutdown: Shutdown, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._hub = hub
        self._shutdown = shutdown

    async def stop(self, grace_s: float) -> None:
        """Stop in two stages; see Server. The next process resumes the loads whose rows are sealed."""
        self._shutdown.begin()
        self._hub.close()
        await self._hub.end_waits()
        await super().stop(grace_s)


@dataclass(frozen=True, slots=True)
class RunningService:
    """A partition service that is started, with its inner objects for tests."""

    server: PartitionServer
    service: PartitionServicer
    resources: BuildResources
    loads: Loads
    merges: Merges


@asynccontextmanager
async def running_service(settings: PartitionSettings, telemetry: Telemetry) -> AsyncIterator[RunningService]:
    """Run the service until the block is left; then stop it and wait until all work in progress is cleaned up.

    Raises Conflict when another process owns the data folder, SnapshotError when the store cannot be read, and
    SettingsError when the setting `stores` contains an invalid URL.
    """
    stores = GraphStores(read_stores(settings.stores), telemetry.instruments)
    folders = Folders(settings.data.resolve())
    store = _open_store(folders)
    disk = DiskWatch((folders.data, folders.store))
    redis_url = settings.redis_servers[0]
    connection = connect_async(redis_url)
    indexes = IndexBuilds(
        TaskPublisher(make_app(redis_url), connection, BrokerClock()),
        ReplyChannel(redis_url, f"partition-{uuid.uuid4().hex}"),
        settings.partition_build_stall_s,
    )
    graphs = KnownGraphs(settings.partition_loads_max)
    hub = WatchHub()
    locks = GraphLocks()
    retirement = Retirement(
        folders, store, graphs, locks, settings.partition_versions_kept, settings.partition_version_grace_s
    )
    resources = BuildResources(
        folders=folders,
        store=store,
        graphs=graphs,
        hub=hub,
        indexes=indexes,
        telemetry=telemetry,
        adoption_wait_s=settings.partition_adoption_wait_s,
        retire=retirement.retire,
        locks=locks,
    )
    repairs = Repairs(resources)
    merges = Merges(resources, settings.delta_edges_max, settings.merge_after_s)
    loads = Loads(resources, merges.abandon)
    rebuilds = Rebuilds(resources)
    removals = Removals(resources, loads, rebuilds, repairs, merges)
    updates = Updates(resources, settings.delta_edges_max)
    suspects = Suspects(folders.suspects, graphs, connection, telemetry.instruments)
    service = PartitionServicer(resources, loads, repairs, removals, settings.shards, stores, updates)
    server = PartitionServer(
        hub,
        resources.shutdown,
        [Service.of(partition_pb2_grpc.add_PartitionServiceServicer_to_server, service)],
        [settings.partition_listen],
        telemetry,
    )
    try:
        unfinished = await _restore(resources, settings.partition_versions_kept)
        await suspects.start()
        await indexes.start()
        loads.resume(unfinished)
        rebuilds.begin([graph.unserved for graph in graphs.all() if graph.unserved is not None])
        await server.start()
        repairs.start()
        await merges.start()
        await disk.start(server.set_ready)
        yield RunningService(server, service, resources, loads, merges)
        await server.stop(0)
    finally:
        resources.shutdown.begin()
        await suspects.close()
        await disk.close()
        await updates.close()
        await merges.close()
        await loads.close()
        await rebuilds.close()
        await removals.close()
        await repairs.close()
        await retirement.close()
        await indexes.close()
        await connection.aclose()
        await store.close()
        await stores.close()


def _open_store(folders: Folders) -> EmbeddedVersions:
    """Open the system of record, and create its folders if they are missing."""
    try:
        folders.create()
        return EmbeddedVersions(folders.store)
    except OSError as error:
        raise SnapshotError(
            f"the data folder {folders.data} cannot be used: {error}; free space, or correct its permissions"
        ) from error


async def serve(settings: PartitionSettings, telemetry: Telemetry) -> None:
    """Serve until SIGTERM or SIGINT."""
    async with running_service(settings, telemetry) as running:
        await serve_until_signal(running.server, grace_s=settings.shutdown_grace_s, leave_s=settings.shutdown_leave_s)


def main() -> int:
    """Run the process and return its exit code."""
    return run_process(SERVICE, PartitionSettings, serve)


async def _restore(resources: BuildResources, versions_kept: int) -> list[UnfinishedBuild]:
    """Serve the versions in the store, and return the builds to resume.

    Remove old versions, and the folders and rows that a crash left behind.
    """
    kept = await _remove_old(resources.store, versions_kept)
    sealed = await resources.store.sealed()
    unfinished = find_unfinished(resources.folders.builds.iterdir(), sealed)
    for build in unfinished:
        resources.folders.reclaim(build.folder, build.graph, await resources.store.next_version(build.graph))
    for token in set(sealed) - {build.journal.rows for build in unfinished}:
        await resources.store.drop_sealed(token)
    resources.folders.remove_unknown(
        {(stored.graph, stored.version) for stored in kept}, {build.folder.path for build in unfinished}
    )
    for stored in kept:
        version = read_version(resources.folders, stored)
        if isinstance(version, KnownVersion):
            resources.graphs.add_version(version)
        else:
            # A version that cannot be rebuilt is kept unchanged, for a planmesh that can read it.
            log.error("version not served", graph=stored.graph, version=stored.version, reason=version.reason)
            resources.graphs.add_unserved(version)
    for graph in resources.graphs.all():
        served = graph.served
        if served is None:
            assert graph.unserved is not None
            # Coordinators find the problem when they open it, and report it to callers.
            resources.hub.serve(graph.name, graph.unserved.stored.version, graph.unserved.url)
            continue
        try:
            graph.changed_version, graph.unmerged = await changes_since(resources.store, graph.name, served.number)
        except SnapshotDamaged as error:
            # Without its log the graph is not what was acknowledged. It is not announced, so nothing is answered.
            log.error("graph not served", graph=graph.name, version=served.number, reason=error.message)
            resources.graphs.add_unserved(UnservedVersion(served.stored, served.url, error.message))
            continue
        resources.hub.serve(graph.name, served.number, served.url)
        resources.telemetry.instruments.graph_version.set(graph.newest, {names.GRAPH: graph.name})
        log.info("graph served", graph=graph.name, version=graph.newest, nodes=served.stored.nodes)
    return unfinished


async def _remove_old(store: VersionStore, versions_kept: int) -> list[StoredVersion]:
    """Remove all but the newest `versions_kept` versions of each graph. Return the others, ascending per graph."""
    by_graph: dict[str, list[StoredVersion]] = {}
    for stored in await store.versions():
        by_graph.setdefault(stored.graph, []).append(stored)
    kept = []
    for graph, versions in by_graph.items():
        for old in versions[:-versions_kept]:
            await store.remove_version(graph, old.version)
        kept += versions[-versions_kept:]
    return kept
