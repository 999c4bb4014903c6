"""`.ci/run-tests`: failed tests run once more, and those that pass only then are named."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.tools

SCRIPT = Path(__file__).resolve().parents[2] / ".ci" / "run-tests"

MAKEFILE = """\
test:
\t@{python} -m pytest -c pytest.ini $(ARGS)
"""

TESTS = """\
from pathlib import Path

import pytest


def test_good():
    pass


@pytest.mark.parametrize("case", ["a case - of two words"])
def test_second_time_good(case):
    first = Path("been-here")
    if not first.exists():
        first.touch()
        raise AssertionError("the first time")
"""

NEVER_RUN = """

def never():
    return 1
"""

BAD = """

def test_bad():
    raise AssertionError("every time")
"""


@dataclass(frozen=True)
class Outcome:
    """One run of the script: its exit code, its output, and the lines of build/second-runs."""

    code: int
    printed: str
    second_runs: list[str]


def run_in(folder: Path, tests: str, *arguments: str) -> Outcome:
    bash, make = shutil.which("bash"), shutil.which("make")
    if bash is None or make is None:
        pytest.skip("needs bash and make on PATH")
    (folder / "Makefile").write_text(MAKEFILE.format(python=sys.executable))
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_some.py").write_text(tests)
    # `-n 0`, with which the script repeats failed tests, is an option of pytest-xdist.
    done = subprocess.run(
        [bash, SCRIPT, make, "test", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    rows = folder / "build" / "second-runs"
    return Outcome(done.returncode, done.stdout + done.stderr, rows.read_text().splitlines() if rows.exists() else [])


def test_a_test_that_passes_the_second_time_is_named_and_the_run_passes(tmp_path: Path) -> None:
    outcome = run_in(tmp_path, TESTS)
    assert outcome.code == 0, outcome.printed
    assert outcome.second_runs == ["test\ttest_some.py::test_second_time_good[a case - of two words]"]


def test_a_test_that_fails_twice_fails_the_run_and_is_not_named(tmp_path: Path) -> None:
    outcome = run_in(tmp_path, TESTS + BAD)
    assert outcome.code != 0, outcome.printed
    assert outcome.second_runs == ["test\ttest_some.py::test_second_time_good[a case - of two words]"]


def test_where_all_pass_nothing_runs_twice_and_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "been-here").touch()
    outcome = run_in(tmp_path, TESTS)
    assert outcome.code == 0, outcome.printed
    assert "once more" not in outcome.printed
    assert outcome.second_runs == []


def test_the_second_run_needs_no_coverage(tmp_path: Path) -> None:
    """It runs a few tests, so what they cover says nothing."""
    outcome = run_in(tmp_path, TESTS + NEVER_RUN, "--cov", "--cov-fail-under=100")
    assert outcome.code == 0, outcome.printed
    assert outcome.printed.count("Required test coverage of 100% not reached") == 1


def test_too_little_coverage_fails_the_run(tmp_path: Path) -> None:
    (tmp_path / "been-here").touch()
    outcome = run_in(tmp_path, TESTS + NEVER_RUN, "--cov", "--cov-fail-under=100")
    assert outcome.code != 0
    assert "once more" not in outcome.printed


def test_what_cannot_be_collected_fails_the_run(tmp_path: Path) -> None:
    outcome = run_in(tmp_path, "import no_such_module\n")
    assert outcome.code != 0
    assert outcome.second_runs == []
