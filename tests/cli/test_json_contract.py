"""The output of `--json` follows docs/reference/cli-json.md, checked on a real mesh."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, RunningMesh, run_planmesh

pytestmark = pytest.mark.mesh

GRAPH = "cli-contract"

PLAN_FIELDS = ["graph", "version", "start", "goal", "cost", "steps", "partitions", "cached", "trace_id"]
COST_FIELDS = ["graph", "version", "start", "goal", "cost", "partitions", "cached", "trace_id"]
NODES_FIELDS = [
    *("graph", "version", "start", "goal", "cost", "nodes", "step_costs", "partition_runs", "partitions", "cached"),
    "trace_id",
]
STEP_FIELDS = ["source", "target", "cost", "source_partition", "target_partition"]
EXPLANATION_FIELDS = [
    *("total_ms", "phases", "tasks", "batch_sizes", "retries", "hedges", "settled_nodes", "unmerged_changes"),
    "opened_partitions",
]
LOAD_FIELDS = [
    *("graph", "version", "nodes", "edges", "parallel_edges", "self_loops", "partitions", "cross_edges"),
    *("cross_edge_share", "boundary_nodes", "seconds", "warnings"),
]
MEASURE_FIELDS = [
    *("graph", "queries", "concurrency", "answered", "no_path", "errors", "mismatches", "latency_ms", "floor_ms"),
    *("plans_per_second", "floor_per_second", "cross_partition_share", "cache_hit_rate", "tasks", "seed", "detail"),
]

VERIFY_FIELDS = [
    *("graph", "version", "snapshot", "rows", "partition", "pairs", "seed", "ok", "checks", "findings"),
    *("findings_total", "skipped", "seconds"),
]
FINDING_FIELDS = ["file", "partition", "check", "count", "nodes", "expected", "found", "advice"]
VERIFY_CHECKS = [
    *("files", "changes", "directory", "overlay", "partitions", "level 1", "distances", "plain searches", "plans"),
]


@pytest.fixture(scope="module")
def loaded(mesh: RunningMesh, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Load two domains of a small directed graph, with a parallel edge, a self-loop and an unreachable node."""
    folder = tmp_path_factory.mktemp("graph")
    nodes = ["id\tdomain", *(f"a{number}\tleft" for number in range(8)), *(f"b{number}\tright" for number in range(8))]
    edges = ["source\ttarget\tcost"]
    for letter in "ab":
        edges += [f"{letter}{number}\t{letter}{number + 1}\t1" for number in range(7)]
        edges += [f"{letter}7\t{letter}0\t2"]
    edges += ["a3\tb0\t5", "a3\tb0\t7", "b4\ta0\t3", "a1\ta1\t9"]
    nodes.append("lonely\tleft")
    (folder / "nodes.tsv").write_text("\n".join(nodes) + "\n")
    (folder / "edges.tsv").write_text("\n".join(edges) + "\n")
    source = (str(folder / "edges.tsv"), "--nodes", str(folder / "nodes.tsv"))
    value: dict[str, Any] = mesh.json("load", *source, "--strategy", "domain", "--partitions", "2", "--graph", GRAPH)
    return value


def test_load(loaded: dict[str, Any]) -> None:
    assert list(loaded) == LOAD_FIELDS
    assert loaded["graph"] == GRAPH
    assert (loaded["nodes"], loaded["edges"]) == (17, 18)
    assert (loaded["parallel_edges"], loaded["self_loops"]) == (1, 1)
    assert list(loaded["seconds"]) == ["read", "partition", "index", "overlay", "publish"]
    assert loaded["cross_edge_share"] == pytest.approx(loaded["cross_edges"] / loaded["edges"])


def test_plan(mesh: RunningMesh, loaded: dict[str, Any]) -> None:
    plan = mesh.json("plan", "a0", "b2", "--graph", GRAPH)
    assert list(plan) == PLAN_FIELDS
    assert all(list(step) == STEP_FIELDS for step in plan["steps"])
    assert (plan["graph"], plan["version"]) == (GRAPH, loaded["version"])
    assert plan["cost"] == 3 + 5 + 2 == sum(step["cost"] for step in plan["steps"])
    assert [step["target"] for step in plan["steps"]] == ["a1", "a2", "a3", "b0", "b1", "b2"]
    assert plan["partitions"] == list(dict.fromkeys([plan["steps"][0]["source_partition"], *partitions_of(plan)]))
    assert re.fullmatch(r"[0-9a-f]{32}", plan["trace_id"])


def partitions_of(plan: dict[str, Any]) -> list[str]:
    return [step["target_partition"] for step in plan["steps"]]


def test_plan_of_each_detail(mesh: RunningMesh, loaded: dict[str, Any]) -> None:
    arguments = ("plan", "a0", "b2", "--graph", GRAPH, "--detail")
    cost, nodes, steps = (mesh.json(*arguments, detail) for detail in ("cost", "nodes", "steps"))
    assert list(cost) == COST_FIELDS
    assert list(nodes) == NODES_FIELDS
    assert list(steps) == PLAN_FIELDS
    assert cost["cost"] == nodes["cost"] == steps["cost"] == 10
    assert cost["partitions"] == nodes["partitions"] == steps["partitions"]
    assert nodes["nodes"] == ["a0", "a1", "a2", "a3", "b0", "b1", "b2"]
    assert nodes["step_costs"] == [1.0, 1.0, 1.0, 5.0, 1.0, 1.0]
    left, right = steps["partitions"]
    assert nodes["partition_runs"] == [{"partition": left, "nodes": 4}, {"partition": right, "nodes": 3}]
    assert mesh.cli(*arguments, "cost").stdout.startswith(f"a0 → b2: cost 10 through {left} → {right}\n")
    assert "in 6 steps" in mesh.cli(*arguments, "nodes").stdout
    assert "cost" in mesh.cli(*arguments, "all", code=2).stderr


def test_pairs_of_each_detail(mesh: RunningMesh, loaded: dict[str, Any]) -> None:
    arguments = ("plan", "--pairs", "-", "--graph", GRAPH, "--detail")
    for detail, fields in (("cost", COST_FIELDS), ("nodes", NODES_FIELDS), ("steps", PLAN_FIELDS)):
        lines = mesh.cli(*arguments, detail, stdin="a0\tb2\na0\ta0\n").stdout.splitlines()
        first, second = map(json.loads, lines)
        assert list(first) == list(second) == fields
        assert (first["cost"], second["cost"]) == (10.0, 0.0)


def test_plan_explained(mesh: RunningMesh, loaded: dict[str, Any]) -> None:
    plan = mesh.json("plan", "a0", "b2", "--graph", GRAPH, "--explain", "--no-cache")
    assert list(plan) == [*PLAN_FIELDS, "explanation"]
    explanation = plan["explanation"]
    assert list(explanation) == EXPLANATION_FIELDS
    assert all(list(phase) == ["name", "duration_ms", "settled_nodes", "tasks"] for phase in explanation["phases"])
    assert explanation["tasks"] >= 1


def test_matrix(mesh: RunningMesh, loaded: dict[str, Any], tmp_path: Path) -> None:
    targets = tmp_path / "targets.txt"
    targets.write_text("b2\nlonely\n\na0\n")
    found = mesh.json("matrix", "a0,b2", f"@{targets}", "--graph", GRAPH)
    assert list(found) == ["graph", "version", "sources", "targets", "costs", "trace_id"]
    assert (found["graph"], found["version"]) == (GRAPH, loaded["version"])
    assert (found["sources"], found["targets"]) == (["a0", "b2"], ["b2", "lonely", "a0"])
    assert found["costs"] == [[10.0, None, 0.0], [0.0, None, 5.0]]
    assert re.fullmatch(r"[0-9a-f]{32}", found["trace_id"])
    text = mesh.cli("matrix", "a0,b2", f"@{targets}", "--graph", GRAPH).stdout
    assert text == "\tb2\tlonely\ta0\na0\t10\t-\t0\nb2\t0\t-\t5\n"
    assert "cannot read" in mesh.cli("matrix", "a0", "@/nowhere/x.txt", code=2).stderr
    assert "for both" in mesh.cli("matrix", "@-", "@-", code=2).stderr


def test_start_is_goal(mesh: RunningMesh, loaded: dict[str, Any]) -> None:
    plan = mesh.json("plan", "a0", "a0", "--graph", GRAPH)
    assert (plan["cost"], plan["steps"]) == (0.0, [])


def test_a_repeated_plan_comes_from_the_cache(mesh: RunningMesh, loaded: dict[str, Any]) -> None:
    mesh.json("plan", "a2", "b5", "--graph", GRAPH)
    assert mesh.json("plan", "a2", "b5", "--graph", GRAPH)["cached"] is True


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("plan", "a0", "nowhere", "--graph", GRAPH), "NOT_FOUND", "NODE_UNKNOWN"),
        (("plan", "a0", "lonely", "--graph", GRAPH), "NOT_FOUND", "NO_PATH"),
        (("plan", "a0", "b0", "--graph", "no-such-graph"), "NOT_FOUND", "GRAPH_UNKNOWN"),
        (("unload", "--graph", "no-such-graph"), "NOT_FOUND", "GRAPH_UNKNOWN"),
        (("plan", "a0", "b3", "--graph", GRAPH, "--no-cache", "--timeout", "0.001"), "DEADLINE_EXCEEDED", None),
        (("status", "--address", "127.0.0.1:1", "--timeout", "2"), "UNAVAILABLE", None),
    ],
)
def test_failures(
    mesh: RunningMesh, loaded: dict[str, Any], arguments: tuple[str, ...], code: str, reason: str
) -> None:
    result = mesh.cli(*arguments, "--json", code=1)
    error = json.loads(result.stdout)["error"]
    assert list(error) == ["code", "reason", "message", "metadata"]
    assert error["code"] == code
    assert reason is None or error["reason"] == reason
    assert "Traceback" not in result.stderr


def test_failures_without_json_are_one_line_on_standard_error(mesh: RunningMesh, loaded: dict[str, Any]) -> None:
    result = mesh.cli("plan", "a0", "lonely", "--graph", GRAPH, code=1)
    assert result.stdout == ""
    assert result.stderr == "error: no path leads from 'a0' to 'lonely'\n"


def test_pairs_are_answered_in_order(mesh: RunningMesh, loaded: dict[str, Any], tmp_path: Path) -> None:
    names = [f"{letter}{number}" for letter in "ab" for number in range(8)]
    pairs = [(start, goal) for start in names for goal in names] * 5
    file = tmp_path / "pairs.tsv"
    file.write_text("".join(f"{start}\t{goal}\n" for start, goal in pairs))
    lines = [json.loads(line) for line in mesh.cli("plan", "--pairs", str(file), "--graph", GRAPH).stdout.splitlines()]
    assert [(line["start"], line["goal"]) for line in lines] == pairs
    assert all(list(line) == PLAN_FIELDS for line in lines)


def test_a_failing_pair_stands_in_its_place(mesh: RunningMesh, loaded: dict[str, Any]) -> None:
    arguments = ("plan", "--pairs", "-", "--graph", GRAPH)
    result = mesh.cli(*arguments, stdin="a0\ta1\na0\tnowhere\na0\tlonely\n", code=1)
    good, unknown, unreachable = map(json.loads, result.stdout.splitlines())
    assert list(good) == PLAN_FIELDS
    assert list(unknown) == list(unreachable) == ["start", "goal", "error"]
    assert list(unknown["error"]) == ["code", "reason", "message", "metadata"]
    assert (unknown["error"]["reason"], unreachable["error"]["reason"]) == ("NODE_UNKNOWN", "NO_PATH")
    assert mesh.cli(*arguments, stdin="a0\tlonely\n", code=0).stdout.count("NO_PATH") == 1


def test_a_bad_line_of_pairs_is_named(mesh: RunningMesh, loaded: dict[str, Any]) -> None:
    result = mesh.cli("plan", "--pairs", "-", "--graph", GRAPH, stdin="a0\ta1\na0\n", code=1)
    assert "line 2: expected START, a tab and GOAL, got 'a0'" in result.stderr


def test_measure(mesh: RunningMesh, loaded: dict[str, Any]) -> None:
    options = ("--graph", GRAPH, "--queries", "60", "--concurrency", "4", "--seed", "7", "--check", "--no-cache")
    value = mesh.json("measure", *options)
    assert list(value) == MEASURE_FIELDS
    assert (value["queries"], value["concurrency"], value["seed"]) == (60, 4, 7)
    assert value["answered"] + value["no_path"] == 60
    assert (value["mismatches"], value["errors"]) == (0, {})
    for name in ("latency_ms", "floor_ms"):
        assert list(value[name]) == ["p50", "p95", "p99", "max"]
        assert 0 < value[name]["p50"] <= value[name]["p95"] <= value[name]["p99"] <= value[name]["max"]
    assert all(0 <= value[name] <= 1 for name in ("cross_partition_share", "cache_hit_rate"))
    assert value["tasks"] > 0
    unchecked = mesh.json("measure", "--graph", GRAPH, "--queries", "5", "--concurrency", "1")
    assert (unchecked["mismatches"], unchecked["detail"]) == (None, "steps")
    for detail in ("cost", "nodes"):
        small = mesh.json("measure", "--graph", GRAPH, "--queries", "30", "--detail", detail, "--check", "--no-cache")
        assert (small["mismatches"], small["errors"], small["detail"]) == (0, {}, detail)
    refused = mesh.cli("measure", "--graph", GRAPH, "--detail", "cost", "--store", "embedded:x", code=2).stderr
    assert "expected steps with --store" in " ".join(refused.split())


def test_measure_takes_pairs_from_a_file(mesh: RunningMesh, loaded: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "pairs.tsv"
    file.write_text("a0\tb0\na0\tlonely\n")
    value = mesh.json("measure", "--graph", GRAPH, "--pairs", str(file), "--check")
    assert (value["queries"], value["answered"], value["no_path"], value["seed"]) == (2, 1, 1, None)
    assert value["mismatches"] == 0


def test_verify(mesh: RunningMesh, loaded: dict[str, Any]) -> None:
    options = ("--data", mesh.ready["data"], "--graph", GRAPH, "--pairs", "50")
    value = mesh.json("verify", *options)
    assert list(value) == VERIFY_FIELDS
    assert (value["graph"], value["version"], value["partition"]) == (GRAPH, loaded["version"], None)
    assert (value["ok"], value["findings"], value["findings_total"], value["skipped"]) == (True, [], 0, [])
    assert [check["name"] for check in value["checks"]] == VERIFY_CHECKS
    assert all(list(check) == ["name", "unit", "checked", "findings", "seconds"] for check in value["checks"])
    assert mesh.json("verify", *options, "--partition", "left")["partition"] == "left"


def test_verify_finds_a_damaged_file(mesh: RunningMesh, loaded: dict[str, Any], tmp_path: Path) -> None:
    copy = tmp_path / "data"
    shutil.copytree(Path(mesh.ready["data"]) / "store", copy)
    (copy / "snapshots" / GRAPH / str(loaded["version"]) / "partitions" / "00001").unlink()
    value = mesh.json("verify", "--data", str(copy), "--graph", GRAPH, code=1)
    assert list(value) == VERIFY_FIELDS
    assert [list(finding) for finding in value["findings"]] == [FINDING_FIELDS]
    assert (value["findings"][0]["file"], value["findings"][0]["check"]) == ("partitions/00001", "missing")


def test_neighbors(mesh: RunningMesh, loaded: dict[str, Any]) -> None:
    value = mesh.json("neighbors", "a3", "--depth", "2", "--direction", "out", "--graph", GRAPH)
    assert list(value) == ["graph", "version", "node", "depth", "direction", "neighbors", "trace_id"]
    found = {item["node"]: (item["hops"], item["cost"]) for item in value["neighbors"]}
    assert found == {"a4": (1, 1.0), "b0": (1, 5.0), "a5": (2, 2.0), "b1": (2, 6.0)}
    assert all(list(item) == ["node", "hops", "cost", "partition"] for item in value["neighbors"])


def test_partitions(mesh: RunningMesh, loaded: dict[str, Any]) -> None:
    value = mesh.json("partitions", "--graph", GRAPH)
    assert list(value) == ["graph", "version", "partitions"]
    assert len(value["partitions"]) == loaded["partitions"]
    assert sum(item["nodes"] for item in value["partitions"]) == loaded["nodes"]
    assert sum(item["cross_edges_out"] for item in value["partitions"]) == loaded["cross_edges"]


def test_status(mesh: RunningMesh, loaded: dict[str, Any]) -> None:
    value = mesh.json("status", "--data", mesh.ready["data"])
    assert value["ready"] is True
    assert {process["name"] for process in value["processes"]} >= {
        "gateway",
        "coordinator",
        "partition",
        "redis",
        "workers",
    }
    assert all(process["up"] for process in value["processes"])
    described = next(graph for graph in value["graphs"] if graph["name"] == GRAPH)
    assert (described["state"], described["nodes"], described["loading"]) == ("serving", loaded["nodes"], None)
    assert {process["name"] for process in value["local_processes"]} == {p["name"] for p in mesh.ready["processes"]}
    assert all(process["running"] for process in value["local_processes"])
    assert value["counters"]["plans"] >= 1


def test_up(mesh: RunningMesh) -> None:
    fields = ["address", "coordinator", "partition", "redis", "data", "logs", "workers", "shards", "processes"]
    assert list(mesh.ready) == fields


def test_a_bad_row_is_named_and_what_was_served_stays(
    mesh: RunningMesh, loaded: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "edges.csv"
    file.write_text("source,target,cost\nx,y,1\ny,z,-2\n")
    error = mesh.json("load", str(file), "--graph", GRAPH, code=1)["error"]
    assert (error["code"], error["reason"]) == ("INVALID_ARGUMENT", "INVALID_GRAPH")
    assert {name: error["metadata"][name] for name in ("source", "record", "field")} == {
        "source": "edges.csv",
        "record": "line 3",
        "field": "cost",
    }
    assert mesh.json("plan", "a0", "b0", "--graph", GRAPH)["version"] == loaded["version"]


def test_unload(mesh: RunningMesh, tmp_path: Path) -> None:
    file = tmp_path / "edges.csv"
    file.write_text("source,target\nx,y\n")
    assert mesh.json("load", str(file), "--graph", "short-lived")["nodes"] == 2
    assert mesh.json("unload", "--graph", "short-lived") == {"graph": "short-lived", "unloaded": True}
    assert mesh.json("plan", "x", "y", "--graph", "short-lived", code=1)["error"]["reason"] == "GRAPH_UNKNOWN"


def test_generate_and_load(mesh: RunningMesh, tmp_path: Path) -> None:
    out = tmp_path / "grid.tsv.gz"
    value = mesh.json("generate", "grid", "--nodes", "400", "--seed", "3", "--out", str(out))
    assert list(value) == ["kind", "nodes", "edges", "seed", "files"]
    nodes = [option for file in value["files"] if file != str(out) for option in ("--nodes", file)]
    report = mesh.json("load", str(out), *nodes, "--strategy", "mincut", "--partitions", "4", "--graph", "grid")
    assert report["nodes"] == value["nodes"]
    assert report["edges"] + report["parallel_edges"] + report["self_loops"] == value["edges"]
    assert mesh.json("measure", "--graph", "grid", "--queries", "40", "--check")["mismatches"] == 0


def test_version() -> None:
    assert list(json.loads(run_planmesh("version", "--json").stdout)) == ["planmesh", "python"]


def test_the_backbone_is_planned_across_three_regions(mesh: RunningMesh, backbone: Path) -> None:
    options = ("--strategy", "region", "--cost-column", "latency_ms", "--graph", "backbone")
    report = mesh.json("load", str(backbone), *options)
    assert (report["nodes"], report["edges"], report["partitions"]) == (3815, 10378, 6)
    plan = mesh.json("plan", "Reykjavík", "Wellington", "--graph", "backbone")
    assert len(plan["partitions"]) >= 3
    assert math.isclose(plan["cost"], sum(step["cost"] for step in plan["steps"]), rel_tol=1e-9)


def test_the_page_names_every_field() -> None:
    page = (ROOT / "docs" / "reference" / "cli-json.md").read_text()
    fields = (*PLAN_FIELDS, *STEP_FIELDS, *EXPLANATION_FIELDS, *LOAD_FIELDS, *MEASURE_FIELDS)
    for field in (*fields, *VERIFY_FIELDS, *FINDING_FIELDS, *VERIFY_CHECKS):
        assert field in page, field
