"""Runs a verification, from the files to whole plans."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from planmesh.errors import SnapshotDamaged
from planmesh.graph.model import Graph, Int32Array, Int64Array
from planmesh.search.hierarchy import Hierarchy
from planmesh.search.index_proof import (
    Pair,
    compare_with_plain_search,
    hub_pairs,
    prove_distances,
    random_pairs,
    whole_hierarchy,
)
from planmesh.search.overlay import Overlay
from planmesh.search.verification import Fault, index_faults
from planmesh.snapshot.array_file import open_array_file
from planmesh.snapshot.directory import NodeDirectory, read_directory
from planmesh.snapshot.manifest import MANIFEST_NAME, FileEntry, Manifest, PartitionEntry
from planmesh.snapshot.overlay_file import OpenOverlay, read_overlay
from planmesh.snapshot.partition_file import OpenPartition, read_partition
from planmesh.snapshot.reader import SnapshotReader
from planmesh.verify.changes import check_changes
from planmesh.verify.files import (
    DIRECTORY_DTYPES,
    PARTITION_DTYPES,
    array_faults,
    directory_faults,
    entry_faults,
    file_findings,
    manifest_count_findings,
    manifest_findings,
    names_of,
    raise_if_replaced,
    rows_findings,
)
from planmesh.verify.overlay import opened_overlay_faults, overlay_array_faults
from planmesh.verify.partitions import LevelOneRows, boundary_faults, counts_of, edges_faults, level_one_faults
from planmesh.verify.plans import PlanChecker, Planner
from planmesh.verify.report import Advance, Finding, Tally, Verification, finding_of
from planmesh.verify.stored_version import StoredSnapshot

PAIRS_DEFAULT: Final = 200
"""Whole plans that are compared with plain searches."""

HUBS: Final = 4
"""Contracted nodes of a partition, those with the most paths through them, around which pairs are compared."""

HUB_TARGETS: Final = 16
"""Neighbours of a hub that are compared with one plain search, which starts at another neighbour."""

SOURCES: Final = 2
TARGETS: Final = 16
"""Random sources of plain searches in a partition, and random targets of each."""

HUB_PAIRS_KEPT: Final = 4
"""Pairs of each partition's hubs that are candidates for whole plans. There may be 100,000 partitions."""

PROOF_SOURCES_AT_ONCE: Final = 4_096
"""Sources of a proof between two reports of progress: some tens of milliseconds."""

OPEN_PARTITIONS_MAX: Final = 1_024
"""Most partition files that are mapped at once for whole plans."""

SKIPPED_MAX: Final = 100
"""Most notes about skipped checks that are kept. Each belongs to a finding, which is counted."""


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """The scope of a verification: `pairs` whole plans, and one `partition` by number, or None for all.

    `seed` determines the random pairs.
    """

    pairs: int = PAIRS_DEFAULT
    seed: int = 1
    partition: int | None = None


def verify(found: StoredSnapshot, options: VerifyOptions, advance: Advance) -> Verification:
    """Verify a version: its files, the changes since then, their structure, the distances, and some whole plans.

    For one partition alone: its file, its index, and its share of the overlay's file. Partitions are opened one at a
    time. Other memory: the kept log of changes, the overlay twice, the mapped directory, and for whole plans 24 bytes
    an edge and 80 bytes a node of the graph. Raises VersionGone when a newer version replaces this one meanwhile.
    """
    name = None if options.partition is None else found.manifest.partitions[options.partition].name
    outcome = Verification(
        graph=found.stored.graph,
        version=found.stored.version,
        snapshot=str(found.snapshot),
        rows=str(found.rows),
        partition=name,
        pairs=options.pairs,
        seed=options.seed,
    )
    began_s = time.perf_counter()
    _Run(found, options, advance, outcome).run()
    outcome.seconds = time.perf_counter() - began_s
    return outcome


@dataclass(slots=True)
class _WholeGraph:
    """The whole graph for plain searches, filled partition by partition, and candidate pairs of hubs."""

    graph: Graph
    hub_pairs: list[Pair] = field(default_factory=list)
    edges: int = 0

    @classmethod
    def empty(cls, nodes: int, edges: int) -> _WholeGraph:
        first = np.zeros(nodes + 1, np.int64)
        return cls(Graph(first, np.empty(edges, np.int32), np.empty(edges, np.float64)))

    def add(self, partition: OpenPartition) -> None:
        """Add the next partition, whose number of edges matches the manifest."""
        begin, count = partition.partition_first, len(partition.out_head)
        self.graph.first_out[begin : begin + partition.node_count + 1] = partition.out_first + np.int64(self.edges)
        self.graph.head[self.edges : self.edges + count] = partition.out_head
        self.graph.weight[self.edges : self.edges + count] = partition.out_cost
        self.edges += count


class _Run:
    """One verification: its state and its checks."""

    def __init__(self, found: StoredSnapshot, options: VerifyOptions, advance: Advance, outcome: Verification) -> None:
        self._found = found
        self._manifest: Manifest = found.manifest
        self._options = options
        self._advance = advance
        self._outcome = outcome
        self._broken: set[str] = set()
        self._wrong = False
        self._directory: NodeDirectory | None = None
        self._overlay: LevelOneRows | None = None
        chosen = self._manifest.partitions
        self._entries = chosen if options.partition is None else [chosen[options.partition]]
        counts = self._manifest.counts
        self._first: Int64Array = np.zeros(len(chosen) + 1, np.int64)
        np.cumsum([entry.nodes for entry in chosen], out=self._first[1:])
        plans = options.partition is None and options.pairs > 0
        self._whole = _WholeGraph.empty(counts.nodes, counts.edges) if plans else None

    def run(self) -> None:
        """Run every check. A check that needs a damaged file is skipped and noted."""
        self._check_files()
        if self._options.partition is None:
            check_changes(self._found, self._outcome, self._advance, self._skip)
        self._check_directory()
        self._check_overlay()
        for position, entry in enumerate(self._entries):
            self._check_partition(entry)
            self._advance("partitions", position + 1, len(self._entries))
        if self._options.partition is None:
            self._prove_overlay()
            self._check_plans()

    def _check_files(self) -> None:
        manifest, found = self._manifest, self._found
        everything = self._options.partition is None
        shared: list[FileEntry] = [manifest.directory, manifest.overlay, *([manifest.report] if everything else [])]
        rows_bytes = found.facts.nodes.bytes + found.facts.edges.bytes if everything else 0
        total = rows_bytes + sum(entry.bytes for entry in (*shared, *self._entries))
        read = 0

        def count(size: int) -> None:
            nonlocal read
            read += size
            self._advance("files", read, total)

        with self._outcome.measured("files", "files") as tally:
            self._add(tally, MANIFEST_NAME, manifest_findings(found) + manifest_count_findings(manifest))
            self._outcome.add(tally, rows_findings(found, count) if everything else [])
            for entry in (*shared, *self._entries):
                name = entry.name if isinstance(entry, PartitionEntry) else ""
                self._add(tally, entry.file, file_findings(found.snapshot, entry, name, count))
            tally.checked += 1 + len(shared) + len(self._entries) + (2 if everything else 0)
        if MANIFEST_NAME in self._broken:
            self._whole = None  # the manifest's counts determine the sizes of its arrays

    def _check_directory(self) -> None:
        entry = self._manifest.directory
        with self._outcome.measured("directory", "nodes") as tally:
            if entry.file in self._broken:
                self._skip("the directory, and ids in findings: its file is damaged")
                return
            try:
                file = open_array_file(self._found.snapshot / entry.file, entry.file)
                faults = array_faults(file, DIRECTORY_DTYPES)
                directory = None if faults else read_directory(file)
                faults += directory_faults(directory, self._manifest) if directory is not None else []
            except (SnapshotDamaged, UnicodeDecodeError, IndexError) as error:
                raise_if_replaced(self._found.snapshot)
                faults, directory = [Fault("arrays", "a directory", str(error))], None
            if not self._add_faults(tally, faults, entry.file, ""):
                self._directory = directory
            tally.checked += self._manifest.counts.nodes

    def _check_overlay(self) -> None:
        entry = self._manifest.overlay
        with self._outcome.measured("overlay", "edges") as tally:
            if entry.file in self._broken:
                self._skip("the overlay: its file is damaged")
                return
            opened: OpenOverlay | None = None
            try:
                file = open_array_file(self._found.snapshot / entry.file, entry.file)
                faults = overlay_array_faults(file)
                if not faults:
                    opened = read_overlay(file)
                    faults = opened_overlay_faults(opened, self._manifest)
            except SnapshotDamaged as error:
                raise_if_replaced(self._found.snapshot)
                faults = [Fault("arrays", "an overlay", error.message)]
            numbers = opened.overlay_global if opened is not None else np.zeros(0, np.int32)
            if not self._add_overlay_faults(tally, faults, numbers) and opened is not None:
                self._overlay = LevelOneRows.of(opened)
            tally.checked += _edge_count(opened.overlay) if opened is not None else 0

    def _check_partition(self, entry: PartitionEntry) -> None:
        if entry.file in self._broken:
            self._skip(f"partition {entry.name}: its file is damaged")
            return
        with self._outcome.measured("partitions", "edges and shortcuts") as tally:
            partition = self._read_partition(entry, tally)
        if partition is None:
            return
        with self._outcome.measured("level 1", "edges") as tally:
            if self._overlay is not None:
                faults = level_one_faults(partition, entry.number, self._overlay)
                self._add_faults(tally, faults, self._manifest.overlay.file, entry.name)
                tally.checked += entry.overlay_edges + entry.cross_edges_out + entry.cross_edges_in
        hierarchy, rows = whole_hierarchy(partition.index), partition.internal()
        begin = partition.partition_first
        with self._outcome.measured("distances", "pairs") as tally:
            for proven in prove_distances(hierarchy, *rows, max(1, partition.node_count)):
                tally.checked += proven.compared
                self._add_faults(tally, proven.faults, entry.file, entry.name, begin)
        with self._outcome.measured("plain searches", "pairs") as tally:
            draw = np.random.default_rng([self._options.seed, entry.number])
            pairs = hub_pairs(hierarchy, HUBS, HUBS * HUB_TARGETS, draw) if self._options.pairs else []
            if self._whole is not None:
                self._whole.add(partition)
                chosen = draw.permutation(len(pairs))[:HUB_PAIRS_KEPT]
                self._whole.hub_pairs += [(begin + pairs[at][0], begin + pairs[at][1]) for at in chosen]
            if self._options.pairs and partition.node_count:
                pairs += random_pairs(partition.node_count, SOURCES, TARGETS, draw)
            compared, faults = compare_with_plain_search(hierarchy, *rows, pairs)
            tally.checked += compared
            self._add_faults(tally, faults, entry.file, entry.name, begin)

    def _read_partition(self, entry: PartitionEntry, tally: Tally) -> OpenPartition | None:
        """Read a partition and check its structure; return None if there is a fault."""
        begin = int(self._first[entry.number])
        try:
            file = open_array_file(self._found.snapshot / entry.file, entry.file)
            faults = array_faults(file, PARTITION_DTYPES)
            if self._add_faults(tally, faults, entry.file, entry.name):
                return None
            partition = read_partition(file)
        except SnapshotDamaged as error:
            raise_if_replaced(self._found.snapshot)
            fault = Fault("arrays", "a partition", error.message)
            self._add_faults(tally, [fault], entry.file, entry.name)
            return None
        tally.checked += len(partition.out_head) + len(partition.index.up_head) + len(partition.index.down_tail)
        faults = edges_faults(partition, begin, begin + entry.nodes, self._manifest.counts.nodes)
        if self._add_faults(tally, faults, entry.file, entry.name, begin):
            return None
        faults = index_faults(partition.index, *partition.internal())
        if self._add_faults(tally, faults, entry.file, entry.name, begin):
            return None
        faults = boundary_faults(partition) + entry_faults(entry, counts_of(partition))
        return None if self._add_faults(tally, faults, entry.file, entry.name, begin) else partition

    def _prove_overlay(self) -> None:
        if self._overlay is None:
            return
        overlay, file = self._overlay.opened.overlay, self._manifest.overlay.file
        rows = overlay.first_out, overlay.head, overlay.weight
        numbers = self._overlay.opened.overlay_global
        with self._outcome.measured("distances", "pairs") as tally:
            for proven in prove_distances(overlay.hierarchy, *rows, PROOF_SOURCES_AT_ONCE):
                tally.checked += proven.compared
                self._add_overlay_faults(tally, proven.faults, numbers)
                self._advance("overlay", proven.done, overlay.node_count)
        with self._outcome.measured("plain searches", "pairs") as tally:
            draw = np.random.default_rng([self._options.seed, len(self._manifest.partitions)])
            pairs = _overlay_pairs(overlay.hierarchy, draw) if self._options.pairs else []
            compared, faults = compare_with_plain_search(overlay.hierarchy, *rows, pairs)
            tally.checked += compared
            self._add_overlay_faults(tally, faults, numbers)
        if self._whole is not None and file not in self._broken:
            self._whole.hub_pairs += [(int(numbers[start]), int(numbers[goal])) for start, goal in pairs]

    def _check_plans(self) -> None:
        whole, options = self._whole, self._options
        if options.pairs == 0:
            return
        if whole is None or self._wrong or self._directory is None or self._overlay is None:
            self._skip("whole plans: the files that they need have findings")
            return
        draw = np.random.default_rng([options.seed])
        hubs = [whole.hub_pairs[at] for at in draw.permutation(len(whole.hub_pairs))[: options.pairs // 2]]
        pairs = hubs + random_pairs(whole.graph.node_count, options.pairs - len(hubs), 1, draw)
        reader = SnapshotReader.open(str(self._found.snapshot), open_partitions_max=OPEN_PARTITIONS_MAX)
        with self._outcome.measured("plans", "pairs") as tally:
            checker = PlanChecker(Planner(reader), whole.graph)
            for position, pair in enumerate(pairs):
                fault = checker.fault(pair)
                if fault is not None:
                    name = self._partition_name(pair[0])
                    self._add_faults(tally, [fault], self._manifest.overlay.file, name)
                tally.checked += 1
                self._advance("plans", position + 1, len(pairs))

    def _add_overlay_faults(self, tally: Tally, faults: list[Fault], numbers: Int32Array) -> bool:
        """Add faults whose nodes are overlay numbers; `numbers` (int32[k]) are the global numbers of overlay nodes.

        Returns whether the file must not be searched.
        """
        file = self._manifest.overlay.file
        unsearchable = False
        for fault in faults:
            nodes = tuple(int(numbers[node]) for node in fault.nodes if node < len(numbers))
            partition = self._partition_name(nodes[0]) if nodes else ""
            unsearchable |= self._add_faults(tally, [fault._replace(nodes=nodes)], file, partition)
        return unsearchable

    def _partition_name(self, node: int) -> str:
        """Return the name of the partition of a global number, "" for an unknown number."""
        if not 0 <= node < self._first[-1]:
            return ""
        return self._manifest.partitions[int(np.searchsorted(self._first, node, "right")) - 1].name

    def _add_faults(self, tally: Tally, faults: list[Fault], file: str, partition: str, begin: int = 0) -> bool:
        """Add faults whose nodes are global numbers less `begin`; return whether the file must not be searched."""
        findings = []
        for fault in faults:
            names = names_of(self._directory, (node + begin for node in fault.nodes))
            findings.append(finding_of(fault, file, partition, names))
        return self._add(tally, file, findings)

    def _add(self, tally: Tally, file: str, findings: list[Finding]) -> bool:
        self._wrong = self._wrong or bool(findings)
        unsearchable = self._outcome.add(tally, findings)
        if unsearchable:
            self._broken.add(file)
        return unsearchable

    def _skip(self, what: str) -> None:
        if len(self._outcome.skipped) < SKIPPED_MAX:
            self._outcome.skipped.append(what)


def _overlay_pairs(hierarchy: Hierarchy, draw: np.random.Generator) -> list[Pair]:
    if len(hierarchy.rank) == 0:
        return []
    return hub_pairs(hierarchy, HUBS, HUBS * HUB_TARGETS, draw) + random_pairs(
        len(hierarchy.rank), SOURCES, TARGETS, draw
    )


def _edge_count(overlay: Overlay) -> int:
    return len(overlay.head) + len(overlay.up_head) + len(overlay.down_tail)
