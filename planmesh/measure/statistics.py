"""Percentiles, rates and shares of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Percentiles of latencies in milliseconds. All are zero if there were none."""

    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, latencies_ms: Sequence[float]) -> Percentiles:
        """Compute percentiles by linear interpolation."""
        if not latencies_ms:
            return cls(0.0, 0.0, 0.0, 0.0)
        values = np.asarray(latencies_ms, dtype=np.float64)
        p50, p95, p99 = np.percentile(values, (50, 95, 99))
        return cls(float(p50), float(p95), float(p99), float(values.max()))

    def to_json(self) -> dict[str, float]:
        """Return the percentiles rounded to a microsecond, the resolution of the measurements."""
        return {
            "p50": round(self.p50, 3),
            "p95": round(self.p95, 3),
            "p99": round(self.p99, 3),
            "max": round(self.max, 3),
        }


def per_second(count: int, seconds: float) -> float:
    """Return a rate, 0 when no time passed."""
    return count / seconds if seconds > 0 else 0.0


def share(amount: int, total: int) -> float:
    """Return `amount / total`, 0 when `total` is 0."""
    return amount / total if total else 0.0
