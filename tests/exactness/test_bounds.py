"""On random graphs under small bounds, every pair is exact, and every bound is reached."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exactness import cases
from tests.exactness.answers import WrongAnswerError
from tests.exactness.cases import BOUND_NAMES, Case, check, draw
from tests.exactness.counterexample import fails, from_text, shrink, to_text
from tests.search.in_process_mesh import make_graph

GRAPHS: Final = 1_000
"""Graphs of half a minute. `make test-exact` checks 100,000."""

COUNTEREXAMPLES: Final = sorted((Path(__file__).parent / "counterexamples").glob("*.txt"))


@pytest.mark.slow
def test_no_bound_changes_an_answer() -> None:
    reached: Counter[str] = Counter()
    for number in range(GRAPHS):
        case = draw(f"bounds:{number}")
        try:
            reached += check(case)
        except Exception as error:
            small = shrink(case) if fails(case) else case
            pytest.fail(
                f"{case.origin}: {type(error).__name__}: {error}\n{to_text(small, 'reduced as far as possible')}"
            )
    never = [name for name in BOUND_NAMES if not reached[name]]
    assert not never, f"no graph reached {', '.join(never)}, so the test shows nothing about them"


@settings(max_examples=50, deadline=None)
@given(st.text("abcdefgh", min_size=1, max_size=12))
def test_any_seed_is_exact(seed: str) -> None:
    check(draw(seed))


@pytest.mark.parametrize("file", COUNTEREXAMPLES, ids=[file.stem for file in COUNTEREXAMPLES])
def test_former_counterexamples_are_exact(file: Path) -> None:
    check(from_text(file.read_text()))


def test_there_are_counterexamples() -> None:
    assert len(COUNTEREXAMPLES) >= 3


def test_a_case_is_read_as_it_was_written() -> None:
    for number in range(50):
        case = draw(f"written:{number}")
        assert from_text(to_text(case, "any comment\nof two lines")) == case


def test_a_wrong_answer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks the checker: a mesh whose graph lacks an edge of the case fails, and shrinks to that edge."""
    case = Case("three nodes", 3, ((0, 1, 1.0), (1, 2, 2.0)), (0, 0, 1))
    assert not fails(case)
    monkeypatch.setattr(
        cases, "make_graph", lambda count, edges: make_graph(count, [edge for edge in edges if edge[2] != 1.0])
    )
    with pytest.raises(WrongAnswerError, match=r"expected 1\.0, got inf"):
        check(case)
    assert fails(case)
    assert shrink(case).edges == ((0, 1, 1.0),)
