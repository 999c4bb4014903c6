"""What the documents name is there."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from planmesh.settings import known_variables
from tests.conftest import ROOT, run_planmesh


def test_the_page_of_settings_is_what_the_models_give() -> None:
    written = subprocess.run(
        [sys.executable, "scripts/document_settings.py"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    page = (ROOT / "docs" / "reference" / "configuration.md").read_text()
    assert page == written.stdout, "run `make docs`"


def test_every_setting_is_on_the_page() -> None:
    page = (ROOT / "docs" / "reference" / "configuration.md").read_text()
    assert [name for name in sorted(known_variables()) if f"`{name}`" not in page] == []


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_every_command_of_a_document_has_its_options(document: str) -> None:
    text = (ROOT / document).read_text()
    lines = re.findall(r"^planmesh (\w+)(.*?)(?:#.*)?$", text, re.MULTILINE)
    for command, rest in lines:
        known = run_planmesh(command, "--help").stdout
        assert all(option in known for option in re.findall(r"--[a-z-]+", rest)), (command, rest)


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_every_make_target_of_a_document_is_there(document: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z-]+)", (ROOT / document).read_text()))
    assert named <= targets


def test_every_link_between_documents_leads_somewhere() -> None:
    for document in [
        ROOT / "README.md",
        ROOT / "ARCHITECTURE.md",
        ROOT / "CONTRIBUTING.md",
        *ROOT.glob("docs/**/*.md"),
    ]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
