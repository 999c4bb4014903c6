"""Random graphs under bounds that bite: every pair is exact, and every bound was reached."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exactness.cases import BOUND_NAMES, Case, check, draw
from tests.exactness.counterexample import fails, from_text, shrink, to_text

GRAPHS: Final = 2_000
"""A minute's worth; `make test-exact` checks 100,000."""

COUNTEREXAMPLES: Final = sorted((Path(__file__).parent / "counterexamples").glob("*.txt"))


@pytest.mark.slow
def test_no_bound_changes_an_answer() -> None:
    reached: Counter[str] = Counter()
    for number in range(GRAPHS):
        case = draw(f"test:{number}")
        try:
            reached += check(case)
        except Exception as error:
            small = shrink(case) if fails(case) else case
            pytest.fail(
                f"{case.origin}: {type(error).__name__}: {error}\n{to_text(small, 'made as small as it can be')}"
            )
    never = [name for name in BOUND_NAMES if not reached[name]]
    assert not never, f"no graph reached {', '.join(never)}, so nothing is shown about them"


@settings(max_examples=50, deadline=None)
@given(st.text("abcdefgh", min_size=1, max_size=12))
def test_any_seed_is_exact(seed: str) -> None:
    check(draw(seed))


@pytest.mark.parametrize("file", COUNTEREXAMPLES, ids=[file.stem for file in COUNTEREXAMPLES])
def test_counterexamples_of_the_past_are_exact(file: Path) -> None:
    check(from_text(file.read_text()))


def test_there_are_counterexamples() -> None:
    assert len(COUNTEREXAMPLES) >= 3


def test_a_case_survives_being_written() -> None:
    for number in range(50):
        case = draw(f"written:{number}")
        assert from_text(to_text(case, "any comment\nof two lines")) == case


def test_a_wrong_answer_is_found() -> None:
    """The checker itself: an edge that the reference has and the mesh does not."""
    case = Case("two nodes", 2, ((0, 1, 1.0),), (0, 0))
    check(case)
    assert not fails(case)
