"""The checker finds nothing in a right history, and finds and names each planted error."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from planmesh.client import Change, DeleteEdge, DeleteNode, UpsertEdge, UpsertNode
from tests.live.checker import Fault, check
from tests.live.history import OK, Asked, Ended, Loaded, Record, Update, change_record, read_history, write_history
from tests.live.model import Model, TargetMissingError

LOADED: Final = Loaded(
    3, ["a", "b", "c", "d", "x"], [("a", "b", 1.0), ("b", "c", 2.0), ("c", "d", 3.0), ("a", "d", 9.0), ("d", "a", 1.0)]
)

CALL_S: Final = 0.01
PAUSE_S: Final = 0.3
"""From one call to the next, in the clock of the history: four calls later, an acknowledgement is a second old."""


class Written:
    """A history that one careful server could have given: every call is answered before the next begins."""

    def __init__(self) -> None:
        self.records: list[Record] = [LOADED]
        self.model = Model(LOADED.nodes, LOADED.edges)
        self.version = LOADED.version
        self.now_s = 100.0

    def _times(self) -> dict[str, Any]:
        self.now_s += PAUSE_S
        return {"begin_s": self.now_s, "end_s": self.now_s + CALL_S}

    def update(self, key: str, *changes: Change, if_version: int | None = None) -> None:
        outcome, version = OK, self.version + 1
        if if_version not in (None, self.version):
            outcome, version = "VersionConflict", self.version
        else:
            try:
                self.model.apply(changes)
                self.version = version
            except TargetMissingError:
                outcome, version = "ChangeTargetUnknown", 0
        self.attempt(key, outcome, version, changes, if_version=if_version)

    def attempt(self, key: str, outcome: str, version: int, changes: Any, **fields: Any) -> None:
        records = [change_record(change) for change in changes]
        self.records.append(
            Update(client=0, key=key, **self._times(), outcome=outcome, version=version, changes=records, **fields)
        )

    def ask(self, start: str, goal: str, path: str = "", **options: Any) -> None:
        """Ask for a plan; `path` is the right one, "" for none, and a node that is named for its error."""
        fields: dict[str, Any] = {"outcome": OK, "version": self.version, "nodes": list(path)}
        if not path:
            for node in (start, goal):
                state = self.model.states.get(node)
                if state in (None, "down"):
                    fields = {"outcome": "NodeDown" if state else "NodeUnknown", "named": node}
                    break
            else:
                assert math.isinf(self.model.cheapest(start, goal))
                fields = {"outcome": "NoPath"}
        else:
            costs = [self.model.out[tail][head] for tail, head in itertools.pairwise(path)]
            fields |= {"step_costs": costs, "cost": sum(costs)}
        self.records.append(Asked(client=1, start=start, goal=goal, **self._times(), **fields, **options))


def right() -> list[Record]:
    written = Written()
    written.ask("a", "d", "abcd")  # 1
    written.update("k1", UpsertEdge("b", "c", cost=7.0))  # 2: version 4
    written.ask("a", "d", "ad", min_version=4)  # 3
    written.update("k2", UpsertEdge("b", "c", cost_factor=2.0))  # 4: version 5, b to c costs 4
    written.ask("a", "d", "abcd", min_version=5)  # 5
    written.update("k3", UpsertNode("b", state="down"), if_version=5)  # 6: version 6
    written.ask("a", "d", "ad", min_version=6)  # 7
    written.ask("a", "b", min_version=6)  # 8: down
    written.ask("a", "c", min_version=6)  # 9: no path
    written.update("k4", UpsertNode("b", state="up"), if_version=5)  # 10: conflict
    written.update("k5", UpsertNode("n"), UpsertEdge("d", "n", cost=4.0), UpsertNode("b", state="degraded"))  # 11: 7
    written.ask("a", "n", "abcdn" if written.model.cheapest("a", "d") < 9 else "adn", min_version=7)  # 12
    written.update("k6", DeleteEdge("a", "x"))  # 13: refused
    written.attempt("k7", "ServiceUnavailable", 0, [DeleteNode("c")])  # 14: in doubt
    written.update("k7", DeleteNode("c"))  # 15: version 8
    written.attempt("k7", OK, 8, [DeleteNode("c")], repeated=True)  # 16
    written.ask("a", "c", min_version=8)  # 17: unknown
    written.ask("a", "d", "ad")  # 18
    written.update("k8", UpsertEdge("a", "b", cost=2.0))  # 19: version 9
    written.ask("a", "b", "ab")  # 20
    written.ask("a", "d", "ad", at_version=9)  # 21
    return [*written.records, Ended(9, 3)]


def planted(position: int, **fields: Any) -> Callable[[list[Record]], None]:
    def plant(records: list[Record]) -> None:
        records[position] = replace(records[position], **fields)

    return plant


def removed(first: int, count: int = 1) -> Callable[[list[Record]], None]:
    def plant(records: list[Record]) -> None:
        del records[first : first + count]

    return plant


def on_a_stream(*positions: int) -> Callable[[list[Record]], None]:
    """Make updates a stream that was answered in the order of the positions."""

    def plant(records: list[Record]) -> None:
        batches = [one for one in (records[position] for position in positions) if isinstance(one, Update)]
        records[:] = [record for record in records if record not in batches]
        records += [replace(batch, stream="s") for batch in batches]

    return plant


def test_a_right_history_has_no_faults(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    write_history(path, right())
    report = check(read_history(path))
    assert report.findings == []
    assert report.versions == 6
    outcomes = {name.split()[1] for name in report.outcomes}
    assert outcomes >= {OK, "NoPath", "NodeDown", "NodeUnknown", "VersionConflict", "ChangeTargetUnknown"}


@pytest.mark.parametrize(
    ("plant", "fault", "text"),
    [
        (planted(5, cost=4.0), Fault.COST, "expected 8 on version 5, got 4"),
        (planted(21, version=8, at_version=8, cost=10.0), Fault.COST, "expected 9 on version 8, got 10"),
        (planted(12, nodes=["a", "d"], step_costs=[12.0]), Fault.PATH, "from start to goal"),
        (planted(5, step_costs=[1.0, 2.0, 5.0]), Fault.PATH, "b -> c to cost 4.0, got 2"),
        (planted(5, step_costs=[1.0, 4.0, 3.0], avoid_nodes=["c"]), Fault.PATH, "c was to be avoided"),
        (planted(5, avoid_edges=[("b", "c")]), Fault.PATH, "b -> c was to be avoided"),
        (planted(7, nodes=list("abcd"), step_costs=[1.0, 4.0, 3.0], cost=8.0), Fault.PATH, "b is not up"),
        (planted(7, nodes=list("abcd"), step_costs=[1.0, 4.0, 3.0], cost=8.0), Fault.COST, "expected 9"),
        (planted(7, version=5, nodes=list("abcd"), step_costs=[1.0, 4.0, 3.0], cost=8.0), Fault.BACK, "version 6"),
        (planted(18, version=5, nodes=list("abcd"), step_costs=[1.0, 4.0, 3.0], cost=8.0), Fault.STALE, "version 7"),
        (planted(21, version=8), Fault.AT_VERSION, "expected version 9, got 8"),
        (planted(3, version=5, min_version=4), Fault.FUTURE, "expected at most version 4, got 5"),
        (planted(3, outcome="NoPath", version=0), Fault.NOT_FOUND, "NoPath is right on no version"),
        (planted(8, outcome="NodeUnknown"), Fault.NOT_FOUND, "NodeUnknown is right on no version"),
        (planted(17, named="a"), Fault.NOT_FOUND, "NodeUnknown is right on no version"),
        (planted(21, outcome="VersionGone", version=0), Fault.NOT_FOUND, "cannot be gone"),
        (planted(5, outcome="InternalError", version=0), Fault.UNEXPECTED, "InternalError"),
        (planted(6, outcome="InvalidChange"), Fault.UNEXPECTED, "InvalidChange"),
        (removed(11), Fault.LOST, "version 7 has no acknowledged batch"),
        (planted(-1, version=8), Fault.LOST, "ends with version 8, the last acknowledged is 9"),
        (planted(19, version=10), Fault.LOST, "version 9 has no acknowledged batch"),
        (planted(19, version=8), Fault.SHARED, "got 8 for k7, k8"),
        (planted(19, version=8), Fault.ORDER, "version 8 was acknowledged before"),
        (on_a_stream(19, 11), Fault.ORDER, "the batch before it on stream s has version 9"),
        (planted(16, version=9), Fault.TWICE, "expected one version of key k7, got [8, 9]"),
        (planted(16, repeated=False), Fault.TWICE, "expected key k7 to be known"),
        (planted(6, if_version=4), Fault.COMPARE, "a batch for version 4 became version 6"),
        (planted(10, if_version=6), Fault.REFUSAL, "a conflict of versions that are equal"),
        (planted(10, version=3), Fault.REFUSAL, "expected a conflict with a version from 6 to 6, got 3"),
        (planted(13, changes=[change_record(DeleteEdge("a", "d"))]), Fault.REFUSAL, "ChangeTargetUnknown is right on"),
        (planted(19, changes=[change_record(DeleteEdge("a", "x"))]), Fault.REFUSAL, "a -> x does not exist"),
        (removed(14, count=3), Fault.LOST, "version 8 has no acknowledged batch"),
        (removed(15, count=2), Fault.UNSETTLED, "key k7"),
    ],
)
def test_a_planted_error_is_found_and_named(plant: Callable[[list[Record]], None], fault: Fault, text: str) -> None:
    records = right()
    plant(records)
    found = [str(finding) for finding in check(records).findings if finding.fault is fault]
    assert any(text in one for one in found), f"expected {fault} with {text!r}, got {check(records).findings}"


def test_a_lost_update_is_seen_in_answers_that_do_not_have_it() -> None:
    """The server acknowledged version 9 and forgot what it changed."""
    records = right()
    forgetful = planted(20, cost=1.0, step_costs=[1.0])
    forgetful(records)
    findings = check(records).findings
    assert [finding.fault for finding in findings] == [Fault.COST, Fault.PATH]
    assert all(finding.record == records[20] for finding in findings)


def test_a_plan_may_be_of_any_version_during_its_call() -> None:
    """It began before versions 4 and 5 were sent, and ended after both."""
    for version, path, costs in ((3, "abcd", [1.0, 2.0, 3.0]), (4, "ad", [9.0]), (5, "abcd", [1.0, 4.0, 3.0])):
        records = right()
        asked, last = records[1], records[5]
        assert isinstance(asked, Asked)
        assert isinstance(last, Asked)
        fields = {"version": version, "nodes": list(path), "step_costs": costs, "cost": sum(costs)}
        records[1] = replace(asked, end_s=last.end_s, **fields)  # type: ignore[arg-type]
        assert check(records).findings == []
