"""Spans, attributes and metrics get their names from planmesh.telemetry.names, and nothing there is unused."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from planmesh.telemetry import names

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("planmesh", "services", "workers", "load")
DECLARED_IN = "planmesh/telemetry/names.py"

NAMING = ("set_attribute", "start_span", "start_as_current_span", "add_event")
"""Methods whose first argument is a name; so is that of each `create_…`, which makes an instrument."""

ATTRIBUTED = (*NAMING, "set_attributes", "add", "record", "set", "Observation")
"""Methods and classes that take a dict of attributes."""

SAME_VALUE = {"planmesh/dispatch/queues.py": {"planmesh.build"}}
"""Values that mean something else in a module: the queue of builds and its task have the name of a span."""

CONSTANTS = {name: value for name, value in vars(names).items() if name.isupper()}
VALUES = {value for name, value in CONSTANTS.items() if isinstance(value, str) and not name.startswith("SHADOW_")}


def sources() -> dict[str, str]:
    """Return the text of each module by its path, without generated ones and the one that declares names."""
    patterns = [f"{package}/*.py" for package in PACKAGES]
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = [path for path in listed.splitlines() if "_pb2" not in path and path != DECLARED_IN]
    return {path: (ROOT / path).read_text(encoding="utf-8") for path in paths if (ROOT / path).exists()}


def is_text(node: ast.AST | None) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def literal_names(source: str) -> set[str]:
    """Return line and text of each string literal that names a span, an attribute or an instrument."""
    found: list[ast.expr] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Dict) and any(ast.unparse(key).startswith("names.") for key in node.keys if key):
            found += [key for key in node.keys if key]
        if not isinstance(node, ast.Call):
            continue
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        if called in NAMING or (called.startswith("create_") and isinstance(node.func, ast.Attribute)):
            found += node.args[:1] or [keywords[name] for name in ("name",) if name in keywords]
        given = [*node.args, *keywords.values()] if called in ATTRIBUTED else [keywords.get("attributes")]
        found += [key for value in given if isinstance(value, ast.Dict) for key in value.keys if key]
    return {f"{name.lineno}: {ast.unparse(name)}" for name in found if is_text(name)}


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and value of each string literal, without docstrings."""
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def used_constants(source: str) -> set[str]:
    """Return what a module uses of something called `names`, by attribute or by import from the module."""
    used = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "names":
            used.add(node.attr)
        elif isinstance(node, ast.ImportFrom) and node.module == "planmesh.telemetry.names":
            used |= {alias.name for alias in node.names}
    return used


def test_no_name_is_a_literal() -> None:
    found = [f"{path}:{breach}" for path, source in sources().items() for breach in sorted(literal_names(source))]
    assert not found, "declare them in planmesh/telemetry/names.py:\n" + "\n".join(found)


def test_no_declared_value_is_written_elsewhere() -> None:
    found = [
        f"{path}:{line}: {value!r}"
        for path, source in sources().items()
        for line, value in texts(source)
        if value in VALUES - SAME_VALUE.get(path, set())
    ]
    assert not found, "use the constant of planmesh/telemetry/names.py:\n" + "\n".join(found)


def test_every_constant_is_used() -> None:
    used = {name for source in sources().values() for name in used_constants(source)}
    assert not CONSTANTS.keys() - used


@pytest.mark.parametrize(
    "source",
    [
        'span.set_attribute("x", 1)',
        'tracer.start_span(name="x")',
        'tracer.start_as_current_span(f"x {y}")',
        'meter.create_histogram("x")',
        'meter.create_observable_gauge("x", [callback])',
        'counter.add(1, {"x": 1})',
        'gauge.set(1, {names.X: 1, "x": 2})',
        'tracer.start_span(names.X, context, kind, {"x": 1})',
        'Observation(1, {"x": 1})',
        'Link(context, attributes={"x": 1})',
        'attributes = {names.X: 1, "x": 2}',
    ],
)
def test_literals_are_found(source: str) -> None:
    assert len(literal_names(source)) == 1
    assert not literal_names(source.replace('f"x {y}"', "names.X").replace('"x"', "names.X"))


def test_uses_are_found() -> None:
    source = "from planmesh.telemetry.names import ONE\nspan.set_attribute(names.TWO, other.THREE)"
    assert used_constants(source) == {"ONE", "TWO"}
    assert list(texts('"""planmesh.cost"""\nx = "planmesh.cost"')) == [(2, "planmesh.cost")]
