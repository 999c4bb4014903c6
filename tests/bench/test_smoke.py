from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.subjects.neo4j_gds import fetched

ROOT = Path(__file__).resolve().parent.parent.parent
SUBJECTS = "planmesh-search,planmesh-mesh,networkx,neo4j-gds"
SMOKE_S_MAX = 280


@pytest.mark.slow
@pytest.mark.mesh
def test_a_small_run_measures_reports_and_resumes(tmp_path: Path) -> None:
    def bench(*more: str) -> str:
        command = [sys.executable, "-m", "bench", "--size", "smoke", "--build", str(tmp_path), *more]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SMOKE_S_MAX, check=False)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    bench("--graphs", "service-1k", "--subjects", SUBJECTS)
    rows = json.loads((tmp_path / "results.json").read_text("utf-8"))
    names = {row["subject"] for row in rows}
    there = {"neo4j-gds"} if fetched() else set()
    assert names == {"planmesh-search", "planmesh-mesh", "planmesh-mesh-cached", "networkx"} | there
    assert all(row["exact"] and row["checked"] >= 5 and row["load_s"] > 0 and row["memory_mb"] > 0 for row in rows)
    report = (tmp_path / "report" / "README.md").read_text("utf-8")
    assert there or "| neo4j-gds | service-1k |" in report, "the report names a missing peer and the reason"
    assert "50 agents at once" in report
    assert "| restart |" in report

    output = bench("--graphs", "service-1k", "--subjects", f"{SUBJECTS},scipy")
    assert "load scipy" in output
    assert "load networkx" not in output
    assert {row["subject"] for row in json.loads((tmp_path / "results.json").read_text("utf-8"))} == names | {"scipy"}
