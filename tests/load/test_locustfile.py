"""Locust, headless, against a mesh of real processes."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from load.run import run_locust
from tests.conftest import ROOT, RunningMesh

pytestmark = pytest.mark.mesh

GRAPH = "load-test"
SECONDS = 6


@pytest.fixture(scope="module")
def loaded(mesh: RunningMesh, backbone: Path) -> RunningMesh:
    mesh.cli("load", str(backbone), "--graph", GRAPH, "--strategy", "region", "--cost-column", "latency_ms")
    return mesh


def locust(host: str, *options: str) -> list[str]:
    common = ("--headless", "--only-summary", "--loglevel", "WARNING", "--host", host)
    return [sys.executable, "-m", "locust", "-f", str(ROOT / "load" / "locustfile.py"), *common, *options]


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_a_short_run_has_no_failures(loaded: RunningMesh, tmp_path: Path) -> None:
    options = ("--graph", GRAPH, "--shape-users", "6", "--shape-seconds", str(SECONDS), "--agent-rate", "20")
    reports = ("--csv", str(tmp_path / "run"), "--html", str(tmp_path / "run.html"))
    assert run_locust(locust(loaded.address, *options, *reports), SECONDS) == 0

    by_name = {row["Name"]: row for row in rows(tmp_path / "run_stats.csv")}
    assert {"Plan hot", "Plan cold", "GetNeighbors", "Aggregated"} <= set(by_name)
    assert all(row["Failure Count"] == "0" for row in by_name.values())
    assert rows(tmp_path / "run_failures.csv") == []
    assert rows(tmp_path / "run_exceptions.csv") == []

    ours = {row["Name"]: row for row in rows(tmp_path / "run_planmesh.csv")}
    everything = ours["All"]
    assert int(everything["Plans"]) > 0
    assert (everything["Failures"], everything["Refused"], everything["No path"]) == ("0", "0", "0")
    assert 0 < float(ours["Plan hot"]["Cached share"]) <= 1
    assert 0 < float(everything["Cross-partition share"]) <= 1
    plans = ours["Plan hot and cold"]
    assert 0 < float(plans["p50 ms"]) <= float(plans["p95 ms"]) <= float(plans["p99 ms"])
    assert rows(tmp_path / "run_planmesh_statuses.csv") == []
    assert "Cross-partition share" in (tmp_path / "run.html").read_text(encoding="utf-8")


def test_failures_make_the_exit_code(loaded: RunningMesh, backbone: Path, tmp_path: Path) -> None:
    """The graph is removed during the run."""
    graph = "load-test-gone"
    loaded.cli("load", str(backbone), "--graph", graph, "--strategy", "region", "--cost-column", "latency_ms")
    options = ("--graph", graph, "--shape-users", "2", "--shape-seconds", str(SECONDS))
    command = locust(loaded.address, *options, "--csv", str(tmp_path / "run"))
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        while "agents for" not in process.stdout.readline():
            assert process.poll() is None
        loaded.cli("unload", "--graph", graph)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 1, output
    assert "NOT_FOUND GRAPH_UNKNOWN" in {row["Status"] for row in rows(tmp_path / "run_planmesh_statuses.csv")}


@pytest.mark.parametrize(
    ("host", "options", "message"),
    [
        ("192.0.2.1:50051", (), "expected a gateway on this machine"),
        ("", ("--graph", "load-test-never-loaded"), "is not served"),
    ],
)
def test_a_run_that_cannot_begin_says_why(mesh: RunningMesh, host: str, options: tuple[str, ...], message: str) -> None:
    result = subprocess.run(
        locust(host or mesh.address, *options), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode != 0
    assert message in result.stdout + result.stderr
