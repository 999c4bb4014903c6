"""Liveness and readiness of a worker, which has no port: two files that it renews, whose age a probe checks.

A thread renews `alive` as long as the interpreter runs. Celery's own loop renews `ready` as long as it is connected to
Redis and takes tasks. While Redis is down a worker is not ready, but stays alive.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Final

from celery import Celery, bootsteps

from planmesh.settings import SettingsError
from planmesh.telemetry.logs import get_logger

PULSE_INTERVAL_S: Final = 1.0
ALIVE: Final = "alive"
READY: Final = "ready"

log = get_logger(__name__)


class Pulse:
    """The two files of one worker process. No other process may use the folder."""

    def __init__(self, folder: Path) -> None:
        self._alive = folder / ALIVE
        self._ready = folder / READY
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self, app: Celery) -> None:
        """Start to renew `alive` from a thread, and `ready` while the worker of `app` takes tasks.

        Raises SettingsError when the folder cannot be written.
        """
        try:
            self._alive.parent.mkdir(parents=True, exist_ok=True)
            self._ready.unlink(missing_ok=True)  # an earlier process may have left it
            self._alive.touch()
        except OSError as error:
            raise SettingsError(
                f"PLANMESH_WORKER_PULSE: expected a folder to write in, got {self._alive.parent}: {error}"
            ) from error
        app.steps["consumer"].add(_renewing(self._ready))
        self._thread.start()

    def stop(self) -> None:
        """Remove `ready` and stop to renew `alive`, which then becomes too old for its probe."""
        self._stopped.set()
        self._thread.join(timeout=2 * PULSE_INTERVAL_S)
        self._ready.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._stopped.wait(PULSE_INTERVAL_S):
            _renew(self._alive)


def _renew(path: Path) -> None:
    try:
        path.touch()
    except OSError as error:
        # The file becomes too old, so the probe fails.
        log.error("pulse not written", path=str(path), error=str(error))


def _renewing(path: Path) -> type[Any]:
    """Return a step for Celery's consumer, which starts it after every connection and stops it when that is lost."""

    class Renewing(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def __init__(self, consumer: Any, **options: Any) -> None:
            super().__init__(consumer, **options)
            self._timer: Any = None

        def start(self, consumer: Any) -> None:
            _renew(path)
            self._timer = consumer.timer.call_repeatedly(PULSE_INTERVAL_S, _renew, (path,))

        def stop(self, consumer: Any) -> None:  # noqa: ARG002
            if self._timer is not None:
                self._timer.cancel()
            path.unlink(missing_ok=True)

    return Renewing
