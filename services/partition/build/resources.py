"""What all builds of this process share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from planmesh.telemetry.tracing import Telemetry
from planmesh.versions.protocol import VersionStore
from services.partition.build.index_build import IndexBuilds
from services.partition.catalog.folders import Folders
from services.partition.catalog.graph_locks import GraphLocks
from services.partition.catalog.served import KnownGraphs
from services.partition.catalog.watch import WatchHub
from services.partition.shutdown import Shutdown


@dataclass(frozen=True, slots=True)
class BuildResources:
    """What every load works with."""

    folders: Folders
    store: VersionStore
    graphs: KnownGraphs
    hub: WatchHub
    indexes: IndexBuilds
    telemetry: Telemetry
    adoption_wait_s: float
    retire: Callable[[str], None]
    """Called with a graph's name when it has a new version, so that old ones go."""
    shutdown: Shutdown = field(default_factory=Shutdown)
    locks: GraphLocks = field(default_factory=GraphLocks)
