"""The figures that advice is computed from, as figures.toml has them."""

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
    """Where a row is from."""

    MEASURED = "measured"
    """A field of a published benchmark of planmesh."""

    PRICE = "price"
    """A vendor's public list price, of a date."""

    ASSUMED = "assumed"
    """Neither measured nor priced: `note` says why."""


class Row(_Table):
    """One figure. `where` says which record and field of `source` has a measured one; `date` is a price's."""

    value: float = Field(ge=0)
    unit: str
    kind: RowKind
    source: str = ""
    date: str = ""
    where: dict[str, str] = {}
    note: str = ""


class Instance(_Table):
    """A kind of machine that a cloud rents out; `usd_per_hour` names its row."""

    name: str
    vcpus: int = Field(ge=1)
    memory_gib: float = Field(gt=0)
    usd_per_hour: str


class Cloud(_Table):
    """A cloud's machines and disks, in one of its regions."""

    region: str
    disk_usd_per_gib_month: str
    instances: list[Instance] = Field(min_length=1)


class Figures(_Table):
    """All of the file."""

    rows: dict[str, Row]
    clouds: dict[str, Cloud]

    def value(self, row: str) -> float:
        """The value of a row."""
        return self.rows[row].value

    def cloud(self, name: str) -> Cloud:
        """A cloud by its name; InvalidRequest has the list of those that are known."""
        if name not in self.clouds:
            raise InvalidRequest(
                f"expected a cloud with prices in the table, {', '.join(sorted(self.clouds))}; got {name[:40]!r}",
                field="cloud",
            )
        return self.clouds[name]


def read_figures() -> Figures:
    """Read the file that is part of the package."""
    return Figures.model_validate(tomllib.loads(files(__package__).joinpath(FILE).read_text("utf-8")))
