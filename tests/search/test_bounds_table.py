"""ARCHITECTURE.md's table of bounds has every bound of the kernels and of the code around them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]

KERNEL_PACKAGES: Final = ("planmesh/search", "planmesh/graph")
"""Packages whose kernels' bounds (constants, parameters and numbers) are all in the table."""

AROUND: Final = ("services/coordinator", "workers", "planmesh/dispatch", "planmesh/snapshot", "planmesh/store")
"""Packages whose constants are in the table if their names say that they are bounds."""

BOUND_NAME: Final = re.compile(
    r"(_MAX|_MIN|TOLERANCE|SLACK|_ROOM|_LIMIT|_max|_min|tolerance|slack|room|_after|factor)$"
)

NO_BOUNDS: Final = frozenset(
    {
        # Positions and kinds.
        *("FORWARD", "BACKWARD", "DOMINATED", "START", "GOAL", "INNER", "EDGE", "INVALID_ID"),
        *("ORIGINAL", "STORED", "LOCAL", "EXPANDED", "JOINED", "BROKEN", "WRONG_COST", "LOOPS", "NO_SEGMENTS"),
        *("UP", "DOWN", "GONE", "NEWEST", "FOUND", "GOES_ON", "NEEDS_PARTITION", "NEEDS_ROOM", "EDGE_COUNT"),
        # Members of Bound: positions of counters.
        *("SETTLE", "EDGES_PER_SETTLED", "WITNESS_HEAP", "SHORTCUTS", "GROWTH_SIMULATED", "GROWTH_CONTRACTED"),
        *("PAIRS", "RETRY_AFTER", "TIE_TOLERANCE", "BOUND_COUNT", "HALF_MISSING"),
        # Multipliers and masks of hashing.
        *("_PRIME_A", "_PRIME_B", "_PRIME_C", "_SHIFT_32", "_LOW_32_BITS"),
    }
)

NUMBERS_WITHOUT_NAMES: Final = frozenset(
    {"_mix", "hash_bytes", "grow_table", "insert_ids", "_has_twice", "_spread", "edge_key"}
)
"""Kernels of hash tables, with the numbers of the published hash."""

KINDS_AND_POSITIONS: Final = frozenset({"certificate.py", "plain_search.py", "batch_segments.py"})
"""Modules whose kernels return kinds as numbers or read a table by position."""


def is_kernel(node: ast.stmt) -> bool:
    if not isinstance(node, ast.FunctionDef):
        return False
    names = [decorator.func if isinstance(decorator, ast.Call) else decorator for decorator in node.decorator_list]
    return any(isinstance(name, ast.Name) and name.id == "kernel" for name in names)


def bounds_of_kernel(kernel: ast.FunctionDef) -> Iterator[str]:
    """Yield the constants that a kernel uses, and the parameters and fields whose names say that they are bounds."""
    for node in ast.walk(kernel):
        if isinstance(node, ast.Name) and re.fullmatch("_?[A-Z][A-Z0-9_]+", node.id):
            yield node.id
        elif isinstance(node, ast.Attribute) and BOUND_NAME.search(node.attr):
            yield node.attr
    yield from (argument.arg for argument in kernel.args.args if BOUND_NAME.search(argument.arg))


def python_files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def kernels(package: str) -> Iterator[tuple[Path, ast.FunctionDef]]:
    for path in python_files(package):
        for node in ast.parse(path.read_text()).body:
            if is_kernel(node):
                assert isinstance(node, ast.FunctionDef)
                yield path, node


def constants(path: Path) -> Iterator[str]:
    """Yield the names that a module assigns at its top level."""
    for node in ast.parse(path.read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def names_in(cell: str) -> list[str]:
    return [name for quoted in re.findall(r"`([^`]+)`", cell) for name in expanded(quoted)]


def expanded(name: str) -> list[str]:
    """Expand braces: `a_{b,c}` is two names."""
    match = re.fullmatch(r"(.*)\{([^}]*)\}(.*)", name)
    return [f"{match[1]}{choice}{match[3]}" for choice in match[2].split(",")] if match else [name]


def rows_of(text: str) -> list[list[str]]:
    section = text.split("\n## Bounds\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows if not set(row[0].strip()) <= set("- :")]


@pytest.fixture(scope="module")
def table() -> list[list[str]]:
    return [row for row in rows_of((ROOT / "ARCHITECTURE.md").read_text()) if not row[0].startswith("bound ")]


def missing(wanted: set[str], table: list[list[str]]) -> list[str]:
    known = {name for row in table for name in names_in(row[0])}
    return sorted(name for name in wanted - NO_BOUNDS if not any(fnmatch(name, pattern) for pattern in known))


def test_the_table_has_every_bound_of_a_kernel(table: list[list[str]]) -> None:
    wanted = {
        name for package in KERNEL_PACKAGES for _, kernel in kernels(package) for name in bounds_of_kernel(kernel)
    }
    assert "settle_contracted_max" in wanted
    assert "TOO_DEAR" in wanted
    assert missing(wanted, table) == []


def test_kernels_have_no_bounds_without_a_name() -> None:
    for package in KERNEL_PACKAGES:
        for path, kernel in kernels(package):
            if kernel.name in NUMBERS_WITHOUT_NAMES or path.name in KINDS_AND_POSITIONS:
                continue
            numbers = [
                node.value
                for node in ast.walk(kernel)
                if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and node.value > 2
            ]
            assert not numbers, f"{path.name}, {kernel.name}: {numbers} has no name, so the table of bounds misses it"


def test_the_table_has_the_bounds_around_the_kernels(table: list[list[str]]) -> None:
    modules = [path for package in (*AROUND, "planmesh/search") for path in python_files(package)]
    wanted = {name for path in modules for name in constants(path) if name.isupper() and BOUND_NAME.search(name)}
    assert "PENDING_MAX" in wanted
    assert missing(wanted, table) == []


def test_the_table_has_no_name_that_the_sources_lack(table: list[list[str]]) -> None:
    packages = ("planmesh", "services", "workers")
    text = "\n".join(
        path.read_text()
        for name in packages
        for path in sorted((ROOT / name).rglob("*"))
        if path.suffix in {".py", ".lua"}
    )
    constant = re.compile("_?[A-Z][A-Z0-9_]*[*]?")
    named = {name for row in table for name in names_in(row[0]) if constant.fullmatch(name)}
    assert "PENDING_MAX" in named
    assert sorted(name for name in named if not re.search(rf"\b{name.rstrip('*')}", text)) == []


def test_every_row_says_what_happens_and_why_the_answer_stays_exact(table: list[list[str]]) -> None:
    for row in table:
        assert len(row) == 6, f"expected six columns, got {len(row)} of {row[0]}"
        assert all(len(cell) > 0 for cell in row), f"an empty cell beside {row[0]}"


def test_a_bound_that_the_table_lacks_is_found(table: list[list[str]]) -> None:
    kernel = ast.parse("@kernel\ndef search(nodes_max: int) -> None:\n    if nodes_max > NEW_MAX: pass").body[0]
    assert isinstance(kernel, ast.FunctionDef)
    assert is_kernel(kernel)
    found = set(bounds_of_kernel(kernel))
    assert found == {"nodes_max", "NEW_MAX"}
    assert missing(found, table) == ["NEW_MAX", "nodes_max"]
