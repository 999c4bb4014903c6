"""Every graph in the folder of larger graphs is read and has its known counts."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import pytest

Read = Callable[..., Any]
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "backbone" / "backbone.json.gz"


def test_the_shipped_backbone(read: Read) -> None:
    graph = read(EXAMPLE, cost="latency_ms")
    assert (len(graph.ids), len(graph.edges), graph.undirected) == (3_815, 5_189, True)
    assert set(graph.regions) == {"africa", "asia", "europe", "north_america", "oceania", "south_america"}
    region = dict(zip(graph.ids, graph.regions, strict=True))
    assert sum(region[source] != region[target] for source, target, _ in graph.edges) == 184


@pytest.mark.data
def test_the_packages_of_debian(read: Read, large_graphs: Path) -> None:
    graph = read(
        large_graphs / "debian" / "edges.tsv.gz",
        large_graphs / "debian" / "nodes.tsv.gz",
        source="src",
        target="dst",
        cost="cost_installed_kib_of_dst",
        domain="section",
    )
    assert (len(graph.ids), len(graph.edges), len(set(graph.domains))) == (63_666, 276_340, 58)
    assert graph.node_places[-1] == "line 63667"


@pytest.mark.data
def test_the_roads_of_new_york(read: Read, large_graphs: Path) -> None:
    arcs = large_graphs / "dimacs-ny" / "USA-road-d.NY.gr.gz"
    graph = read(arcs)
    assert (len(graph.ids), len(graph.edges)) == (264_346, 733_846)
    placed = read(arcs, large_graphs / "dimacs-ny" / "USA-road-d.NY.co.gz")
    assert placed.ids == graph.ids
    assert placed.edges == graph.edges


@pytest.mark.data
def test_the_networks_of_the_topology_zoo(read: Read, large_graphs: Path, tmp_path: Path) -> None:
    with tarfile.open(large_graphs / "topology-zoo" / "gml.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    files = sorted(tmp_path.rglob("*.gml"))
    assert len(files) == 276
    for file in files:
        graph = read(file)
        text = file.read_text("utf-8")
        if "multigraph" not in text:  # networkx requires it when edges are parallel
            text = text.replace("graph [", "graph [\n  multigraph 1", 1)
        made = nx.parse_gml(text.splitlines(), label="id")
        assert (len(graph.ids), len(graph.edges)) == (made.number_of_nodes(), made.number_of_edges()), file.name
