"""Commands without a mesh: help, usage errors, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import run_planmesh

COMMANDS = [
    *("up", "down", "status", "load", "update", "unload", "partitions", "plan", "neighbors", "match"),
    *("measure", "verify", "generate", "version"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_json(command: str) -> None:
    text = run_planmesh(command, "--help").stdout
    assert "Example: planmesh" in text
    assert "--json" in text


@pytest.mark.parametrize("command", ["copy", "check"])
def test_help_of_the_commands_of_stores(command: str) -> None:
    text = run_planmesh("store", command, "--help").stdout
    assert f"Example: planmesh store {command}" in text
    assert "--json" in text


def test_the_overview_lists_every_command() -> None:
    text = run_planmesh("--help").stdout
    assert all(command in text for command in COMMANDS)


@pytest.mark.parametrize(
    "arguments",
    [
        ("no-such-command",),
        ("plan",),
        ("plan", "a"),
        ("plan", "a", "b", "--pairs", "-"),
        ("plan", "--pairs", "no-such-file.tsv"),
        ("plan", "a", "b", "--timeout", "0"),
        ("neighbors", "a", "--depth", "6"),
        ("neighbors", "a", "--direction", "sideways"),
        ("load", "no-such-file.csv"),
        ("load", "README.md", "--strategy", "best"),
        ("up", "--workers", "0"),
        ("up", "--port", "70000"),
        ("up", "--redis", "localhost"),
        ("measure", "--queries", "0"),
        ("generate", "forest", "--nodes", "10", "--out", "x.csv"),
        ("unload",),
        ("verify", "--pairs", "-1"),
        ("verify", "--seed", "x"),
    ],
)
def test_a_usage_error_is_exit_code_2_without_standard_output(arguments: tuple[str, ...]) -> None:
    result = run_planmesh(*arguments, code=2)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_no_mesh_is_exit_code_1_and_names_the_address() -> None:
    result = run_planmesh("status", "--address", "127.0.0.1:1", "--timeout", "1", code=1)
    assert "127.0.0.1:1" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_address_comes_from_the_environment() -> None:
    environment = {"PLANMESH_ADDRESS": "127.0.0.1:2"}
    result = run_planmesh("status", "--timeout", "1", "--json", code=1, environment=environment)
    assert "127.0.0.1:2" in json.loads(result.stdout)["error"]["message"]


def test_a_reader_that_stops_reading_causes_no_traceback(tmp_path: Path) -> None:
    command = f"{sys.executable} -m planmesh.cli --help | head -n 1"
    result = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in result.stderr
