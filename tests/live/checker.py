"""Checks a history against a sequential model.

Every answer must be right on the version that it names, and the versions must be in an order that the times of the
calls allow.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeVar

from tests.live.history import EXCUSED, OK, Asked, Ended, Loaded, Record, Update, change_of
from tests.live.model import Model, TargetMissingError
from tests.live.timeline import Batch, Timeline, batches_of

STALENESS_S_MAX: Final = 1.0
"""The default of staleness_ms_max: how far an answer without min_version may be behind the acknowledgements."""

AnyRecord = TypeVar("AnyRecord")


class Fault(StrEnum):
    """What is wrong with a history."""

    COST = "wrong cost"
    PATH = "wrong path"
    NOT_FOUND = "wrong error"
    UNEXPECTED = "unexpected error"
    BACK = "the version went back"
    AT_VERSION = "another version than at_version"
    FUTURE = "a version that did not exist yet"
    STALE = "stale answer"
    LOST = "lost update"
    SHARED = "a version of two batches"
    TWICE = "a batch applied twice"
    COMPARE = "compare and set on another version"
    ORDER = "a version older than that of an earlier batch"
    REFUSAL = "wrong refusal"
    UNSETTLED = "unsettled update"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of a history, and the records that show it."""

    fault: Fault
    text: str
    record: object = None

    def __str__(self) -> str:
        return f"{self.fault}: {self.text}" + (f"\n    {self.record}" if self.record is not None else "")


@dataclass(slots=True)
class Report:
    """What a check found, and how much it looked at."""

    findings: list[Finding]
    outcomes: Counter[str] = field(default_factory=Counter)
    """Of pairs and of attempts of updates, by "plan NoPath" and the like."""
    versions: int = 0

    @property
    def faults(self) -> set[Fault]:
        return {finding.fault for finding in self.findings}


def check(records: Iterable[Record]) -> Report:
    """Check a whole history."""
    records = list(records)
    (loaded,), (ended,) = _of(records, Loaded), _of(records, Ended)
    updates, asked = _of(records, Update), _of(records, Asked)
    checker = _Checker(loaded, ended, updates, asked)
    checker.check()
    outcomes = Counter(f"{one.method} {one.outcome}" for one in asked)
    outcomes.update(f"update {update.outcome}" for update in updates)
    return Report(checker.findings, outcomes, checker.timeline.newest - loaded.version)


def _of(records: Sequence[object], kind: type[AnyRecord]) -> list[AnyRecord]:
    return [record for record in records if isinstance(record, kind)]


class _Checker:
    def __init__(self, loaded: Loaded, ended: Ended, updates: list[Update], asked: list[Asked]) -> None:
        self.findings: list[Finding] = []
        self._loaded, self._ended = loaded, ended
        self._updates, self._asked = updates, asked
        self._batches = batches_of(updates)
        self.timeline = Timeline(loaded, self._batches)
        self._answers: dict[int, list[Asked]] = defaultdict(list)
        """By version."""
        self._anywhere: dict[int, list[Asked | Update]] = defaultdict(list)
        """Errors that must be right on one of several versions: each is at all of them, by its id."""

    def check(self) -> None:
        self._check_versions()
        for batch in self._batches:
            self._check_batch(batch)
        self._check_streams()
        for update in self._updates:
            self._check_refusal(update)
        for asked in self._asked:
            self._check_asked(asked)
        self._replay()

    def _find(self, fault: Fault, text: str, record: object = None) -> None:
        self.findings.append(Finding(fault, text, record))

    def _check_versions(self) -> None:
        for version, batches in sorted(self.timeline.made_by.items()):
            if len(batches) > 1 or version <= self._loaded.version:
                keys = ", ".join(batch.first.key for batch in batches)
                self._find(Fault.SHARED, f"expected a version for each batch, got {version} for {keys}")
        for version in self.timeline.missing:
            doubtful = [batch.first.key for batch in self._batches if batch.is_in_doubt]
            self._find(Fault.LOST, f"version {version} has no acknowledged batch; in doubt: {doubtful}")
        if self._ended.version != self.timeline.newest:
            text = f"the graph ends with version {self._ended.version}, the last acknowledged is {self.timeline.newest}"
            self._find(Fault.LOST, text)

    def _check_batch(self, batch: Batch) -> None:
        first = batch.first
        if not batch.versions:
            if batch.attempts[-1].outcome in EXCUSED:
                self._find(Fault.UNSETTLED, f"no attempt with key {first.key} has an outcome", first)
            return
        if len(batch.versions) > 1:
            self._find(Fault.TWICE, f"expected one version of key {first.key}, got {sorted(batch.versions)}", first)
        version = min(batch.versions)
        if first.if_version is not None and version != first.if_version + 1:
            text = f"a batch for version {first.if_version} became version {version}, not the next"
            self._find(Fault.COMPARE, text, first)
        before = self.timeline.acknowledged_before(batch.begin_s)
        if version <= before:
            self._find(Fault.ORDER, f"version {before} was acknowledged before this was sent, got {version}", first)
        answered = [attempt for attempt in batch.attempts if attempt.outcome == OK]
        for attempt in batch.attempts:
            later = [one for one in answered if one.begin_s > attempt.end_s]
            if attempt.outcome == OK and not all(one.repeated for one in later):
                self._find(Fault.TWICE, f"expected key {first.key} to be known, got it applied", attempt)

    def _check_streams(self) -> None:
        """Check that the batches of each stream were applied in their order."""
        newest: dict[str, Update] = {}
        for update in self._updates:
            if update.stream and update.outcome == OK and not update.repeated:
                before = newest.setdefault(update.stream, update)
                if update.version < before.version:
                    text = f"the batch before it on stream {update.stream} has version {before.version}"
                    self._find(Fault.ORDER, text, update)
                newest[update.stream] = update

    def _check_refusal(self, update: Update) -> None:
        """Check the errors of one attempt; those that depend on the graph's content are checked in the replay."""
        since = self.timeline.acknowledged_before(update.begin_s)
        until = self.timeline.possible_at(update.end_s)
        if update.outcome == "VersionConflict":
            if update.if_version is None or update.version == update.if_version:
                self._find(Fault.REFUSAL, "a conflict of versions that are equal", update)
            elif not since <= update.version <= until:
                text = f"expected a conflict with a version from {since} to {until}, got {update.version}"
                self._find(Fault.REFUSAL, text, update)
        elif update.outcome == "ChangeTargetUnknown":
            for version in range(since, until + 1):
                self._anywhere[version].append(update)
        elif update.outcome != OK and update.outcome not in EXCUSED:
            self._find(Fault.UNEXPECTED, f"an update ended with {update.outcome}: {update.message}", update)

    def _check_asked(self, asked: Asked) -> None:
        """Check an answer's version, and put it where the replay checks the rest."""
        if asked.outcome in EXCUSED:
            return
        if asked.outcome == "VersionGone":
            if asked.at_version is None or asked.at_version >= self._ended.base_version:
                self._find(Fault.NOT_FOUND, "the version cannot be gone", asked)
            return
        if asked.outcome not in {OK, "NoPath", "NodeDown", "NodeUnknown"}:
            self._find(Fault.UNEXPECTED, f"a plan ended with {asked.outcome}: {asked.message}", asked)
            return
        fresh = self.timeline.acknowledged_before(asked.begin_s - STALENESS_S_MAX)
        until = self.timeline.possible_at(asked.end_s)
        if asked.version:
            self._check_version(asked, fresh, until)
            self._answers[asked.version].append(asked)
            return
        exact = asked.at_version
        since = max(asked.min_version, fresh)
        possible = range(since, until + 1) if exact is None else range(exact, min(exact, until) + 1)
        if not possible:
            self._find(Fault.FUTURE, f"an error without a version that it can be of, up to {until}", asked)
        for version in possible:
            self._anywhere[version].append(asked)

    def _check_version(self, asked: Asked, fresh: int, until: int) -> None:
        version = asked.version
        if asked.at_version is not None:
            if version != asked.at_version:
                self._find(Fault.AT_VERSION, f"expected version {asked.at_version}, got {version}", asked)
        elif version < asked.min_version:
            self._find(Fault.BACK, f"expected version {asked.min_version} or later, got {version}", asked)
        elif version < fresh:
            text = f"version {fresh} was acknowledged {STALENESS_S_MAX:g} s before the call began, got {version}"
            self._find(Fault.STALE, text, asked)
        if not self._loaded.version <= version <= until:
            self._find(Fault.FUTURE, f"expected at most version {until}, got {version}", asked)

    def _replay(self) -> None:
        """Make every version in order, and check what was said of it."""
        model = Model(self._loaded.nodes, self._loaded.edges)
        right: set[int] = set()
        some: dict[int, Asked | Update] = {}
        for version in range(self._loaded.version, self.timeline.newest + 1):
            for batch in self.timeline.made_by.get(version, ())[:1] if version > self._loaded.version else ():
                self._make(model, batch, version)
            for asked in self._answers.get(version, ()):
                self._check_answer(model, asked)
            for one in self._anywhere.get(version, ()):
                some[id(one)] = one
                if id(one) not in right and _is_right(model, one):
                    right.add(id(one))
        for identity, one in some.items():
            if identity not in right:
                fault = Fault.NOT_FOUND if isinstance(one, Asked) else Fault.REFUSAL
                self._find(fault, f"{one.outcome} is right on no version that was there during the call", one)

    def _make(self, model: Model, batch: Batch, version: int) -> None:
        first = batch.first
        try:
            model.apply([change_of(change) for change in first.changes], ignore_missing=first.ignore_missing)
        except TargetMissingError as error:
            self._find(Fault.REFUSAL, f"version {version} was applied, though {error} does not exist", first)

    def _check_answer(self, model: Model, asked: Asked) -> None:
        if asked.outcome == "NoPath":
            if not _is_right(model, asked):
                self._find(Fault.NOT_FOUND, f"there is a path on version {asked.version}", asked)
            return
        for end in (asked.start, asked.goal):
            if not model.is_up(end):
                self._find(Fault.PATH, f"{end} is not up on version {asked.version}", asked)
                return
        cost = model.cheapest(asked.start, asked.goal, asked.avoid_nodes, asked.avoid_edges)
        if cost != asked.cost:
            self._find(Fault.COST, f"expected {cost:g} on version {asked.version}, got {asked.cost:g}", asked)
        for fault in _faults_of_path(model, asked) if asked.nodes else ():
            self._find(Fault.PATH, f"{fault} on version {asked.version}", asked)


def _is_right(model: Model, one: Asked | Update) -> bool:
    """Whether an error is right on a version."""
    if isinstance(one, Update):
        return model.refuses([change_of(change) for change in one.changes], ignore_missing=one.ignore_missing)
    ends = (one.start, one.goal)
    if one.outcome == "NodeUnknown":
        return one.named in ends and one.named not in model.states
    if one.outcome == "NodeDown":
        return one.named in ends and model.states.get(one.named) == "down"
    if not all(map(model.is_up, ends)):
        return False
    return math.isinf(model.cheapest(*ends, one.avoid_nodes, one.avoid_edges))


def _faults_of_path(model: Model, asked: Asked) -> list[str]:
    """Say what is wrong with the path of an answer."""
    faults = []
    nodes, costs = asked.nodes, asked.step_costs
    if nodes[0] != asked.start or nodes[-1] != asked.goal or len(costs) != len(nodes) - 1:
        faults.append("expected a path from start to goal with a cost for each step")
    for source, target, cost in zip(nodes, nodes[1:], costs, strict=False):
        if model.cost(source, target) != cost:
            faults.append(f"expected {source} -> {target} to cost {model.cost(source, target)}, got {cost:g}")
        if [source, target] in [list(pair) for pair in asked.avoid_edges]:
            faults.append(f"{source} -> {target} was to be avoided")
    faults += [f"{node} is not up" for node in nodes if not model.is_up(node)]
    faults += [f"{node} was to be avoided" for node in nodes if node in asked.avoid_nodes]
    if len(set(nodes)) != len(nodes):
        faults.append("a node is twice on the path")
    if sum(costs) != asked.cost:
        faults.append(f"the steps cost {sum(costs):g} together, the plan {asked.cost:g}")
    return faults
