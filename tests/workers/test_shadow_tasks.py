"""The thread of the shadow checks, with a real Redis: its counts, its logs and its reports to the partition service."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from celery import Celery
from celery.exceptions import InvalidTaskError
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from structlog.testing import capture_logs

from planmesh.dispatch.checksum import seal
from planmesh.dispatch.queues import suspect_key
from planmesh.errors import SnapshotDamaged, VersionGone
from planmesh.internal.v1 import task_pb2
from planmesh.telemetry import names
from planmesh.telemetry.tracing import make_telemetry
from planmesh.v1 import graph_pb2
from tests.mesh.polling import eventually
from tests.workers.celery_messages import message
from workers.shadow_search import OutOfBudgetError, ShadowSearch
from workers.shadow_tasks import WAITING_MAX, ShadowTasks, hand_over

FOR_LONG_UNIX_S = time.time() + 86_400
IDENTITY = "ab" * 16


class PlannedSearch:
    """A search with the outcome that the test sets. It waits for `go`."""

    def __init__(self) -> None:
        self.outcome: float | Exception = 3.0
        self.go = threading.Event()
        self.go.set()

    def cost(self, _check: task_pb2.ShadowCheck) -> float:
        assert self.go.wait(60)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class Checks:
    """The tasks under test, and their counts."""

    def __init__(self, connection: redis.Redis) -> None:
        self.search = PlannedSearch()
        self.redis = connection
        self._reader = InMemoryMetricReader()
        self.tasks = ShadowTasks(
            cast(ShadowSearch, self.search),
            connection,
            make_telemetry("test", metric_readers=[self._reader]),
            threading.Event(),
        )
        self.tasks.start()

    def counts(self) -> dict[str, int]:
        data: Any = self._reader.get_metrics_data()
        (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
        assert metric.name == names.METRIC_SHADOW_CHECKS
        return {point.attributes[names.RESULT]: point.value for point in metric.data.data_points}

    def result(self, payload: bytes, expires_unix_s: float = FOR_LONG_UNIX_S) -> str:
        """Do one check, and return the result under which it was counted."""
        before = self.counts()
        self.tasks.take(payload, expires_unix_s)

        def counted() -> str:
            return "".join(result for result, count in self.counts().items() if count > before[result])

        return eventually(counted, "a result")


@pytest.fixture
def checks(redis_server: Any) -> Iterator[Checks]:
    with redis.Redis.from_url(redis_server.url) as connection:
        running = Checks(connection)
        yield running
        running.search.go.set()
        running.tasks.stop()


def check_of(cost: float | None) -> bytes:
    check = task_pb2.ShadowCheck(graph="roads", version=4, identity=IDENTITY, start="a", goal="b", trace_id="t" * 32)
    if cost is not None:
        check.cost = cost
    return seal(check)


def test_every_result_begins_at_zero(checks: Checks) -> None:
    assert checks.counts() == dict.fromkeys(names.SHADOW_RESULTS, 0)


@pytest.mark.parametrize(
    ("answered", "outcome", "result"),
    [
        (3.0, 3.0, names.SHADOW_MATCH),
        (3.0, 3.0 * (1 + 1e-12), names.SHADOW_MATCH),
        (None, math.inf, names.SHADOW_MATCH),
        (3.0, OutOfBudgetError("too long"), names.SHADOW_SKIPPED),
        (3.0, VersionGone("removed"), names.SHADOW_VERSION_GONE),
        (3.0, SnapshotDamaged("partitions/00000", "is broken"), names.SHADOW_ERROR),
        (3.0, KeyError("a defect"), names.SHADOW_ERROR),
    ],
)
def test_only_a_wrong_answer_makes_a_version_suspect(
    checks: Checks, answered: float | None, outcome: float | Exception, result: str
) -> None:
    checks.search.outcome = outcome
    assert checks.result(check_of(answered)) == result
    assert checks.redis.get(suspect_key(IDENTITY)) is None
    checks.search.outcome = 3.0
    assert checks.result(check_of(3.0)) == names.SHADOW_MATCH, "the next check must be done"


@pytest.mark.parametrize(("answered", "found"), [(100.0, 2.0), (None, 2.0), (2.0, math.inf)])
def test_a_wrong_answer_is_logged_and_left_for_the_partition_service(
    checks: Checks, answered: float | None, found: float
) -> None:
    checks.search.outcome = found
    with capture_logs() as logs:
        assert checks.result(check_of(answered)) == names.SHADOW_MISMATCH
    plain = None if math.isinf(found) else found
    (line,) = [line for line in logs if line["log_level"] == "error"]
    facts = {"graph": "roads", "version": 4, "start": "a", "goal": "b", "trace_id": "t" * 32}
    costs = {"answered_cost": answered, "plain_cost": plain}
    assert {name: line[name] for name in (*facts, *costs)} == {**facts, **costs}
    kept = graph_pb2.Suspicion.FromString(cast(bytes, checks.redis.get(suspect_key(IDENTITY))))
    assert (kept.version, kept.start, kept.goal, kept.trace_id) == (4, "a", "b", "t" * 32)
    assert (kept.answered_cost if kept.HasField("answered_cost") else None) == answered
    assert (kept.plain_cost if kept.HasField("plain_cost") else None) == plain
    assert checks.redis.ttl(suspect_key(IDENTITY)) > 0


def test_the_first_wrong_answer_of_a_version_is_kept(checks: Checks) -> None:
    for answered in (7.0, 8.0):
        assert checks.result(check_of(answered)) == names.SHADOW_MISMATCH
    kept = graph_pb2.Suspicion.FromString(cast(bytes, checks.redis.get(suspect_key(IDENTITY))))
    assert kept.answered_cost == 7.0


def test_expired_and_broken_checks_are_not_searched(checks: Checks) -> None:
    checks.search.outcome = AssertionError("searched")
    assert checks.result(check_of(3.0), time.time() - 3_600) == names.SHADOW_SKIPPED
    broken = bytearray(check_of(3.0))
    broken[2] ^= 1
    assert checks.result(bytes(broken)) == names.SHADOW_ERROR


def test_checks_beyond_the_bound_are_skipped_without_delay(checks: Checks) -> None:
    checks.search.go.clear()
    sent = 3 * WAITING_MAX
    for _ in range(sent):
        checks.tasks.take(check_of(3.0), FOR_LONG_UNIX_S)
    shed = checks.counts()[names.SHADOW_SKIPPED]
    assert shed >= sent - WAITING_MAX - 1
    checks.search.go.set()
    eventually(lambda: checks.counts()[names.SHADOW_MATCH] == sent - shed, "all others")


class Taken(list[tuple[bytes, float]]):
    """The messages that were passed on."""

    def take(self, payload: bytes, expires_unix_s: float) -> None:
        self.append((payload, expires_unix_s))


def test_valid_messages_are_passed_on_and_malformed_ones_are_not() -> None:
    taken = Taken()
    app = Celery("test", set_as_current=False)

    @app.task(name="shadow", take=taken.take)  # type: ignore[untyped-decorator]
    def shadow(payload: bytes) -> None:
        """Never run here."""

    handle: Callable[..., None] = hand_over(shadow, app, None)
    expires = datetime.now(UTC) + timedelta(seconds=5)
    handle(message(((b"x",), {}, {}), expires=expires.isoformat()), None)
    ((payload, expires_unix_s),) = taken
    assert payload == b"x"
    assert expires_unix_s == pytest.approx(expires.timestamp())
    for bad in (message(((b"x",), {}, {})), message(7, expires=expires.isoformat())):
        with pytest.raises(InvalidTaskError):
            handle(bad, None)


def test_the_settings_can_switch_checks_off(tmp_path: Path) -> None:
    from planmesh.settings import SettingsError, WorkerSettings, read_settings  # noqa: PLC0415

    assert read_settings(WorkerSettings, {}).shadow_processor_share == 0.01
    assert read_settings(WorkerSettings, {"PLANMESH_SHADOW_PROCESSOR_SHARE": "0"}).shadow_processor_share == 0
    with pytest.raises(SettingsError, match="PLANMESH_SHADOW_PROCESSOR_SHARE"):
        read_settings(WorkerSettings, {"PLANMESH_SHADOW_PROCESSOR_SHARE": "0.02"})
