"""Every query of the dashboards, the recording rules and the alerts, read from the deployed files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.deploy.dashboards import read_dashboards

ROOT: Final = Path(__file__).resolve().parents[2]
PROMETHEUS: Final = ROOT / "deploy" / "prometheus"

_COMPARISON: Final = re.compile(r"\s*(?:[<>]=?|[!=]=)\s*-?[0-9.]+\s*\Z")


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL query, and where it is used."""

    place: str
    expression: str


def rules(file: str) -> list[dict[str, Any]]:
    """Return the rules of a file of deploy/prometheus/rules."""
    groups = yaml.safe_load((PROMETHEUS / "rules" / file).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panel_queries(interval: str) -> list[Query]:
    """Return the queries of every panel, with `interval` for Grafana's $__rate_interval."""
    return [
        Query(f"{dashboard.title} / {panel.title}", target.expr.replace("$__rate_interval", interval))
        for dashboard in read_dashboards()
        for panel in dashboard.panels
        for target in panel.targets
    ]


def rule_queries() -> list[Query]:
    """Return the expressions of the recording rules."""
    return [Query(rule["record"], rule["expr"]) for rule in rules("recording.yml")]


def alert_queries() -> list[Query]:
    """Return the alerts' expressions without the comparison, because those have a value also when all is well."""
    queries = []
    for rule in rules("alerts.yml"):
        expression, comparisons = _COMPARISON.subn("", rule["expr"])
        assert comparisons == 1, f"{rule['alert']}: expected an expression that ends with one comparison"
        queries.append(Query(rule["alert"], expression))
    return queries
