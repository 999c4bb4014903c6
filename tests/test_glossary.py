"""Identifiers use the terms of the glossary: none contains a word that it lists as a synonym."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GLOSSARY = ROOT / "docs" / "concepts" / "glossary.md"
HEADING = "## Words that identifiers do not use"
PACKAGES = ("planmesh", "services", "workers", "load", "bench", "tests")
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
PROTO_NAME = re.compile(
    r"^\s*(?:message|enum|service|rpc|oneof)\s+(\w+)|^\s*(?:repeated |optional )?[\w.<>, ]+?\s(\w+) = \d+", re.M
)


def forbidden_words(text: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Return, for each forbidden word, what to write instead and the names that may contain it."""
    words: dict[str, tuple[str, frozenset[str]]] = {}
    for row in text[text.index(HEADING) :].splitlines():
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        if not row.startswith("|") or cells[0] == "word" or set(cells[0]) <= {"-"}:
            continue
        listed, instead, excepted = cells
        for word in listed.split(", "):
            words[word] = instead, frozenset(name for name in excepted.split(", ") if name)
    return words


def names_of(source: str) -> Iterator[str]:
    """Yield the names that a module defines or stores to, without those of libraries and the sentences of tests."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if not node.name.startswith("test_"):
                yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def breaches(names: Iterator[str], words: dict[str, tuple[str, frozenset[str]]]) -> set[str]:
    """Return a line for each name that contains a forbidden word."""
    found = set()
    for name in names:
        for word in WORD.findall(name):
            instead, excepted = words.get(word.lower(), ("", frozenset()))
            if instead and name.strip("_") not in excepted and not any(word in one and one in name for one in excepted):
                found.add(f"{name}: write {instead} for {word.lower()}")
    return found


WORDS = forbidden_words(GLOSSARY.read_text(encoding="utf-8"))


def tracked(pattern: str) -> list[Path]:
    """Return the files of the project that match, without generated ones."""
    listed = subprocess.run(["git", "ls-files", pattern], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in listed.splitlines() if "_pb2" not in name and (ROOT / name).exists()]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_identifier_has_a_forbidden_word(package: str) -> None:
    found = {
        f"{path.relative_to(ROOT)}: {breach}"
        for path in tracked(f"{package}/*.py")
        for breach in breaches(iter([path.stem, *names_of(path.read_text(encoding="utf-8"))]), WORDS)
    }
    assert not found, "\n" + "\n".join(sorted(found))


def test_no_proto_name_has_a_forbidden_word() -> None:
    found = {
        f"{path.name}: {breach}"
        for path in tracked("protos/*.proto")
        for breach in breaches((one or two for one, two in PROTO_NAME.findall(path.read_text(encoding="utf-8"))), WORDS)
    }
    assert not found, "\n" + "\n".join(sorted(found))


def test_forbidden_words_are_found() -> None:
    source = "def short_ways(part):\n    self.told = 1\nclass Stretches: ..."
    assert len(breaches(names_of(source), WORDS)) == 4
    assert not breaches(iter(["under_way", "_both_ways", "partition", "NodeLinkSource"]), WORDS)
