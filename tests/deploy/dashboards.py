"""The dashboards and datasources that Grafana is provisioned with, as far as their structure can be told without it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import yaml
from annotated_types import Ge, Le, MinLen
from pydantic import BaseModel, ConfigDict, Field

GRAFANA: Final = Path(__file__).resolve().parents[2] / "deploy" / "grafana"
COLUMNS: Final = 24

Text = Annotated[str, MinLen(1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Datasource(_Part):
    """By type and uid, as a panel names it."""

    type: Text
    uid: Text


class GridPos(_Part):
    """Columns and rows of a panel."""

    h: Annotated[int, Ge(1)]
    w: Annotated[int, Ge(1), Le(COLUMNS)]
    x: Annotated[int, Ge(0)]
    y: Annotated[int, Ge(0)]


class Target(_Part):
    """A query."""

    ref_id: Text = Field(alias="refId")
    datasource: Datasource
    expr: Text
    legend: Text = Field(alias="legendFormat")


class Defaults(_Part):
    """How values are shown; `unit` is an id of Grafana's."""

    unit: Text


class FieldConfig(_Part):
    """Of a panel."""

    defaults: Defaults
    overrides: list[object]


class Panel(_Part):
    """One that shows something; rows have nothing to show."""

    id: int
    title: Text
    type: Literal["timeseries", "stat"]
    datasource: Datasource
    gridPos: GridPos  # noqa: N815 - as in the file
    fieldConfig: FieldConfig  # noqa: N815 - as in the file
    targets: Annotated[list[Target], MinLen(1)]


class Row(_Part):
    """A heading."""

    id: int
    title: Text
    type: Literal["row"]
    gridPos: GridPos  # noqa: N815 - as in the file


class Dashboard(_Part):
    """A file of deploy/grafana/dashboards."""

    uid: Annotated[str, Field(pattern="^planmesh-[a-z]+$", max_length=40)]
    title: Text
    description: Text
    schema_version: Annotated[int, Ge(36), Field(alias="schemaVersion")]
    everything: list[Annotated[Panel | Row, Field(discriminator="type")]] = Field(alias="panels")

    @property
    def panels(self) -> list[Panel]:
        """Those that show something."""
        return [panel for panel in self.everything if isinstance(panel, Panel)]


def read_dashboards() -> list[Dashboard]:
    """All dashboards; ValidationError says what is missing in which."""
    files = sorted((GRAFANA / "dashboards").iterdir())
    return [Dashboard.model_validate_json(file.read_bytes()) for file in files]


def read_datasources() -> list[Datasource]:
    """Those that are provisioned."""
    file = GRAFANA / "provisioning" / "datasources" / "planmesh.yml"
    return [Datasource.model_validate(source) for source in yaml.safe_load(file.read_text())["datasources"]]
