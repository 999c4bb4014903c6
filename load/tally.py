"""Counts what Locust does not: plans, cache hits, crossings, refusals and statuses. Mergeable across processes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

BUCKET_RATIO: Final = 1.02
"""Latencies within 2 % of each other share a bucket. Locust rounds its own figures to whole milliseconds."""
BUCKET_MS_MIN: Final = 0.01
EXAMPLES_MAX: Final = 10
"""Kinds of failures for which an example message is kept."""


@dataclass(slots=True)
class Outcome:
    """The counts of one call."""

    plans: int = 0
    cached: int = 0
    crossed: int = 0
    no_path: int = 0
    refused: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Row:
    """The counts of all calls of one name."""

    calls: int = 0
    failures: int = 0
    plans: int = 0
    cached: int = 0
    crossed: int = 0
    no_path: int = 0
    refused: int = 0
    buckets: Counter[int] = field(default_factory=Counter)
    """Number of answered calls per latency bucket."""

    def add(self, other: Row) -> None:
        """Add the counts of another process, or of another name."""
        for name in ("calls", "failures", "plans", "cached", "crossed", "no_path", "refused"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.buckets.update(other.buckets)

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of the answered calls' latencies, within 1 %; 0 if there were none."""
        wanted = math.ceil(self.buckets.total() * percent / 100)
        for bucket in sorted(self.buckets):
            wanted -= self.buckets[bucket]
            if wanted <= 0:
                return float(BUCKET_MS_MIN * BUCKET_RATIO**bucket)
        return 0.0

    @property
    def cached_share(self) -> float:
        """Share of plans that came from a cache."""
        return self.cached / self.plans if self.plans else 0.0

    @property
    def crossed_share(self) -> float:
        """Share of plans that touch more than one partition."""
        return self.crossed / self.plans if self.plans else 0.0


@dataclass(slots=True)
class Tally:
    """The rows of a run by call name, its statuses, and its duration."""

    rows: dict[str, Row] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    """Unanswered calls, and unanswered pairs of batches, by status and reason."""
    examples: dict[str, str] = field(default_factory=dict)
    first_s: float = math.inf
    last_s: float = -math.inf

    def count(self, name: str, now_s: float, latency_ms: float, outcome: Outcome, failure: str = "") -> None:
        """Count a call that ended at `now_s`. Only the latencies of answered calls are counted."""
        row = self.rows.setdefault(name, Row())
        row.calls += 1
        row.plans += outcome.plans
        row.cached += outcome.cached
        row.crossed += outcome.crossed
        row.no_path += outcome.no_path
        row.refused += outcome.refused
        self.first_s = min(self.first_s, now_s - latency_ms / 1e3)
        self.last_s = max(self.last_s, now_s)
        if failure:
            row.failures += 1
        elif not outcome.refused:
            row.buckets[_bucket(latency_ms)] += 1

    def count_status(self, status: str, example: str) -> None:
        """Count a failure or refusal of a call or of a pair."""
        self.statuses[status] += 1
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.setdefault(status, example)

    def merge(self, other: Tally) -> None:
        """Add the counts of another process."""
        for name, row in other.rows.items():
            self.rows.setdefault(name, Row()).add(row)
        self.statuses.update(other.statuses)
        self.examples = dict(list({**other.examples, **self.examples}.items())[:EXAMPLES_MAX])
        self.first_s = min(self.first_s, other.first_s)
        self.last_s = max(self.last_s, other.last_s)

    def take(self) -> Tally:
        """Return the counts since the last `take`, and reset them."""
        taken = Tally(self.rows, self.statuses, self.examples, self.first_s, self.last_s)
        self.rows, self.statuses, self.examples = {}, Counter(), {}
        self.first_s, self.last_s = math.inf, -math.inf
        return taken

    def total(self, names: frozenset[str] | None = None) -> Row:
        """Return the sum of all rows, or of the named ones."""
        total = Row()
        for name, row in self.rows.items():
            if names is None or name in names:
                total.add(row)
        return total

    @property
    def seconds(self) -> float:
        """Time from the start of the first call to the end of the last."""
        return max(self.last_s - self.first_s, 0.0)

    def to_message(self) -> dict[str, Any]:
        """Return the counts as plain values, for the message from a worker to its master."""
        # Not asdict: on Python 3.11 it rebuilds a Counter from its pairs, and so counts the pairs.
        rows = {
            name: {each.name: getattr(row, each.name) for each in fields(row)} | {"buckets": dict(row.buckets)}
            for name, row in self.rows.items()
        }
        return {
            "rows": rows,
            "statuses": dict(self.statuses),
            "examples": dict(self.examples),
            "first_s": self.first_s,
            "last_s": self.last_s,
        }

    @classmethod
    def of_message(cls, message: Mapping[str, Any]) -> Tally:
        """Restore a tally from `to_message`."""
        rows = {name: Row(**{**row, "buckets": Counter(row["buckets"])}) for name, row in message["rows"].items()}
        return cls(**{**message, "rows": rows, "statuses": Counter(message["statuses"])})


def _bucket(latency_ms: float) -> int:
    return round(math.log(max(latency_ms, BUCKET_MS_MIN) / BUCKET_MS_MIN) / math.log(BUCKET_RATIO))
