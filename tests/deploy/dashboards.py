"""The dashboards and datasources provisioned in Grafana, as far as their structure can be checked without Grafana."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import yaml
from annotated_types import Ge, Le, MinLen
from pydantic import BaseModel, ConfigDict, Field

GRAFANA: Final = Path(__file__).resolve().parents[2] / "deploy" / "grafana"
COLUMNS: Final = 24

Text = Annotated[str, MinLen(1)]


class _Provisioned(BaseModel):
    model_config = ConfigDict(frozen=True)


class Datasource(_Provisioned):
    """A datasource by type and uid, as a panel names it."""

    type: Text
    uid: Text


class GridPos(_Provisioned):
    """Position and size of a panel, in columns and rows."""

    h: Annotated[int, Ge(1)]
    w: Annotated[int, Ge(1), Le(COLUMNS)]
    x: Annotated[int, Ge(0)]
    y: Annotated[int, Ge(0)]


class Target(_Provisioned):
    """A query of a panel."""

    ref_id: Text = Field(alias="refId")
    datasource: Datasource
    expr: Text
    legend: Text = Field(alias="legendFormat")


class Defaults(_Provisioned):
    """How a panel shows values; `unit` is one of Grafana's ids."""

    unit: Text


class FieldConfig(_Provisioned):
    """A panel's settings for its values."""

    defaults: Defaults
    overrides: list[object]


class Panel(_Provisioned):
    """A panel that shows data; rows show none."""

    id: int
    title: Text
    type: Literal["timeseries", "stat"]
    datasource: Datasource
    gridPos: GridPos  # noqa: N815 - as in the file
    fieldConfig: FieldConfig  # noqa: N815 - as in the file
    targets: Annotated[list[Target], MinLen(1)]


class Row(_Provisioned):
    """A heading."""

    id: int
    title: Text
    type: Literal["row"]
    gridPos: GridPos  # noqa: N815 - as in the file


class Dashboard(_Provisioned):
    """A file of deploy/grafana/dashboards."""

    uid: Annotated[str, Field(pattern="^planmesh-[a-z]+$", max_length=40)]
    title: Text
    description: Text
    schema_version: Annotated[int, Ge(36), Field(alias="schemaVersion")]
    everything: list[Annotated[Panel | Row, Field(discriminator="type")]] = Field(alias="panels")

    @property
    def panels(self) -> list[Panel]:
        """Return the panels that show data."""
        return [panel for panel in self.everything if isinstance(panel, Panel)]


def read_dashboards() -> list[Dashboard]:
    """Read all dashboards. ValidationError says what is missing in which."""
    files = sorted((GRAFANA / "dashboards").iterdir())
    return [Dashboard.model_validate_json(file.read_bytes()) for file in files]


def read_datasources() -> list[Datasource]:
    """Read the provisioned datasources."""
    file = GRAFANA / "provisioning" / "datasources" / "planmesh.yml"
    return [Datasource.model_validate(source) for source in yaml.safe_load(file.read_text())["datasources"]]
