from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from planmesh.chaos.catalogue import SCENARIOS
from tests.conftest import ROOT, run_planmesh


def documented(begin: str, end: str) -> list[str]:
    """Return the names in backticks in a section of the page on JSON."""
    page = (ROOT / "docs" / "reference" / "cli-json.md").read_text()
    return re.findall(r"\w+", page.partition("## chaos")[2].partition(begin)[2].partition(end)[0])


def test_the_list_says_what_each_scenario_may_cost() -> None:
    listed = json.loads(run_planmesh("chaos", "--list", "--json").stdout)["scenarios"]
    assert [one["scenario"] for one in listed] == [one.name for one in SCENARIOS]
    for one in listed:
        assert list(one) == documented("`scenarios` (`{", "}`")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--scenario", "kill-everything"), 2, "got kill-everything"),
        (("--scenario", "kill-worker", "--report", "PAGE"), 1, "expected the lines <!-- chaos: begin -->"),
    ],
)
def test_a_wrong_request_is_refused_before_any_fault(
    tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A page without the table\n")
    given = [str(page) if argument == "PAGE" else argument for argument in arguments]
    result = run_planmesh("chaos", *given, code=code)
    assert message in re.sub(r"[│\s]+", " ", result.stderr)
