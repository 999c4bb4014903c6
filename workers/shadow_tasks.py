"""The Celery task of shadow checks: it compares answers that coordinators drew with a plain search, one at a time.

A build worker serves the queue of checks along with its builds, but checks use none of its pool's threads. The
receiving thread passes a message to a thread of the lowest priority, or drops it when WAITING_MAX checks wait. While a
worker holds as many builds as it may, Celery receives nothing, and checks wait in Redis until they expire.
"""

from __future__ import annotations

import math
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

import redis
from celery import Celery, Task
from celery.exceptions import InvalidTaskError
from google.protobuf.message import DecodeError
from kombu.message import Message
from redis.exceptions import RedisError

from planmesh.dispatch.broker_clock import BrokerClock
from planmesh.dispatch.checksum import open_sealed
from planmesh.dispatch.queues import SHADOW_TASK, SUSPECT_TTL_S, suspect_key
from planmesh.errors import VersionGone
from planmesh.internal.v1 import task_pb2
from planmesh.telemetry import names
from planmesh.telemetry.logs import get_logger
from planmesh.telemetry.tracing import Telemetry
from planmesh.v1 import graph_pb2
from workers.processor_budget import ProcessorBudget
from workers.shadow_search import OutOfBudgetError, ShadowSearch, agree

WAITING_MAX: Final = 16
"""Checks that wait in the process. At a hundredth of a core, few are done before they expire."""

NICENESS: Final = 19
"""Priority of the thread of the checks, the lowest one, because no caller waits for it."""

REDIS_AGAIN_S: Final = 1.0
"""Wait between attempts to store a suspicion in Redis. Also the longest wait for a check before looking for a stop."""

STOP_S_MAX: Final = 5.0
"""Longest wait for the thread to end. A unit of a search takes some milliseconds, and reading a file somewhat more."""

log = get_logger(__name__)


def hand_over(task: Task[..., None], _app: Celery, _consumer: object) -> Callable[..., None]:
    """Celery strategy for checks: pass a message to the thread of the checks instead of the pool."""
    take: Callable[[bytes, float], None] = task.take  # set at registration

    def handle(message: Message, _body: object, *_: object) -> None:
        try:
            expires_unix_s = datetime.fromisoformat(message.headers["expires"]).timestamp()
            (payload,), _keyword_arguments, _embedded = message.payload
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidTaskError(f"expected a task with one argument and an expiry time: {error}") from error
        take(payload, expires_unix_s)

    return handle


class ShadowTasks:
    """Checks answers in a separate thread, from `start` to `stop`."""

    def __init__(
        self, search: ShadowSearch, connection: redis.Redis, telemetry: Telemetry, stopped: threading.Event
    ) -> None:
        self._search = search
        self._connection = connection
        self._telemetry = telemetry
        self._stopped = stopped
        self._clock = BrokerClock()
        self._waiting: queue.Queue[tuple[bytes, float]] = queue.Queue(WAITING_MAX)
        self._thread = threading.Thread(target=self._run, name="shadow-checks", daemon=True)
        for result in names.SHADOW_RESULTS:
            # Series start at 0, because Prometheus would not see the increase of one that starts at 1.
            self._count(result, 0)

    def register(self, app: Celery) -> None:
        """Register `take` as the handler of checks in the Celery application."""

        @app.task(  # type: ignore[untyped-decorator]
            name=SHADOW_TASK, ignore_result=True, Strategy="workers.shadow_tasks:hand_over", take=self.take
        )
        def shadow(payload: bytes) -> None:
            raise NotImplementedError("its strategy passes checks to `take`")

    def start(self) -> None:
        """Start the thread of the checks."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread within STOP_S_MAX. The current check counts as skipped; waiting ones are dropped."""
        self._stopped.set()
        self._thread.join(STOP_S_MAX)

    def take(self, payload: bytes, expires_unix_s: float) -> None:
        """Queue a serialised ShadowCheck, which expires at a time of Redis's clock. If the queue is full, skip it."""
        try:
            self._waiting.put_nowait((payload, expires_unix_s))
        except queue.Full:
            self._count(names.SHADOW_SKIPPED)

    def _run(self) -> None:
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)  # of this thread alone
        while not self._stopped.is_set():
            try:
                payload, expires_unix_s = self._waiting.get(timeout=REDIS_AGAIN_S)
            except queue.Empty:
                continue
            try:
                result = self._result(payload, expires_unix_s)
            except Exception:
                # A failing check must not end the thread.
                log.exception("answer not checked")
                result = names.SHADOW_ERROR
            self._count(result)

    def _result(self, payload: bytes, expires_unix_s: float) -> str:
        try:
            check = open_sealed(task_pb2.ShadowCheck, payload)
            asked_at_s = time.monotonic()
            self._clock.note(self._connection.time(), asked_at_s)
            if self._clock.unix_s() >= expires_unix_s:
                return names.SHADOW_SKIPPED
            found = self._search.cost(check)
        except DecodeError as error:
            log.error("check dropped: it is not a ShadowCheck", error=str(error), bytes=len(payload))
            return names.SHADOW_ERROR
        except (OutOfBudgetError, RedisError) as error:
            log.info("check skipped", reason=str(error))
            return names.SHADOW_SKIPPED
        except VersionGone:
            return names.SHADOW_VERSION_GONE
        answered = check.cost if check.HasField("cost") else math.inf
        if agree(answered, found):
            return names.SHADOW_MATCH
        self._report(check, answered, found)
        return names.SHADOW_MISMATCH

    def _report(self, check: task_pb2.ShadowCheck, answered: float, found: float) -> None:
        log.error(
            "wrong answer: a plain search on the same version found another cost",
            graph=check.graph,
            version=check.version,
            start=check.start,
            goal=check.goal,
            answered_cost=None if math.isinf(answered) else answered,
            plain_cost=None if math.isinf(found) else found,
            trace_id=check.trace_id,
            snapshot=check.identity,
            remedy=f"planmesh verify --graph {check.graph}",
        )
        suspicion = graph_pb2.Suspicion(
            version=check.version, start=check.start, goal=check.goal, trace_id=check.trace_id
        )
        if not math.isinf(answered):
            suspicion.answered_cost = answered
        if not math.isinf(found):
            suspicion.plain_cost = found
        suspicion.found_at.FromNanoseconds(int(self._clock.unix_s() * 1e9))
        self._keep(suspect_key(check.identity), suspicion.SerializeToString())

    def _keep(self, key: str, suspicion: bytes) -> None:
        """Store a suspicion in Redis for the partition service, unless there is one against this snapshot already.

        Blocks other checks until Redis has accepted it or the worker stops.
        """
        while True:
            try:
                self._connection.set(key, suspicion, nx=True, ex=SUSPECT_TTL_S)
            except (RedisError, OSError) as error:
                log.warning("suspicion not delivered yet", error=str(error), again_s=REDIS_AGAIN_S)
            else:
                return
            if self._stopped.wait(REDIS_AGAIN_S):
                log.error("suspicion not delivered: the worker stops", key=key)
                return

    def _count(self, result: str, checks: int = 1) -> None:
        self._telemetry.instruments.shadow_checks.add(checks, {names.RESULT: result})


def make_shadow_tasks(
    open_partitions_max: int, processor_share: float, connection: redis.Redis, telemetry: Telemetry
) -> ShadowTasks:
    """Return checks that use at most `processor_share` of one core; see ShadowSearch and ProcessorBudget."""
    stopped = threading.Event()
    budget = ProcessorBudget(processor_share, time.monotonic)
    search = ShadowSearch(open_partitions_max, budget, stopped)
    return ShadowTasks(search, connection, telemetry, stopped)
