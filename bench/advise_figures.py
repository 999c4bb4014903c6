"""Copies measured figures from docs/benchmarks into the table of `planmesh advise`: `python -m bench.advise_figures`.

Run it after publishing a report. It does not change figures in sentences (`where.text`): the tests report those that no
longer match their source.
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
    """Update the table if a figure has changed."""
    text = TABLE.read_text("utf-8")
    new = refreshed(text)
    if new != text:
        write_aside(TABLE, new)
    sys.stdout.write(f"{TABLE.relative_to(ROOT)}: {'written' if new != text else 'unchanged'}\n")


def refreshed(text: str) -> str:
    """Return the table with the current values of the sources."""
    for name, row in tomllib.loads(text)["rows"].items():
        if row["kind"] == "measured" and "field" in row["where"]:
            value = measured_value(json.loads((ROOT / row["source"]).read_text("utf-8")), row["where"])
            pattern = rf'^(\[rows\."{re.escape(name)}"\]\nvalue = )\S+$'
            text, found = re.subn(pattern, rf"\g<1>{value}", text, flags=re.MULTILINE)
            assert found == 1, name
    return text


def measured_value(source: Any, where: dict[str, str]) -> float:
    """Return the field that a row names, from the one record that matches the row's other values or from the object."""
    *path, field = where["field"].split(".")
    chosen = {name: value for name, value in where.items() if name != "field"}
    records = source if isinstance(source, list) else source["rows"] if chosen else [source]
    (record,) = [one for one in records if all(one[name] == value for name, value in chosen.items())]
    for key in path:
        record = record[key]
    return float(record[field])


if __name__ == "__main__":
    main()
