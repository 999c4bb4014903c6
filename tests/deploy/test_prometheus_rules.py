"""Prometheus' rules: promtool's checks and unit tests, and an entry in the runbook for each alert."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.promtool import promtool
from tests.deploy.queries import PROMETHEUS, ROOT, alert_queries, rules

RUNBOOK = ROOT / "docs" / "operations" / "runbook.md"
ALERTS = rules("alerts.yml")


def headings() -> list[str]:
    """Return the headings of the alerts in the runbook."""
    return re.findall(r"^### (\w+)$", RUNBOOK.read_text(), re.M)


@pytest.mark.tools
def test_the_configuration_and_its_rules_are_valid() -> None:
    printed = promtool("check", "config", PROMETHEUS / "prometheus.yml")
    assert f"SUCCESS: {len(ALERTS)} rules found" in printed


@pytest.mark.tools
def test_rules_do_what_their_unit_tests_say() -> None:
    files = sorted((PROMETHEUS / "tests").iterdir())
    assert promtool("test", "rules", *files).count("SUCCESS") == len(files)


def test_every_alert_is_tested_where_it_fires_and_where_it_does_not() -> None:
    tests = yaml.safe_load((PROMETHEUS / "tests" / "alerts.yml").read_text())["tests"]
    cases: list[dict[str, Any]] = [case for test in tests for case in test["alert_rule_test"]]
    names = {rule["alert"] for rule in ALERTS}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == names


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_an_alert_has_texts_and_a_runbook_entry(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["for"]
    annotations = alert["annotations"]
    assert annotations["summary"]
    assert annotations["description"].endswith(".")
    path, _, anchor = annotations["runbook_url"].partition("#")
    assert Path(ROOT / path) == RUNBOOK
    assert anchor == alert["alert"].lower()
    assert alert["alert"] in headings()


def test_the_runbook_has_an_entry_for_every_alert_and_for_nothing_else() -> None:
    assert headings() == [rule["alert"] for rule in ALERTS]


def test_an_alert_reads_series_that_are_recorded() -> None:
    recorded = {rule["record"] for rule in rules("recording.yml")}
    for query in alert_queries():
        assert set(re.findall(r"planmesh:[a-z0-9_:]+", query.expression)) <= recorded, query
