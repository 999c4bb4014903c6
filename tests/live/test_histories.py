"""A short history on a mesh of processes, a few of which are killed or stopped: `make test-live` runs ten long ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.checker import check
from tests.live.history import OK, read_history
from tests.live.run import SHORT, run

SEED = 17
"""Kills the partition service, the coordinator and the workers, and stops Redis and the gateway."""

pytestmark = [pytest.mark.mesh, pytest.mark.slow]


def test_concurrent_updates_and_plans_under_faults_are_a_history_of_one_graph(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    run(SEED, SHORT, tmp_path / "data", path)
    report = check(read_history(path))
    assert not report.findings, "\n".join(map(str, report.findings[:10]))
    for kind in ("plan", "many", "matrix", "update"):
        assert report.outcomes[f"{kind} {OK}"] > 0, report.outcomes
