"""Copies measured figures of docs/benchmarks into the table of `planmesh advise`: `python -m bench.advise_figures`.

Run it when a report was published. Figures in sentences (`where.text`) are left alone: the tests name those that no
longer stand where they were found.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from typing import Any, Final

from bench.graphs import ROOT
from bench.results import write_aside

TABLE: Final = ROOT / "planmesh" / "advise" / "figures.toml"


def main() -> None:
    """Write the table anew where a figure has changed."""
    text = TABLE.read_text("utf-8")
    new = refreshed(text)
    if new != text:
        write_aside(TABLE, new)
    sys.stdout.write(f"{TABLE.relative_to(ROOT)}: {'written' if new != text else 'as it was'}\n")


def refreshed(text: str) -> str:
    """The table with the values that the sources have now."""
    for name, row in tomllib.loads(text)["rows"].items():
        if row["kind"] == "measured" and "field" in row["where"]:
            value = measured_value(json.loads((ROOT / row["source"]).read_text("utf-8")), row["where"])
            pattern = rf'^(\[rows\."{re.escape(name)}"\]\nvalue = )\S+$'
            text, found = re.subn(pattern, rf"\g<1>{value}", text, flags=re.MULTILINE)
            assert found == 1, name
    return text


def measured_value(source: Any, where: dict[str, str]) -> float:
    """The field that a row names: of the one record that has the row's other values, or of the object itself."""
    *path, field = where["field"].split(".")
    chosen = {name: value for name, value in where.items() if name != "field"}
    records = source if isinstance(source, list) else source["rows"] if chosen else [source]
    (record,) = [one for one in records if all(one[name] == value for name, value in chosen.items())]
    for part in path:
        record = record[part]
    return float(record[field])


if __name__ == "__main__":
    main()
