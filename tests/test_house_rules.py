"""Rules of the house that a tool can check: no file is too long, and nothing is written twice."""

from __future__ import annotations

import ast
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
LINES_MAX: Final = 400
"""Lines of a module: one sitting."""

RUN: Final = 10
"""Equal lines in a row that make a run which is written twice. Imports, docstrings and blank lines do not count."""

ALLOWED_TWICE: Final[dict[frozenset[str], str]] = {
    frozenset({"planmesh/client/asynchronous.py", "planmesh/client/synchronous.py"}): (
        "signatures of the methods that both clients offer; a test holds them equal"
    ),
}
"""Pairs of files that may share runs, each with the reason."""


def modules() -> list[Path]:
    """Return the project's modules, without generated ones."""
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in listed.splitlines() if "_pb2" not in name and (ROOT / name).exists()]


def counted_lines(source: str) -> list[tuple[int, str]]:
    """Return the lines of a module that count, each with its number."""
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        value = node.value if isinstance(node, ast.Expr) else None
        is_text = isinstance(value, ast.Constant) and isinstance(value.value, str)
        if isinstance(node, ast.stmt) and (is_text or isinstance(node, (ast.Import, ast.ImportFrom))):
            left_out.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(source.splitlines(), 1)
    return [(number, line.strip()) for number, line in lines if line.strip() and number not in left_out]


def runs_twice(sources: dict[str, str], run: int = RUN) -> dict[frozenset[str], list[str]]:
    """Return the places where `run` counted lines stand twice, by the files that share them."""
    seen: dict[tuple[str, ...], list[tuple[str, int]]] = defaultdict(list)
    for name, source in sources.items():
        lines = counted_lines(source)
        for first in range(len(lines) - run + 1):
            seen[tuple(text for _, text in lines[first : first + run])].append((name, lines[first][0]))
    found: dict[frozenset[str], list[str]] = defaultdict(list)
    for places in seen.values():
        if len(places) > 1:
            found[frozenset(name for name, _ in places)].append(" ~ ".join(f"{name}:{line}" for name, line in places))
    return found


def test_no_module_is_longer_than_one_sitting() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in modules()}
    too_long = {name: lines for name, lines in lengths.items() if lines > LINES_MAX}
    assert not too_long


def test_nothing_is_written_twice() -> None:
    found = runs_twice({str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in modules()})
    unexplained = {"\n".join(places[:2]) for files, places in found.items() if files not in ALLOWED_TWICE}
    assert not unexplained, "\n\n" + "\n\n".join(sorted(unexplained))
    assert set(ALLOWED_TWICE) <= set(found), "an exception that is not needed any more"


def test_a_run_is_found_wherever_it_stands() -> None:
    body = "\n".join(f"    x{number} = {number}" for number in range(RUN - 1))
    one, two = f"import os\n\ndef f():\n    '''A.'''\n{body}\n    return 1\n", f"def g():\n\n{body}\n    return 1\n"
    assert list(runs_twice({"one": one, "two": two})) == [frozenset({"one", "two"})]
    assert not runs_twice({"one": one, "two": two.replace("x3", "y3")})
    assert list(runs_twice({"one": one + two})) == [frozenset({"one"})]
