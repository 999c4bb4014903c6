from __future__ import annotations

import math
from pathlib import Path

import pytest

from planmesh.chaos.judge import Verdict
from planmesh.chaos.report import BEGIN, END, row, verdict_object, write_report
from planmesh.chaos.runner import RunOptions
from planmesh.chaos.scenario import Bounds, Fault, Scenario
from planmesh.errors import InvalidRequest

ORDER = ["first", "second"]


def scenario(name: str) -> Scenario:
    return Scenario(name, f"what {name} does", Fault, Bounds(failed_share_max=0.25, recovery_s_max=6.0))


def verdict(name: str, **fields: object) -> Verdict:
    made = Verdict(name, plans=1_000, plans_per_s=100.0, p50_ms=8.0)
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def write(page: Path, *verdicts: Verdict) -> list[str]:
    write_report(page, [(one, scenario(one.scenario)) for one in verdicts], ORDER, RunOptions(), "a machine")
    return [line for line in page.read_text().splitlines() if line.startswith("| `")]


def test_a_new_page_is_created_and_rows_of_other_runs_stay(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    (old,) = write(page, verdict("second"))
    first, second = write(page, verdict("first", problems=["a wrong plan"]))
    assert second == old
    assert first.endswith("| failed |")
    (first, _) = write(page, verdict("first"))
    assert first.endswith("| passed |")


def test_text_around_the_table_is_kept(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\nbefore\n{BEGIN}\nold\n{END}\nafter\n")
    write(page, verdict("first"))
    assert page.read_text().startswith("# Title\n\nbefore\n" + BEGIN)
    assert page.read_text().endswith(END + "\nafter\n")
    assert "old" not in page.read_text()


def test_a_page_without_the_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n")
    with pytest.raises(InvalidRequest, match="expected the lines"):
        write(page, verdict("first"))
    assert page.read_text() == "# Title\n"


def test_a_row_says_what_callers_saw() -> None:
    felt = verdict("first", calls_in_window=400, failed_in_window=10, statuses={"UNAVAILABLE": 10}, recovery_s=2.5)
    assert row(felt, scenario("first")) == (
        "| `first` | what first does | 100 plans/s, 8 ms | ≤ 25% failed, steady within 6 s "
        "| 1,000 plans, none wrong; 10 UNAVAILABLE (2.5% of the window's 400 calls) | 2.5 s | passed |"
    )


def test_an_object_has_no_infinity_and_no_empty_words() -> None:
    value = verdict_object(verdict("first", recovery_s=math.inf, skipped=""), scenario("first"))
    assert (value["recovery_s"], value["skipped"], value["passed"]) == (None, None, True)
