"""The profile `load`: Locust's agents call the cluster through Envoy."""

from __future__ import annotations

import csv
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.compose.loaded import Loaded

pytestmark = pytest.mark.compose

SECONDS = "15"


@pytest.mark.timeout(900)
def test_locust_calls_through_the_load_balancer(loaded: Loaded, tmp_path: Path) -> None:
    environment = {**loaded.cluster.environment, "LOAD_SECONDS": SECONDS, "LOAD_AGENTS": "16"}
    cluster = replace(loaded.cluster, environment=environment)
    services = ("locust", "locust-worker")
    try:
        cluster.compose("--profile", "load", "up", "--build", "--detach", "--no-deps", *services, timeout_s=600)
        master = cluster.compose("--profile", "load", "ps", "--all", "--quiet", "locust").strip()
        waited = subprocess.run(
            ["docker", "wait", master], capture_output=True, text=True, timeout=float(SECONDS) + 120, check=True
        )
        assert waited.stdout.strip() == "0", cluster.logs(*services)
        cluster.compose("--profile", "load", "cp", "locust:/reports/.", str(tmp_path))
    finally:
        cluster.compose("--profile", "load", "rm", "--stop", "--force", *services)
    with (tmp_path / "load_planmesh.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["Name"]: row for row in csv.DictReader(file)}
    assert int(rows["Plan hot"]["Calls"]) > 100
    assert {row["Failures"] for row in rows.values()} == {"0"}
    assert (tmp_path / "load.html").stat().st_size > 10_000
