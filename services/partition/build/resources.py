"""The objects that all builds of this process share."""

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
    """Shared by all loads, rebuilds and repairs."""

    folders: Folders
    store: VersionStore
    graphs: KnownGraphs
    hub: WatchHub
    indexes: IndexBuilds
    telemetry: Telemetry
    adoption_wait_s: float
    retire: Callable[[str], None]
    """Called with the name of a graph that has a new version, to remove its old versions later."""
    shutdown: Shutdown = field(default_factory=Shutdown)
    locks: GraphLocks = field(default_factory=GraphLocks)
    numbering: GraphLocks = field(default_factory=GraphLocks)
    """Held while a version gets its number: by updates for each transaction, by a load while it is published."""
