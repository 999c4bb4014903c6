"""The programs of examples/, run as a user runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import COMMAND_S_MAX, ROOT, RunningMesh

pytestmark = pytest.mark.mesh


def run_example(name: str, *arguments: str, address: str = "") -> str:
    """What an example prints."""
    result = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *arguments],
        env={**os.environ, "PLANMESH_ADDRESS": address},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=COMMAND_S_MAX,
        check=False,
    )
    assert result.returncode == 0, f"{name}: {result.stdout}{result.stderr}"
    return result.stdout


def test_a_batch_has_a_plan_or_an_error_for_every_pair(mesh: RunningMesh, backbone: Path) -> None:
    mesh.cli("load", str(backbone), "--strategy", "region", "--cost-column", "latency_ms", "--graph", "example-batch")
    printed = run_example("batch.py", "example-batch", address=mesh.address)
    plans = int(re.search(r"^([\d,]+) plans", printed, re.MULTILINE)[1].replace(",", ""))  # type: ignore[index]
    failures = {
        name: int(count.replace(",", ""))
        for count, name in re.findall(r"^([\d,]+) pairs without a plan: (\w+)$", printed, re.MULTILINE)
    }
    assert failures["NodeUnknown"] == 100
    assert set(failures) <= {"NodeUnknown", "NoPath"}
    assert plans + sum(failures.values()) == 10_000


def test_a_graph_of_networkx_gives_the_same_path(mesh: RunningMesh) -> None:
    printed = run_example("networkx_graph.py", address=mesh.address)
    assert "loaded 3,600 nodes and 14,160 edges in 4 partitions" in printed
    planned, found = re.findall(r"^(?:plan|networkx): ([\d.]+) minutes", printed, re.MULTILINE)
    assert planned == found


def test_the_trace_of_a_plan_reaches_the_workers(tmp_path: Path) -> None:
    edges = tmp_path / "edges.csv"
    edges.write_text("source,target,cost\na,b,1\nb,c,2\na,c,9\n")
    printed = run_example("trace.py", "a", "c", str(edges))
    lines = [line.lstrip(" │├└─") for line in printed.splitlines()]
    assert lines[0].startswith("planmesh-cli  planmesh.v1.PlanService/Plan")
    for span in ("planmesh-gateway  planmesh.v1.PlanService/Plan", "planmesh-query-worker  planmesh.item"):
        assert any(line.startswith(span) for line in lines), printed
    assert "cost=3.000" in printed
