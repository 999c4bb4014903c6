from __future__ import annotations

import re
from collections import Counter

from planmesh.chaos.catalogue import SCENARIOS
from planmesh.chaos.report import BEGIN, END, felt_text
from tests.conftest import ROOT


def test_scenarios_have_unique_names_and_bounds_that_can_be_judged() -> None:
    assert [name for name, count in Counter(one.name for one in SCENARIOS).items() if count > 1] == []
    for one in SCENARIOS:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)+", one.name)
        assert one.bounds.recovery_s_max > one.lasts_s, f"{one.name}: the fault lasts longer than its bound of recovery"


def test_the_page_lists_passed_scenarios_as_declared() -> None:
    page = (ROOT / "docs" / "operations" / "reliability.md").read_text()
    table = page.partition(BEGIN)[2].partition(END)[0]
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*?) \| .*? \| (.*?) \|.*\| (\w+) \|$", table, re.MULTILINE)
    seen = {name for name, *_ in rows}
    declared = [(one.name, one.about, felt_text(one), "passed") for one in SCENARIOS if one.name in seen]
    assert len(rows) > len(SCENARIOS) / 2
    assert rows == declared, "run `planmesh chaos --report docs/operations/reliability.md`"
