"""What a worker, which has no port, shows to probes: two files that it renews; a probe looks at their age.

`alive` is renewed from a thread, as long as the interpreter runs. `ready` is renewed by Celery's own loop, as long as
it has a connection to Redis and takes tasks: a Redis that is away makes a worker unready, and ends none.
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
    """The two files of one worker process, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._alive = folder / ALIVE
        self._ready = folder / READY
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self, app: Celery) -> None:
        """Renew `alive` from now on, and `ready` while the worker of `app` takes tasks.

        Raises SettingsError when the folder cannot be written.
        """
        try:
            self._alive.parent.mkdir(parents=True, exist_ok=True)
            self._ready.unlink(missing_ok=True)  # of a process before
            self._alive.touch()
        except OSError as error:
            raise SettingsError(
                f"PLANMESH_WORKER_PULSE: expected a folder to write in, got {self._alive.parent}: {error}"
            ) from error
        app.steps["consumer"].add(_renewing(self._ready))
        self._thread.start()

    def stop(self) -> None:
        """Not ready any more; `alive` grows old."""
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
        # The file grows old, and the probe says so.
        log.error("pulse not written", path=str(path), error=str(error))


def _renewing(path: Path) -> type[Any]:
    """A step of Celery's consumer: begun whenever it has connected, ended whenever it has lost the connection."""

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
