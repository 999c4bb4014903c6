"""Real faults on a real mesh: a few quick ones, and the whole catalogue as the command runs it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from planmesh.chaos.catalogue import SCENARIOS
from planmesh.chaos.judge import Verdict
from planmesh.chaos.report import BEGIN
from planmesh.chaos.runner import RunOptions, run
from tests.conftest import run_planmesh

pytestmark = pytest.mark.mesh

QUICK: Final = ("kill-worker", "forget-redis", "stop-worker", "wrong-bytes", "disk-full", "update-worker")

WINDOW_S: Final = 2.5
"""Length of the quick scenarios. The whole catalogue, which leaves time to recover, judges how soon callers recover."""

CATALOGUE_S_MAX: Final = 1_090


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Verdict]:
    """Run the quick scenarios in sequence on one small mesh, and return their verdicts."""
    chosen = [
        replace(one, lasts_s=min(one.lasts_s, 1.5), bounds=replace(one.bounds, recovery_s_max=WINDOW_S))
        for one in SCENARIOS
        if one.name in QUICK
    ]
    options = RunOptions(nodes=1_000, callers=4, warm_s=0.5, steady_s=1.0)

    async def collect() -> dict[str, Verdict]:
        return {verdict.scenario: verdict async for verdict in run(chosen, options, lambda _name, _what: None)}

    return asyncio.run(collect())


@pytest.mark.parametrize("name", QUICK)
def test_no_plan_is_wrong_and_no_call_fails(verdicts: dict[str, Verdict], name: str) -> None:
    verdict = verdicts[name]
    assert not verdict.skipped
    assert verdict.notes or name == "forget-redis", "the fault did nothing"
    assert verdict.plans > 0
    assert verdict.wrong == 0, verdict.problems
    assert verdict.statuses == {}, verdict.problems


@pytest.mark.long
@pytest.mark.timeout(1_100)
def test_the_whole_catalogue_passes_and_writes_its_page(tmp_path: Path) -> None:
    page = tmp_path / "faults.md"
    done = run_planmesh("chaos", "--json", "--report", str(page), code=None, timeout_s=CATALOGUE_S_MAX)
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["scenario"] for one in verdicts if one["problems"]] == [], done.stderr
    assert {one["scenario"] for one in verdicts} == {one.name for one in SCENARIOS}
    assert sum(one["wrong"] for one in verdicts) == 0
    assert done.returncode == 0
    assert page.read_text().count("| `") == len(SCENARIOS)
    assert BEGIN in page.read_text()
