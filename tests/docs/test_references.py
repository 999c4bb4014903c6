"""The generated pages of docs/reference are what the code gives, and the page of errors has every reason."""

from __future__ import annotations

import subprocess
import sys

import pytest

from planmesh.rpc.status import CODE_AND_REASON
from planmesh.settings import known_variables
from tests.conftest import ROOT

REFERENCE = ROOT / "docs" / "reference"


@pytest.mark.parametrize(
    ("page", "script"),
    [
        ("configuration.md", "document_settings.py"),
        ("cli.md", "document_cli.py"),
        ("protos.md", "document_protos.py"),
        ("metrics.md", "document_metrics.py"),
    ],
)
def test_a_generated_page_is_what_its_script_prints(page: str, script: str) -> None:
    command = [sys.executable, f"scripts/{script}"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert (REFERENCE / page).read_text() == printed, "run `make docs`"


def test_every_setting_is_on_the_page() -> None:
    page = (REFERENCE / "configuration.md").read_text()
    assert [name for name in sorted(known_variables()) if f"`{name}`" not in page] == []


def test_every_error_is_on_the_page() -> None:
    page = (REFERENCE / "errors.md").read_text()
    table = page.split("## Codes and reasons")[1].split("## Edge cases")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{reason}` | `{code.name}` | `{error.__name__}` |" for error, (code, reason) in CODE_AND_REASON.items()
    ]
