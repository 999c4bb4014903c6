from __future__ import annotations

import pytest

from planmesh.telemetry.tracing import make_telemetry
from services.partition.ingest.progress import PHASE_SHARES, SPANS, LoadProgress, estimate_left_s


def test_shares_of_all_phases_make_a_whole_in_their_order() -> None:
    assert list(PHASE_SHARES) == list(SPANS)
    assert sum(PHASE_SHARES.values()) == pytest.approx(1.0)


def test_nothing_is_said_while_nothing_is_known() -> None:
    assert estimate_left_s("read", 5.0, 0.0, 0.0, {}) is None
    assert estimate_left_s("index", 5.0, 0.0, 0.0, {}) is None


def test_a_phase_goes_on_at_its_own_speed_and_later_ones_take_their_usual_share() -> None:
    later = (PHASE_SHARES["overlay"] + PHASE_SHARES["publish"]) / PHASE_SHARES["index"]
    assert estimate_left_s("index", 30.0, 0.25, 0.0, {"read": 1.0}) == pytest.approx(90.0 + 120.0 * later)
    assert estimate_left_s("publish", 3.0, 0.5, 0.0, {}) == pytest.approx(3.0)


def test_before_a_phase_has_a_speed_it_is_judged_by_the_phases_before_it() -> None:
    seconds = {"read": 20.0}
    per_share = 20.0 / PHASE_SHARES["read"]
    rest = 1.0 - PHASE_SHARES["read"]
    assert estimate_left_s("partition", 0.0, 0.0, 0.0, seconds) == pytest.approx(per_share * rest)
    # A phase that takes longer than usual is not negative.
    later = rest - PHASE_SHARES["partition"]
    assert estimate_left_s("partition", 1e6, 0.0, 0.0, seconds) == pytest.approx(per_share * later)


def test_what_was_done_before_a_restart_says_nothing_about_speed() -> None:
    later = (PHASE_SHARES["overlay"] + PHASE_SHARES["publish"]) / PHASE_SHARES["index"]
    assert estimate_left_s("index", 10.0, 0.6, 0.5, {}) == pytest.approx(100.0 * 0.4 + 100.0 * later)
    assert estimate_left_s("index", 0.0, 0.5, 0.5, {}) is None


def test_the_message_has_an_estimate_when_there_is_one() -> None:
    progress = LoadProgress("g", make_telemetry("test"), resumed=True, started_unix_s=12.5)
    with progress.phase("index", 4):
        progress.begin_at(2, 0.5)
        message = progress.message()
        assert (message.phase, message.done, message.total, message.resumed) == ("index", 2, 4, True)
        assert message.started_at.ToNanoseconds() == 12_500_000_000
        assert not message.HasField("remaining_s")
        assert progress.text() == "index, 2 of 4"
        progress.advance(3, share=0.75)
        assert progress.message().remaining_s > 0.0
    assert [one.phase for one in progress.times()] == list(SPANS)
