"""The state of every graph in this process: its versions, the one that is served, and a load in progress."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

from google.protobuf.timestamp_pb2 import Timestamp

from planmesh.errors import Conflict, GraphUnknown, Overloaded, Unavailable, VersionGone
from planmesh.snapshot.manifest import Manifest
from planmesh.snapshot.reader import SnapshotReader
from planmesh.v1 import graph_pb2
from planmesh.versions.protocol import StoredVersion
from services.partition.ingest.options import STRATEGY_NUMBERS, LoadOptions, VersionDescription
from services.partition.ingest.progress import LoadProgress


@dataclass(slots=True, eq=False)
class KnownVersion:
    """A version that is complete in the store. `manifest` is the store's copy."""

    stored: StoredVersion
    description: VersionDescription
    manifest: Manifest
    url: str
    reader: SnapshotReader | None = None
    opening: threading.Lock = field(default_factory=threading.Lock)
    """Held while the snapshot is opened or its identity is changed, so that `reader` has the identity on disk."""
    damaged: set[str] = field(default_factory=set)
    """Names of the files that are damaged and being rebuilt."""
    suspicion: graph_pb2.Suspicion | None = None
    """A wrong answer that this version gave; see Suspects."""

    @property
    def number(self) -> int:
        """Number of the version."""
        return self.stored.version

    def open(self) -> SnapshotReader:
        """Return the reader of the snapshot, which is opened once; blocks. Raises SnapshotDamaged and VersionGone."""
        with self.opening:
            if self.reader is None:
                self.reader = SnapshotReader.open(self.url)
            return self.reader


@dataclass(frozen=True, slots=True, eq=False)
class UnservedVersion:
    """The newest version of a graph in the store, which cannot be served for the given `reason`."""

    stored: StoredVersion
    url: str
    reason: str
    options: LoadOptions | None = None
    """Options for rebuilding it; None if it cannot be rebuilt."""
    format: int = 0
    """Format of its snapshot, if it is rebuilt."""


@dataclass(slots=True, eq=False)
class KnownGraph:
    """A graph: its versions, ascending, the last of which is served; and a load in progress."""

    name: str
    versions: list[KnownVersion] = field(default_factory=list)
    unserved: UnservedVersion | None = None
    """Set while `versions` is empty because the newest version cannot be served."""
    outdated: list[int] = field(default_factory=list)
    """Versions in the store that will never be served. They are removed after a newer one is served."""
    loading: LoadProgress | None = None
    changed_version: int = 0
    """The newest version that an update made since the last load; 0 if none did."""
    unmerged: int = 0
    """Changes since the served base."""

    @property
    def newest(self) -> int:
        """The newest version: that of the served base, or of a later update."""
        return max(self.changed_version, self.served.number if self.served is not None else 0)

    @property
    def served(self) -> KnownVersion | None:
        """The version that plans use; None if there is none."""
        return self.versions[-1] if self.versions else None

    def message(self) -> graph_pb2.Graph:
        """Return the description of the graph for GetGraph."""
        served = self.served
        message = graph_pb2.Graph(name=self.name, state=graph_pb2.GRAPH_STATE_LOADING)
        if self.loading is not None:
            message.loading.CopyFrom(self.loading.message())
        if served is None:
            if self.unserved is not None:
                is_rebuilt = self.unserved.options is not None
                message.state = graph_pb2.GRAPH_STATE_REBUILDING if is_rebuilt else graph_pb2.GRAPH_STATE_UNREADABLE
                message.version = self.unserved.stored.version
                message.nodes = self.unserved.stored.nodes
            return message
        counts = served.manifest.counts
        is_damaged = bool(served.damaged)
        message.state = graph_pb2.GRAPH_STATE_REBUILDING if is_damaged else graph_pb2.GRAPH_STATE_SERVING
        message.version = self.newest
        message.base_version = served.number
        message.unmerged_changes = self.unmerged
        message.nodes = counts.nodes
        message.edges = counts.edges
        message.partitions = counts.partitions
        message.cross_edges = counts.cross_edges
        message.boundary_nodes = counts.boundary_nodes
        message.strategy = STRATEGY_NUMBERS.get(served.manifest.strategy, graph_pb2.STRATEGY_UNSPECIFIED)
        loaded_at = Timestamp()
        loaded_at.FromNanoseconds(int(served.stored.committed_unix_s * 1e9))
        message.loaded_at.CopyFrom(loaded_at)
        message.overlay_nodes = counts.overlay_nodes
        message.overlay_edges = counts.overlay_edges
        message.overlay_core_nodes = counts.overlay_core_nodes
        message.region_stores.update(served.description.options.region_stores)
        message.domain_stores.update(served.description.options.domain_stores)
        if served.suspicion is not None:
            message.suspicion.CopyFrom(served.suspicion)
        return message


class KnownGraphs:
    """All graphs by name. To be changed only on the event loop."""

    def __init__(self, loads_max: int) -> None:
        self._graphs: dict[str, KnownGraph] = {}
        self._loads_max = loads_max

    def all(self) -> list[KnownGraph]:
        """Return all graphs, sorted by name."""
        return [self._graphs[name] for name in sorted(self._graphs)]

    def add_version(self, version: KnownVersion) -> KnownGraph:
        """Add a version that is newer than all known ones of its graph. It is served from now on."""
        graph = self._graphs.setdefault(version.stored.graph, KnownGraph(version.stored.graph))
        assert graph.served is None or graph.served.number < version.number, "versions grow"
        graph.versions.append(version)
        graph.unserved = None
        return graph

    def add_unserved(self, version: UnservedVersion) -> None:
        """Add the newest version of a graph, which cannot be served. Older versions are not served either."""
        graph = self._graphs.setdefault(version.stored.graph, KnownGraph(version.stored.graph))
        graph.outdated += [*(older.number for older in graph.versions), version.stored.version]
        graph.versions.clear()
        graph.unserved = version

    def give_up(self, version: UnservedVersion, reason: str) -> None:
        """Record that a version cannot be rebuilt after all, for `reason`."""
        graph = self._graphs.get(version.stored.graph)
        if graph is not None and graph.unserved is version:
            graph.unserved = replace(version, reason=reason, options=None)

    def is_unserved(self, version: UnservedVersion) -> bool:
        """Whether a version is still the newest one of its graph, and the graph still exists."""
        graph = self._graphs.get(version.stored.graph)
        return graph is not None and graph.unserved is version

    def knows(self, name: str) -> bool:
        """Whether a graph is served, unserved or being loaded."""
        return name in self._graphs

    def knows_served(self, name: str) -> bool:
        """Whether a graph has a served version."""
        return name in self._graphs and self._graphs[name].served is not None

    def get(self, name: str) -> KnownGraph:
        """Return a graph. Raises GraphUnknown when `knows` would return False."""
        graph = self._graphs.get(name)
        if graph is None:
            raise GraphUnknown(name)
        return graph

    def served(self, name: str) -> KnownVersion:
        """Return the served version of a graph.

        Raises GraphUnknown when it has none yet, and Unavailable when its newest version cannot be served.
        """
        graph = self.get(name)
        served = graph.served
        if served is None:
            if graph.unserved is not None:
                raise Unavailable(graph.unserved.reason, graph=name)
            raise GraphUnknown(name, f"graph {name!r} is being loaded for the first time; try again when that is done")
        return served

    def version(self, name: str, number: int) -> KnownVersion:
        """Return a version; 0 is the served one. Raises VersionGone when it is not kept."""
        served = self.served(name)
        if number in {0, served.number}:
            return served
        for version in self.get(name).versions:
            if version.number == number:
                return version
        raise VersionGone(f"version {number} of graph {name!r} is not kept; {served.number} is served")

    def begin_load(self, name: str, progress: LoadProgress) -> None:
        """Reserve the graph for a load.

        Raises Conflict when another load of it is in progress, and Overloaded when `loads_max` loads are. A resumed
        build is always admitted, because it was admitted before the restart.
        """
        graph = self._graphs.get(name)
        if graph is not None and graph.loading is not None and graph.loading.resumed:
            raise Conflict(
                f"a load of graph {name!r} that a restart interrupted is being resumed ({graph.loading.text()}); wait "
                "until it is served, or drop it by unloading the graph",
                graph=name,
            )
        if graph is not None and graph.loading is not None and graph.loading.sealed:
            raise Conflict(
                f"a load of graph {name!r} is in progress, with all rows received ({graph.loading.text()}); a call "
                "with the same rows and options waits for it; for another load, wait until it is served, or, if its "
                "caller has left, drop it by unloading the graph",
                graph=name,
            )
        if graph is not None and graph.loading is not None:
            raise Conflict(f"another load of graph {name!r} is in progress; wait for it, or cancel it", graph=name)
        under_way = sum(graph.loading is not None for graph in self._graphs.values())
        if under_way >= self._loads_max and not progress.resumed:
            raise Overloaded(
                f"expected at most {self._loads_max} loads at a time; try again when one has ended",
                bound="LOADS_MAX",
                retry_after_s=10.0,
            )
        self._graphs.setdefault(name, KnownGraph(name)).loading = progress

    def end_load(self, name: str) -> None:
        """Release the graph after a load. A graph without any version is forgotten."""
        graph = self._graphs[name]
        graph.loading = None
        if not graph.versions and graph.unserved is None:
            del self._graphs[name]

    def remove(self, name: str) -> KnownGraph:
        """Forget a graph and return it. Raises Conflict when a load of it is in progress."""
        graph = self.get(name)
        if graph.loading is not None:
            raise Conflict(f"graph {name!r} is being loaded; wait for that, or cancel it", graph=name)
        return self._graphs.pop(name)

    def put_back(self, graph: KnownGraph) -> None:
        """Add a graph again whose removal failed. A load of it that began meanwhile continues."""
        begun = self._graphs.get(graph.name)
        if begun is not None:
            graph.loading = begun.loading
        self._graphs[graph.name] = graph
