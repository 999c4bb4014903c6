"""The figures as text, CSV and HTML."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from load.report import COLUMNS, add_to_html, summary, write_csv
from load.tally import Outcome, Tally


@pytest.fixture
def tally() -> Tally:
    filled = Tally()
    for second in range(10):
        filled.count("Plan hot", 100 + second, 4.0, Outcome(plans=1, cached=1))
        filled.count("Plan cold", 100 + second, 8.0, Outcome(plans=1, crossed=1))
    filled.count("PlanMany", 109, 50.0, Outcome(plans=20, cached=10, crossed=5, no_path=1))
    filled.count("Plan cold", 109, 1.0, Outcome(refused=1))
    filled.count_status("RESOURCE_EXHAUSTED OVERLOADED", "too <many>")
    return filled


def test_the_summary_has_every_figure(tally: Tally) -> None:
    text = summary(tally)
    for expected in (
        "plans          40 in 9.0 s",
        "p50 ",
        "p95 ",
        "p99 ",
        "cache hits     50.0%",
        "crossed        37.5%",
    ):
        assert expected in text
    for expected in (
        "no path        1",
        "refused        1",
        "failures       0",
        "1 RESOURCE_EXHAUSTED OVERLOADED: too <many>",
    ):
        assert expected in text


def test_the_csv_has_a_row_for_each_name_and_both_totals(tally: Tally, tmp_path: Path) -> None:
    write_csv(tally, tmp_path / "run.csv")
    rows = list(csv.DictReader((tmp_path / "run.csv").read_text(encoding="utf-8").splitlines()))
    assert list(rows[0]) == list(COLUMNS)
    by_name = {row["Name"]: row for row in rows}
    assert list(by_name) == ["Plan cold", "Plan hot", "PlanMany", "Plan hot and cold", "All"]
    assert by_name["All"]["Cached share"] == "0.5000"
    assert by_name["All"]["Cross-partition share"] == "0.3750"
    assert by_name["Plan cold"]["Refused"] == "1"
    assert float(by_name["Plan hot"]["p95 ms"]) == pytest.approx(4, rel=0.02)
    statuses = list(csv.DictReader((tmp_path / "run_statuses.csv").read_text(encoding="utf-8").splitlines()))
    assert statuses == [{"Status": "RESOURCE_EXHAUSTED OVERLOADED", "Count": "1", "Example": "too <many>"}]


def test_the_table_goes_before_locusts_own_report(tally: Tally, tmp_path: Path) -> None:
    page = tmp_path / "run.html"
    page.write_text('<body><div id="root"></div></body>', encoding="utf-8")
    add_to_html(tally, page)
    written = page.read_text(encoding="utf-8")
    assert written.index("Cross-partition share") < written.index('<div id="root">')
    assert "too &lt;many&gt;" in written


def test_another_page_is_refused_and_unchanged(tally: Tally, tmp_path: Path) -> None:
    page = tmp_path / "run.html"
    page.write_text("<body></body>", encoding="utf-8")
    with pytest.raises(ValueError, match="expected a report of Locust"):
        add_to_html(tally, page)
    assert page.read_text(encoding="utf-8") == "<body></body>"
