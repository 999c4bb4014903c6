"""The commands of docs/start/tutorial.md, run in order, print what the page shows.

A block of `sh` is run; the block of `text` after it is what it prints. Times, ports and trace ids may differ, "…" in a
line stands for the rest of it, and as a line for any number of lines. A comment before a block says what a reader does
not need to know: that the test skips it, or that it fails with exit code 1.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from planmesh.local.ports import free_port
from tests.conftest import COMMAND_S_MAX, MESH_START_S_MAX, ROOT

PAGE = ROOT / "docs" / "start" / "tutorial.md"
PHASE = re.compile(r"\w+ +\d+\.\d\d +\d+ +\d+")
HEDGED = re.compile(r"batch sizes ")
"""Where the page shows how many tasks were sent: a slow machine may send work once more."""

SKIPPED = "The test has this already."
FAILS = "Exit code 1."

UP = "planmesh up --detach"
"""The page starts a mesh on the default port; the test starts it on a free one, with as many workers on any machine."""


@dataclass(frozen=True)
class Block:
    """Commands of the page, and what they print; None where the page does not show it."""

    commands: str
    expected: str | None
    note: str


def blocks_of(page: str) -> list[Block]:
    """The blocks of commands, in order. Every block of text belongs to the block of commands before it."""
    found: list[Block] = []
    for note, language, text in re.findall(
        r"(?:^<!-- (.*?) -->\n)?^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL
    ):
        if language == "sh":
            found.append(Block(text, None, note))
        else:
            assert language == "text", f"a block of {language} is neither commands nor what they print"
            assert found[-1].expected is None, f"two outputs of {found[-1].commands}"
            found[-1] = Block(found[-1].commands, text, found[-1].note)
    return found


def pattern_of(line: str) -> str:
    """A line of the page as a pattern: spaces, times, ports and trace ids may differ."""
    words = [re.escape(word) for word in line.split()]
    if HEDGED.match(line):
        words = [re.sub(r"\d+", r"\\d+", word) for word in words]
    elif PHASE.fullmatch(line):
        words[-1] = r"\d+"
    pattern = r"\s+".join(words).replace(r"sizes\s+\d+", r"sizes\s+[\d ,]+")
    pattern = pattern.replace(re.escape("…"), ".*")
    pattern = re.sub("[├└]", "[├└]", pattern)  # a repeat of work is one more branch
    pattern = re.sub(r"\b[0-9a-f]{32}\b", "[0-9a-f]{32}", pattern)
    pattern = re.sub(r"(127\\\.0\\\.0\\\.1:)\d+", r"\1\\d+", pattern)
    return re.sub(r"(?<![\d.])\d+\\\.\d\d(?!\d)", r"[\\d.,]+", pattern)


def is_shown(expected: str, printed: str) -> bool:
    """Whether a command printed what the page shows; empty lines do not matter."""
    lines = [line.strip() for line in expected.splitlines() if line.strip()]
    pattern = "".join(r"(?:.*\n)*?" if line == "…" else rf"\s*{pattern_of(line)}\s*\n" for line in lines)
    text = "".join(f"{line.strip()}\n" for line in printed.splitlines() if line.strip())
    return re.fullmatch(pattern, text) is not None


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A shell in the clone with its .venv activated, whose mesh is stopped at the end."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PLANMESH_", "OTEL_"))}
    values = {
        **inherited,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PLANMESH_ADDRESS": f"127.0.0.1:{free_port()}",
    }
    yield values
    command = [sys.executable, "-m", "planmesh.cli", "down", "--data", str(tmp_path / ".planmesh")]
    subprocess.run(command, env={**values, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True)


@pytest.mark.mesh
@pytest.mark.timeout(MESH_START_S_MAX + COMMAND_S_MAX)
def test_the_commands_print_what_the_page_shows(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    port = environment["PLANMESH_ADDRESS"].rpartition(":")[2]
    blocks = blocks_of(PAGE.read_text())
    assert sum(UP in block.commands for block in blocks) == 1
    for block in blocks:
        if block.note == SKIPPED:
            continue
        assert block.note in ("", FAILS), block.note
        result = subprocess.run(
            ["/bin/sh", "-e", "-c", block.commands.replace(UP, f"{UP} --workers 2 --port {port}")],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=MESH_START_S_MAX + COMMAND_S_MAX,
            check=False,
        )
        said = f"{block.commands}{result.stdout}{result.stderr}"
        assert result.returncode == (1 if block.note == FAILS else 0), said
        if block.expected is not None:
            printed = result.stderr if block.note == FAILS else result.stdout
            assert is_shown(block.expected, printed), f"expected\n{block.expected}\ngot\n{said}"
        if UP in block.commands:
            assert f":{port}: 2 workers" in result.stdout


def test_the_page_leads_from_a_start_to_a_check() -> None:
    commands = "".join(block.commands for block in blocks_of(PAGE.read_text()))
    steps = [
        "planmesh up",
        "planmesh load",
        "planmesh plan",
        "--explain",
        "trace.py",
        "planmesh verify",
        "planmesh down",
    ]
    places = [commands.index(step) for step in steps]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("expected", "printed", "shown"),
    [
        ("total  9.79  5  1", "total\t12.30\t5\t1\n", True),
        ("total  9.79  5  1", "total\t12.30\t5\t2\n", True),
        ("total  9.79  5  1", "total\t12.30\t6\t1\n", False),
        ("batch sizes 1; retries 0; hedges 0", "batch sizes 1, 1; retries 0; hedges 1", True),
        ("batch sizes 1; retries 0; hedges 0", "batch sizes 1; retries 0", False),
        ("cost 15.124", "cost 15.125", False),
        ("one\n…\nlast", "one\nlast", True),
        ("one\n…\nlast", "one\ntwo\nlast\nmore", False),
        ("stopped …", "stopped a, b", True),
        (f"trace {'0' * 32}", f"trace {'1f' * 16}", True),
        ("ready at 127.0.0.1:50051: 2 workers", "ready at 127.0.0.1:4: 2 workers", True),
        ("ready at 127.0.0.1:50051: 2 workers", "ready at 127.0.0.1:4: 3 workers", False),
    ],
)
def test_what_may_differ(expected: str, printed: str, shown: bool) -> None:
    assert is_shown(expected, printed) is shown
