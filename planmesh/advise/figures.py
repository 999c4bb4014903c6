"""The figures on which advice is based, read from figures.toml."""

from __future__ import annotations

import tomllib
from enum import StrEnum
from importlib.resources import files
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from planmesh.errors import InvalidRequest

FILE: Final = "figures.toml"


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RowKind(StrEnum):
    """The origin of a row."""

    MEASURED = "measured"
    """A field of a published benchmark of planmesh."""

    PRICE = "price"
    """A vendor's public list price on a given date."""

    ASSUMED = "assumed"
    """Neither measured nor priced; `note` gives the reason."""


class Row(_Table):
    """One figure. `where` locates a measured one in `source`: record and field. `date` is that of a price."""

    value: float = Field(ge=0)
    unit: str
    kind: RowKind
    source: str = ""
    date: str = ""
    where: dict[str, str] = {}
    note: str = ""


class Instance(_Table):
    """A machine type of a cloud. `usd_per_hour` is the name of a row."""

    name: str
    vcpus: int = Field(ge=1)
    memory_gib: float = Field(gt=0)
    usd_per_hour: str


class Cloud(_Table):
    """A cloud's machines and disks in one region."""

    region: str
    disk_usd_per_gib_month: str
    instances: list[Instance] = Field(min_length=1)


class Figures(_Table):
    """The whole file."""

    rows: dict[str, Row]
    clouds: dict[str, Cloud]

    def value(self, row: str) -> float:
        """Return the value of a row."""
        return self.rows[row].value

    def cloud(self, name: str) -> Cloud:
        """Return a cloud by its name. Raises InvalidRequest, which lists the known clouds."""
        if name not in self.clouds:
            raise InvalidRequest(
                f"expected a cloud with prices in the table, {', '.join(sorted(self.clouds))}; got {name[:40]!r}",
                field="cloud",
            )
        return self.clouds[name]


def read_figures() -> Figures:
    """Read the file, which is part of the package."""
    return Figures.model_validate(tomllib.loads(files(__package__).joinpath(FILE).read_text("utf-8")))
