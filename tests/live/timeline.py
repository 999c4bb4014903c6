"""The versions of a history, and which of them an answer may be of."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from tests.live.history import IN_DOUBT, OK, Loaded, Update


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch, over all attempts with its key."""

    attempts: Sequence[Update]

    @property
    def first(self) -> Update:
        return self.attempts[0]

    @property
    def versions(self) -> set[int]:
        """The versions that were acknowledged: one, unless something is wrong; none of a refused batch."""
        return {attempt.version for attempt in self.attempts if attempt.outcome == OK}

    @property
    def begin_s(self) -> float:
        return min(attempt.begin_s for attempt in self.attempts)

    @property
    def acknowledged_s(self) -> float:
        return min(attempt.end_s for attempt in self.attempts if attempt.outcome == OK)

    @property
    def is_in_doubt(self) -> bool:
        """Whether the batch may have been applied without anybody being told."""
        return not self.versions and any(attempt.outcome in IN_DOUBT for attempt in self.attempts)


def batches_of(updates: Sequence[Update]) -> list[Batch]:
    """Return the batches of updates."""
    attempts: dict[str, list[Update]] = defaultdict(list)
    for update in updates:
        attempts[update.key].append(update)
    return [Batch(sorted(some, key=lambda one: one.begin_s)) for some in attempts.values()]


class Timeline:
    """When versions became possible, and when they were acknowledged."""

    def __init__(self, loaded: Loaded, batches: Sequence[Batch]) -> None:
        self.base = loaded.version
        self.made_by: dict[int, list[Batch]] = defaultdict(list)
        for batch in batches:
            for version in batch.versions:
                self.made_by[version].append(batch)
        self.newest = max(self.made_by, default=self.base)
        acknowledged = sorted((batch.acknowledged_s, max(batch.versions)) for batch in batches if batch.versions)
        self._acknowledged_s = [at_s for at_s, _ in acknowledged]
        self._acknowledged = list(accumulate((version for _, version in acknowledged), max))
        versions = range(self.base + 1, self.newest + 1)
        begins_s = [min((batch.begin_s for batch in self.made_by.get(one, ())), default=0.0) for one in versions]
        self._possible_from_s = list(accumulate(begins_s, max))

    @property
    def missing(self) -> list[int]:
        """The versions that no acknowledged batch has."""
        return [version for version in range(self.base + 1, self.newest + 1) if version not in self.made_by]

    def acknowledged_before(self, at_s: float) -> int:
        """Return the newest version whose acknowledgement had arrived before a time."""
        count = bisect_left(self._acknowledged_s, at_s)
        return self._acknowledged[count - 1] if count else self.base

    def possible_at(self, at_s: float) -> int:
        """Return the newest version that can have existed at a time: all batches up to it had been sent."""
        return self.base + bisect_right(self._possible_from_s, at_s)
