"""The dashboards, checked without Grafana: their structure, and that Prometheus can parse every query."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
import yaml

from tests.deploy.dashboards import COLUMNS, GRAFANA, Dashboard, read_dashboards, read_datasources
from tests.deploy.promtool import promtool
from tests.deploy.queries import ROOT, panel_queries, rules

DASHBOARDS = read_dashboards()


def test_dashboards_have_uids_and_titles_of_their_own() -> None:
    assert len({dashboard.uid for dashboard in DASHBOARDS}) == len(DASHBOARDS) == 3
    assert len({dashboard.title for dashboard in DASHBOARDS}) == len(DASHBOARDS)


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_panels_have_ids_and_titles_of_their_own(dashboard: Dashboard) -> None:
    ids = [panel.id for panel in dashboard.everything]
    titles = [panel.title for panel in dashboard.everything]
    assert len(set(ids)) == len(ids)
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_panels_do_not_overlap(dashboard: Dashboard) -> None:
    for panel in dashboard.everything:
        assert panel.gridPos.x + panel.gridPos.w <= COLUMNS, panel.title
    for one, two in itertools.combinations(dashboard.everything, 2):
        a, b = one.gridPos, two.gridPos
        apart = a.x + a.w <= b.x or b.x + b.w <= a.x or a.y + a.h <= b.y or b.y + b.h <= a.y
        assert apart, f"{one.title} covers {two.title}"


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_panels_use_provisioned_datasources(dashboard: Dashboard) -> None:
    known = read_datasources()
    for panel in dashboard.panels:
        assert {panel.datasource, *(target.datasource for target in panel.targets)} <= set(known), panel.title
        references = [target.ref_id for target in panel.targets]
        assert len(set(references)) == len(references), panel.title


def test_every_recorded_series_that_a_panel_shows_is_recorded() -> None:
    recorded = {rule["record"] for rule in rules("recording.yml")}
    for query in panel_queries("1m"):
        assert set(re.findall(r"planmesh:[a-z0-9_:]+", query.expression)) <= recorded, query


@pytest.mark.tools
def test_prometheus_can_read_every_query(tmp_path: Path) -> None:
    queries = panel_queries("1m")
    recorded = [{"record": f"query:{number}", "expr": query.expression} for number, query in enumerate(queries)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    assert f"{len(queries)} rules found" in promtool("check", "rules", file)


def test_compose_mounts_what_the_provisioning_names() -> None:
    grafana = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
    mounted = {volume.split(":")[1]: ROOT / volume.split(":")[0] for volume in grafana["volumes"][:-1]}
    providers = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "planmesh.yml").read_text())["providers"]
    assert mounted["/etc/grafana/provisioning"].resolve() == GRAFANA / "provisioning"
    assert [mounted[provider["options"]["path"]].resolve() for provider in providers] == [GRAFANA / "dashboards"]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (mounted[str(home.parent)] / home.name).is_file()


def test_every_dashboard_leads_to_the_others() -> None:
    for file in (GRAFANA / "dashboards").iterdir():
        text = yaml.safe_load(file.read_text())
        assert text["tags"] == ["planmesh"]
        assert [link["tags"] for link in text["links"]] == [["planmesh"]]
