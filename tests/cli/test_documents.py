"""The commands, options, targets, settings and links in documents exist."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT, run_planmesh


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_every_command_of_a_document_has_its_options(document: str) -> None:
    text = (ROOT / document).read_text()
    lines = re.findall(r"^planmesh (\w+)(.*?)(?:#.*)?$", text, re.MULTILINE)
    for command, rest in lines:
        known = run_planmesh(command, "--help").stdout
        assert all(option in known for option in re.findall(r"--[a-z-]+", rest)), (command, rest)


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_every_make_target_of_a_document_exists(document: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z-]+)", (ROOT / document).read_text()))
    assert named <= targets
