"""Measurements on the real graphs, every answer checked with plain Dijkstra."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import RunningMesh

pytestmark = [pytest.mark.mesh, pytest.mark.data, pytest.mark.slow, pytest.mark.timeout(900)]

QUERIES = 250
"""Checking takes most of the time: 40 ms per answer on New York's roads."""


def test_debian_packages_by_domain_have_no_mismatch(large_graphs: Path, mesh: RunningMesh) -> None:
    folder = large_graphs / "debian"
    files = (str(folder / "edges.tsv.gz"), "--nodes", str(folder / "nodes.tsv.gz"))
    ends = ("--source-column", "src", "--target-column", "dst", "--cost-column", "cost_installed_kib_of_dst")
    options = ("--undirected", "--strategy", "domain", "--domain-column", "section", "--graph", "debian")
    report = mesh.json("load", *files, *ends, *options)
    assert report["nodes"] == 63_666
    value = mesh.json("measure", "--graph", "debian", "--queries", str(QUERIES), "--check")
    assert (value["mismatches"], value["errors"], value["answered"] + value["no_path"]) == (0, {}, QUERIES)


def test_new_york_by_mincut_has_no_mismatch_and_batches(large_graphs: Path, mesh: RunningMesh) -> None:
    source = large_graphs / "dimacs-ny" / "USA-road-d.NY.gr.gz"
    report = mesh.json("load", str(source), "--strategy", "mincut", "--partitions", "16", "--graph", "new-york")
    assert (report["nodes"], report["partitions"]) == (264_346, 16)
    options = ("--graph", "new-york", "--queries", str(QUERIES), "--concurrency", "64", "--no-cache", "--check")
    value = mesh.json("measure", *options)
    assert (value["mismatches"], value["errors"], value["answered"]) == (0, {}, QUERIES)
    assert value["tasks"] < value["queries"]
