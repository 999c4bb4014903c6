"""Verifications of whole versions: what is intact has no finding, and what has none gives right plans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from planmesh.errors import VersionGone
from planmesh.partition.strategies import Strategy
from planmesh.snapshot.manifest import FORMAT, MANIFEST_NAME, write_manifest
from planmesh.verify import VerifyOptions, find_snapshot, verify
from tests.verify.stored_graph import (
    Arrays,
    Edge,
    StoredGraph,
    checks_of,
    domains_of,
    outcome_of,
    random_edges,
    store_graph,
)

STRATEGIES = [Strategy.DOMAIN, Strategy.HASH, Strategy.MINCUT, Strategy.STREAM]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
async def test_a_loaded_graph_has_no_findings(tmp_path: Path, strategy: Strategy) -> None:
    edges = random_edges(seed=3)
    stored = await store_graph(tmp_path, edges, domains_of(edges), strategy=strategy, partitions=3)
    outcome = outcome_of(stored, pairs=100)
    assert outcome.findings == []
    assert (outcome.ok, outcome.skipped) == (True, [])
    checked = {name: tally.checked for name, tally in outcome.tallies.items()}
    assert list(checked) == [
        *("files", "changes", "directory", "overlay", "partitions", "level 1", "distances", "plain searches", "plans")
    ]
    assert checked["files"] == 6 + len(stored.manifest.partitions)
    assert checked["plans"] == 100
    assert all(checked.values())


@pytest.mark.parametrize("edges", [[], [("a", "b", 0.0)], [("a", "b", 1e-9), ("b", "a", 1e9)]])
async def test_the_smallest_graphs_have_no_findings(tmp_path: Path, edges: list[Edge]) -> None:
    domains = {"a": "left", "b": "right", "lonely": "left"}
    stored = await store_graph(tmp_path, edges, domains, strategy=Strategy.DOMAIN)
    assert outcome_of(stored, pairs=30).findings == []


async def test_a_repaired_snapshot_has_no_findings(stored: StoredGraph) -> None:
    write_manifest(stored.snapshot, stored.manifest.model_copy(update={"repair": "1" * 16}))
    assert outcome_of(stored).findings == []


async def test_a_manifest_of_another_format_is_a_finding(stored: StoredGraph) -> None:
    manifest = stored.snapshot / MANIFEST_NAME
    manifest.write_text(manifest.read_text().replace(f'{{"format":{FORMAT},', f'{{"format":{FORMAT - 1},', 1))
    assert checks_of(outcome_of(stored)) == {("checksum", MANIFEST_NAME, "")}


async def test_a_verification_writes_nothing(stored: StoredGraph) -> None:
    before = {path: path.stat().st_mtime_ns for path in stored.data.rglob("*")}
    assert outcome_of(stored).ok
    assert {path: path.stat().st_mtime_ns for path in stored.data.rglob("*")} == before


async def bridge(tmp_path: Path) -> StoredGraph:
    """Store a graph in which the only path between two domains passes through contracted nodes: it is a shortcut."""
    edges = [("a", "b1", 1.0), ("b1", "b2", 2.0), ("b2", "b3", 3.0), ("b3", "c", 4.0), ("c", "a", 5.0)]
    domains = {"a": "da", "b1": "db", "b2": "db", "b3": "db", "c": "dc"}
    domains |= {
        f"{domain}-{number}": domain for domain in ("da", "db", "dc") for number in range(40)
    }  # small domains would be merged
    return await store_graph(tmp_path / "data", edges, domains, strategy=Strategy.DOMAIN)


def without_shortcuts(arrays: Arrays) -> None:
    """Remove all edges between overlay nodes that are shortcuts."""
    kept = arrays["index.overlay_middle"] < 0
    degree = np.diff(arrays["index.overlay_first_out"])
    owner = np.repeat(np.arange(len(degree)), degree)[kept]
    first = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(degree)))])
    arrays["index.overlay_first_out"] = first.astype(np.int32)
    for name in ("head", "weight", "middle"):
        arrays[f"index.overlay_{name}"] = arrays[f"index.overlay_{name}"][kept]


async def test_a_shortcut_that_was_never_built_is_found_by_its_distance(tmp_path: Path) -> None:
    """As after a contraction that stopped early: file, checksums and overlay agree, but a path is lost."""
    stored = await bridge(tmp_path)
    assert outcome_of(stored).ok
    number = next(entry.number for entry in stored.manifest.partitions if entry.name == "db")
    file = f"partitions/{number:05}"
    stored.change(file, without_shortcuts)
    stored.recount(number, overlay_edges=0)
    stored.rebuild_overlay()
    outcome = outcome_of(stored)
    assert ("distance", file, "db") in checks_of(outcome)
    found = next(finding for finding in outcome.findings if finding.check == "distance")
    assert (found.nodes, found.expected, found.found) == (("b1", "b3"), "a cost of at most 5.0", "no path")
    assert ("plain search", file, "db") in checks_of(outcome)
    assert {finding.check for finding in outcome.findings} == {"distance", "plain search"}
    assert outcome.skipped == ["whole plans: the files that they need have findings"]
    assert ("distance", file, "db") in checks_of(outcome_of(stored, pairs=0, partition=number))


async def test_lost_edges_of_an_upper_level_are_found(tmp_path: Path) -> None:
    """The upper levels lose paths that level 1 still has."""
    stored = await store_graph(tmp_path, random_edges(200, 5), strategy=Strategy.HASH, partitions=8)
    assert outcome_of(stored, pairs=20).ok

    def lose_an_edge(arrays: Arrays) -> None:
        rank, first = arrays["overlay.rank"], arrays["overlay.up_first"]
        node = int(np.argmax(rank))  # contracted last, so shortcuts through it are only between nodes of the core
        edges = slice(int(first[node]), int(first[node + 1]))
        assert edges.start < edges.stop
        first[node + 1 :] -= np.int32(edges.stop - edges.start)
        for name in ("head", "weight", "middle"):
            array = arrays[f"overlay.up_{name}"]
            arrays[f"overlay.up_{name}"] = np.delete(array, edges)

    stored.change("overlay", lose_an_edge)
    outcome = outcome_of(stored, pairs=20)
    assert {finding.file for finding in outcome.findings} == {"overlay"}
    assert {finding.check for finding in outcome.findings} & {"distance", "halves"}


async def test_a_version_that_is_replaced_meanwhile_is_not_damaged(stored: StoredGraph) -> None:
    found = find_snapshot(stored.data, "g")
    stored.snapshot.rename(stored.snapshot.with_name("2"))
    with pytest.raises(VersionGone, match="newer version"):
        verify(found, VerifyOptions(), lambda *_: None)
