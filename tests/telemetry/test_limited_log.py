from __future__ import annotations

from structlog.testing import capture_logs

from planmesh.telemetry.limited_log import LimitedLog
from planmesh.telemetry.logs import get_logger


def test_one_line_in_the_interval_and_the_next_says_how_many_were_left_out() -> None:
    now_s = [100.0]
    with capture_logs() as lines:
        log = LimitedLog(get_logger("test"), 1.0, lambda: now_s[0])
        for step_s in (0.0, 0.0, 0.5, 0.49, 0.02, 0.0, 5.0):
            now_s[0] += step_s
            log.info("again", fact="x")
    assert [(line["event"], line["fact"], line["suppressed"]) for line in lines] == [
        ("again", "x", 0),
        ("again", "x", 3),
        ("again", "x", 1),
    ]
