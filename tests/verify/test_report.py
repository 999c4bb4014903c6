"""A verification counts all findings, keeps some, and says when a file must not be searched."""

from __future__ import annotations

import pytest

from planmesh.search.verification import Fault
from planmesh.verify.report import FINDINGS_MAX, LOAD_AGAIN, UNSEARCHABLE, Finding, Tally, Verification, finding_of


def verification() -> Verification:
    return Verification(graph="g", version=1, snapshot="s", rows="r", partition=None, pairs=2, seed=1)


def finding(check: str) -> Finding:
    return finding_of(Fault(check, "one", "another", 3, (7,)), "overlay", "d1", ("n7",))


def test_a_fault_becomes_a_finding_with_the_ids_of_its_nodes() -> None:
    assert finding("sum") == Finding("overlay", "d1", "sum", 3, ("n7",), "one", "another", LOAD_AGAIN)
    assert finding("sum").to_json() == {
        "file": "overlay",
        "partition": "d1",
        "check": "sum",
        "count": 3,
        "nodes": ["n7"],
        "expected": "one",
        "found": "another",
        "advice": LOAD_AGAIN,
    }


@pytest.mark.parametrize(
    ("check", "unsearchable"), [("range", True), ("halves", True), ("sum", False), ("plan", False)]
)
def test_some_checks_forbid_a_search(check: str, unsearchable: bool) -> None:
    outcome, tally = verification(), Tally("files", "files")
    assert outcome.add(tally, [finding("sum"), finding(check), finding("plan")]) is unsearchable
    assert (check in UNSEARCHABLE) is unsearchable
    assert outcome.add(tally, []) is False


def test_findings_beyond_the_bound_are_only_counted() -> None:
    outcome, tally = verification(), Tally("files", "files")
    assert outcome.ok
    outcome.add(tally, (finding("sum") for _ in range(FINDINGS_MAX + 5)))
    assert outcome.add(tally, [finding("range")])
    assert not outcome.ok
    assert (len(outcome.findings), outcome.findings_total, tally.findings) == (FINDINGS_MAX,) + (FINDINGS_MAX + 6,) * 2


def test_a_check_continues_its_tally_and_measures_failed_ones_too() -> None:
    outcome = verification()
    with outcome.measured("plans", "pairs") as tally:
        tally.checked += 2
    first_s = tally.seconds

    def fail() -> None:
        with outcome.measured("plans", "pairs") as again:
            assert again is tally
            again.checked += 3
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fail()
    assert (tally.checked, list(outcome.tallies)) == (5, ["plans"])
    assert tally.seconds > first_s > 0
    assert outcome.to_json()["checks"] == [
        {"name": "plans", "unit": "pairs", "checked": 5, "findings": 0, "seconds": round(tally.seconds, 3)}
    ]
