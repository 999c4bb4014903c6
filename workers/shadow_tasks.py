"""The Celery task of checks: answers drawn by coordinators, compared with a plain search, one at a time.

A build worker serves their queue beside its builds, but no check takes one of its threads: a message is handed to a
thread of the lowest priority where it is received, or dropped when enough of them wait. While more
builds wait than a worker may hold, Celery receives nothing, so checks wait in Redis until they expire.
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
"""Checks that wait in the process: at a hundredth of a core few are done before they expire."""

NICENESS: Final = 19
"""Priority of the thread that checks, the lowest: nobody waits for it."""

REDIS_AGAIN_S: Final = 1.0
"""Between attempts to reach Redis for its time or for what was found."""

STOP_S_MAX: Final = 5.0
"""A piece of a search is some milliseconds, a file that is read some more."""

log = get_logger(__name__)


def hand_over(task: Task[..., None], _app: Celery, _consumer: object) -> Callable[..., None]:
    """Celery's strategy for checks: a message goes to the thread that checks, and to no thread of the pool."""
    take: Callable[[bytes, float], None] = task.take  # given at registration

    def handle(message: Message, _body: object, *_: object) -> None:
        try:
            expires_unix_s = datetime.fromisoformat(message.headers["expires"]).timestamp()
            (payload,), _keyword_arguments, _embedded = message.payload
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidTaskError(
                f"expected the arguments of a task with one, and when it expires: {error}"
            ) from error
        take(payload, expires_unix_s)

    return handle


class ShadowTasks:
    """Checks answers in a thread of its own, from `start` to `stop`."""

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
            # Series that begin at 0: Prometheus sees no increase in one that begins at 1.
            self._count(result, 0)

    def register(self, app: Celery) -> None:
        """Make the application hand over checks to this."""

        @app.task(  # type: ignore[untyped-decorator]
            name=SHADOW_TASK, ignore_result=True, Strategy="workers.shadow_tasks:hand_over", take=self.take
        )
        def shadow(payload: bytes) -> None:
            raise NotImplementedError("its strategy hands it over")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; a check under way is skipped, what waits is dropped."""
        self._stopped.set()
        self._thread.join(STOP_S_MAX)

    def take(self, payload: bytes, expires_unix_s: float) -> None:
        """Have a serialised ShadowCheck done before it expires by the clock of Redis, or count it as skipped."""
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
                # One check that fails ends no other.
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
            log.error("check dropped: expected a ShadowCheck", error=str(error), bytes=len(payload))
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
        """Leave what was found for the partition service; the first of a version stays. Other checks wait for that."""
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
    """Checks that spend at most `processor_share` of one core; see ShadowSearch and ProcessorBudget."""
    stopped = threading.Event()
    budget = ProcessorBudget(processor_share, time.monotonic)
    search = ShadowSearch(open_partitions_max, budget, stopped)
    return ShadowTasks(search, connection, telemetry, stopped)
