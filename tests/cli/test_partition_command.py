"""`planmesh partition compare`: its JSON contract, its figures on real graphs, and `load --strategy stream`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from planmesh.partition.edge_cuts import EdgeStrategy
from planmesh.partition.strategies import Strategy
from tests.conftest import ROOT, RunningMesh, run_planmesh

COMPARISON_FIELDS = [
    *("source", "nodes", "edges", "partitions", "seed", "strategies", "edge_strategies", "skipped", "plot"),
]
STRATEGY_FIELDS = [
    *("strategy", "partitions", "cross_edges", "cross_edge_share", "boundary_nodes", "boundary_share", "balance"),
    *("index_bytes", "overlay_nodes", "overlay_edges", "settled_nodes", "pairs", "connected_pairs"),
    *("sampled_partitions", "sampled_nodes", "whole", "seconds", "warnings"),
]
EDGE_STRATEGY_FIELDS = [
    *("strategy", "partitions", "replication_factor", "cut_nodes", "cut_share", "balance", "seconds"),
]
COMPARE_S_MAX = 900


def compare(*arguments: str) -> dict[str, Any]:
    result = run_planmesh("partition", "compare", *arguments, "--json", timeout_s=COMPARE_S_MAX)
    value: dict[str, Any] = json.loads(result.stdout)
    return value


def by_name(value: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {figures["strategy"]: figures for figures in value["strategies"]}


def figures_alone(value: dict[str, Any]) -> list[dict[str, Any]]:
    """Return everything except the times."""
    rows = [*value["strategies"], *value["edge_strategies"]]
    return [{name: figure for name, figure in row.items() if name != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def backbone_value(backbone: Path) -> dict[str, Any]:
    return compare(str(backbone), "--cost-column", "latency_ms", "--pairs", "50")


def test_the_contract(backbone_value: dict[str, Any], backbone: Path) -> None:
    value = backbone_value
    assert list(value) == COMPARISON_FIELDS
    assert (value["nodes"], value["edges"], value["source"]) == (3815, 10378, str(backbone))
    assert (value["partitions"], value["seed"], value["plot"]) == (0, 1, None)
    assert list(by_name(value)) == ["region", "hash", "mincut", "stream"]
    for figures in value["strategies"]:
        assert list(figures) == STRATEGY_FIELDS
        assert list(figures["settled_nodes"]) == ["mean", "p50", "p95"]
        assert list(figures["seconds"]) == ["partition", "index", "overlay"]
        assert figures["whole"]
        assert figures["sampled_nodes"] == value["nodes"]
        assert figures["overlay_nodes"] >= figures["boundary_nodes"]
        assert figures["cross_edge_share"] == pytest.approx(figures["cross_edges"] / value["edges"])
    assert [figures["strategy"] for figures in value["edge_strategies"]] == list(EdgeStrategy)
    for figures in value["edge_strategies"]:
        assert list(figures) == EDGE_STRATEGY_FIELDS
        assert 1 <= figures["replication_factor"] <= figures["partitions"]
    assert value["skipped"] == [
        {"strategy": "domain", "reason": "no node has a domain"},
        {"strategy": "hybrid", "reason": "no node has a domain"},
    ]


def test_the_backbone_in_figures(backbone_value: dict[str, Any]) -> None:
    rows = by_name(backbone_value)
    assert rows["mincut"]["cross_edge_share"] < rows["stream"]["cross_edge_share"] < rows["hash"]["cross_edge_share"]
    assert rows["stream"]["balance"] <= 1.1
    assert rows["hash"]["settled_nodes"]["mean"] > rows["mincut"]["settled_nodes"]["mean"]


def test_figures_are_the_same_every_time(backbone_value: dict[str, Any], backbone: Path) -> None:
    again = compare(str(backbone), "--cost-column", "latency_ms", "--pairs", "50")
    assert figures_alone(again) == figures_alone(backbone_value)


def test_chosen_strategies_a_sample_and_a_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    edges, picture = tmp_path / "grid.tsv", tmp_path / "grid.svg"
    run_planmesh("generate", "grid", "--nodes", "4000", "--out", str(edges))
    options = ("--strategies", "stream, mincut,edge-hash-2d", "--partitions", "16", "--sample-nodes", "1000")
    value = compare(str(edges), *options, "--plot", str(picture))
    assert list(by_name(value)) == ["stream", "mincut"]
    assert [figures["strategy"] for figures in value["edge_strategies"]] == ["edge-hash-2d"]
    assert value["plot"] == str(picture)
    assert picture.read_text().startswith("<?xml")
    for figures in value["strategies"]:
        assert figures["partitions"] == 16
        assert not figures["whole"]
        assert figures["sampled_nodes"] <= 1000


def test_the_table_says_how_it_was_measured(tmp_path: Path) -> None:
    edges = tmp_path / "grid.tsv"
    run_planmesh("generate", "grid", "--nodes", "4000", "--out", str(edges))
    options = ("--strategies", "mincut,edge-hash-1d", "--partitions", "16", "--sample-nodes", "1000")
    result = run_planmesh("partition", "compare", str(edges), *options, "--plot", str(tmp_path / "a.png"))
    assert "mincut\t16\t" in result.stdout
    assert "edge-hash-1d\t16\t" in result.stdout
    assert "sizes scaled" in result.stderr
    assert str(tmp_path / "a.png") in result.stdout


def test_help_has_an_example_and_json() -> None:
    text = run_planmesh("partition", "compare", "--help").stdout
    assert "Example: planmesh partition compare" in text
    assert "--json" in text
    assert "compare" in run_planmesh("partition", "--help").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("partition", "compare"),
        ("partition", "compare", "no-such-file.csv"),
        ("partition", "compare", "README.md", "--strategies", "best"),
        ("partition", "compare", "README.md", "--plot", "picture.txt"),
        ("partition", "compare", "README.md", "--pairs", "0"),
    ],
)
def test_usage_errors(arguments: tuple[str, ...]) -> None:
    result = run_planmesh(*arguments, code=2)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_a_bad_graph_is_an_error_object(tmp_path: Path) -> None:
    (tmp_path / "bad.tsv").write_text("source\ttarget\tcost\na\tb\t-1\n")
    result = run_planmesh("partition", "compare", str(tmp_path / "bad.tsv"), "--json", code=1)
    assert json.loads(result.stdout)["error"]["metadata"]["record"] == "line 2"


def test_the_page_names_every_field() -> None:
    page = (ROOT / "docs" / "reference" / "cli-json.md").read_text()
    assert "## partition compare" in page
    for field in (*COMPARISON_FIELDS, *STRATEGY_FIELDS, *EDGE_STRATEGY_FIELDS):
        assert f"`{field}`" in page, field


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.timeout(COMPARE_S_MAX)
def test_new_york(large_graphs: Path) -> None:
    """A cut of New York's streets by stream costs little, one by hash a lot."""
    value = compare(str(large_graphs / "dimacs-ny" / "USA-road-d.NY.gr.gz"), "--pairs", "20")
    rows = by_name(value)
    assert list(rows) == ["hash", "mincut", "stream"]
    assert rows["hash"]["cross_edge_share"] > 0.9
    assert rows["stream"]["cross_edge_share"] < 0.06
    assert rows["mincut"]["cross_edge_share"] < 0.005
    assert rows["stream"]["balance"] <= 1.1
    assert (
        rows["mincut"]["settled_nodes"]["mean"]
        < rows["stream"]["settled_nodes"]["mean"]
        < rows["hash"]["settled_nodes"]["mean"] / 2
    )


@pytest.mark.mesh
def test_a_load_by_stream_answers_exactly(mesh: RunningMesh, tmp_path: Path) -> None:
    edges = tmp_path / "service.tsv.gz"
    value = mesh.json("generate", "service", "--nodes", "3000", "--out", str(edges))
    nodes = [option for file in value["files"] if file != str(edges) for option in ("--nodes", file)]
    source = (str(edges), *nodes, "--partitions", "6", "--graph", "streamed")
    report = mesh.json("load", *source, "--strategy", Strategy.STREAM.value)
    assert report["partitions"] == 6
    names = [item["name"] for item in mesh.json("partitions", "--graph", "streamed")["partitions"]]
    assert sorted(names) == [f"stream.{number}" for number in range(1, 7)]
    assert mesh.json("measure", "--graph", "streamed", "--queries", "60", "--check")["mismatches"] == 0
    warnings = mesh.json("load", *source, "--strategy", "hash")["warnings"]
    assert any(
        "of the edges cross partitions" in warning and "tried on this graph, cuts" in warning for warning in warnings
    )
