"""Counting, percentiles, and the messages from a Locust worker to its master."""

from __future__ import annotations

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from load.tally import BUCKET_RATIO, Outcome, Row, Tally


def tally_of(*latencies_ms: float, name: str = "Plan hot", now_s: float = 100.0) -> Tally:
    tally = Tally()
    for latency_ms in latencies_ms:
        tally.count(name, now_s, latency_ms, Outcome(plans=1, cached=1))
    return tally


@given(st.lists(st.floats(0.05, 30_000), min_size=1, max_size=200), st.sampled_from([50, 95, 99, 100]))
def test_percentiles_are_those_of_the_latencies_to_a_bucket(latencies_ms: list[float], percent: int) -> None:
    found = tally_of(*latencies_ms).total().percentile_ms(percent)
    exact = float(np.percentile(latencies_ms, percent, method="inverted_cdf"))
    assert exact / BUCKET_RATIO <= found <= exact * BUCKET_RATIO


def test_nothing_has_no_latency_and_no_shares() -> None:
    row = Tally().total()
    assert (row.percentile_ms(50), row.cached_share, row.crossed_share) == (0, 0, 0)
    assert Tally().seconds == 0


def test_only_answers_have_latencies() -> None:
    tally = tally_of(10.0)
    tally.count("Plan hot", 101, 0.1, Outcome(refused=1))
    tally.count("Plan hot", 102, 0.1, Outcome(), failure="UNAVAILABLE")
    row = tally.rows["Plan hot"]
    assert (row.calls, row.refused, row.failures, row.buckets.total()) == (3, 1, 1, 1)
    assert row.percentile_ms(99) == pytest.approx(10, rel=BUCKET_RATIO - 1)


def test_shares_are_of_plans() -> None:
    tally = Tally()
    tally.count("PlanMany", 1, 5, Outcome(plans=10, cached=4, crossed=7, no_path=1))
    tally.count("GetNeighbors", 1, 5, Outcome())
    total = tally.total()
    assert (total.cached_share, total.crossed_share, total.no_path) == (0.4, 0.7, 1)
    assert tally.total(frozenset({"GetNeighbors"})) == tally.rows["GetNeighbors"]


def test_a_message_survives_the_wire_and_adds_up() -> None:
    worker, master = tally_of(1.0, 2.0), tally_of(3.0, now_s=160.0)
    worker.count_status("UNAVAILABLE SERVICE_UNAVAILABLE", "first")
    worker.count_status("UNAVAILABLE SERVICE_UNAVAILABLE", "second")
    packed = msgpack.unpackb(msgpack.packb(worker.take().to_message()), strict_map_key=False)
    assert worker.total() == Row()
    assert worker.take().to_message() == Tally().to_message()
    master.merge(Tally.of_message(packed))
    assert master.rows["Plan hot"].buckets == tally_of(1.0, 2.0, 3.0).rows["Plan hot"].buckets
    assert master.total().plans == 3
    assert master.statuses == {"UNAVAILABLE SERVICE_UNAVAILABLE": 2}
    assert master.examples == {"UNAVAILABLE SERVICE_UNAVAILABLE": "first"}
    assert master.seconds == pytest.approx(60.002)


def test_an_empty_message_changes_nothing() -> None:
    master = tally_of(3.0)
    before = master.to_message()
    master.merge(Tally.of_message(msgpack.unpackb(msgpack.packb(Tally().to_message()), strict_map_key=False)))
    assert master.to_message() == before
