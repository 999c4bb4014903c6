"""The partition phase: counts, the build's input, the directory, and warnings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from planmesh.errors import InvalidRequest
from planmesh.partition.strategies import Strategy
from planmesh.snapshot.array_file import open_array_file
from planmesh.snapshot.directory import read_directory
from planmesh.snapshot.manifest import DIRECTORY_NAME
from services.partition.blocking import Abandoned
from services.partition.ingest.options import LoadOptions
from tests.services.partition.small_build import DOMAINS, EDGES, IDS, REGIONS, prepare_small


def test_counts_are_those_of_the_rows(tmp_path: Path) -> None:
    _, prepared = prepare_small(tmp_path, edges=[*EDGES, ("a", "b", 9.0), ("b", "b", 1.0)])
    assert (prepared.node_count, prepared.edge_count) == (5, 6)
    assert (prepared.parallel_edges, prepared.self_loops) == (1, 1)
    assert (prepared.cross_edges, prepared.boundary_nodes, prepared.strategy) == (2, 3, "domain")
    counted = {
        one.name: (one.nodes, one.internal_edges, one.cross_edges_out, one.cross_edges_in, one.entries, one.exits)
        for one in prepared.partitions
    }
    assert counted == {"x": (2, 1, 1, 1, 1, 1), "y": (3, 3, 1, 1, 1, 1)}


def test_the_input_and_the_directory_are_ordered_by_partition(tmp_path: Path) -> None:
    folder, prepared = prepare_small(tmp_path)
    directory = read_directory(open_array_file(folder.snapshot_path / DIRECTORY_NAME))
    nodes = np.arange(5, dtype=np.int32)
    names = directory.names(nodes)
    partitions = [directory.partition_names[number] for number in directory.partition_of_many(nodes).tolist()]
    assert dict(zip(names, partitions, strict=True)) == dict(zip(IDS, DOMAINS, strict=True))
    assert partitions == sorted(partitions, key=directory.partition_names.index)
    assert {directory.names(nodes[n : n + 1])[0]: directory.regions.label(n) for n in range(5)} == dict(
        zip(IDS, REGIONS, strict=True)
    )
    arrays = open_array_file(folder.input_path)
    found = {name: arrays.array(name) for name in ("out_first", "out_head", "out_cost")}
    tails = np.repeat(nodes, np.diff(found["out_first"]))
    edges = zip(tails.tolist(), found["out_head"].tolist(), found["out_cost"].tolist(), strict=True)
    assert sorted((names[tail], names[head], cost) for tail, head, cost in edges) == sorted(EDGES)
    assert prepared.input.bytes == folder.input_path.stat().st_size


def test_nodes_without_edges_cause_a_warning(tmp_path: Path) -> None:
    _, prepared = prepare_small(tmp_path / "few", edges=EDGES[:1])
    assert any(warning.startswith("3 of 5 nodes have no edge") for warning in prepared.warnings)
    _, prepared = prepare_small(tmp_path / "all")
    assert not any("no edge" in warning for warning in prepared.warnings)


def test_more_partitions_than_nodes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        prepare_small(tmp_path, LoadOptions(graph="g", strategy=Strategy.HASH, partitions=6))


def test_a_checkpoint_that_raises_stops_the_phase(tmp_path: Path) -> None:
    calls = 0

    def checkpoint() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Abandoned

    with pytest.raises(Abandoned):
        prepare_small(tmp_path, checkpoint=checkpoint)
    assert calls == 3
    assert not (tmp_path / "input").exists(), "no later step was done"
