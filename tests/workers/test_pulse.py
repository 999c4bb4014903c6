"""The files that show probes whether a worker lives and takes tasks."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from planmesh.settings import SettingsError
from tests.mesh.polling import eventually
from workers import pulse
from workers.pulse import ALIVE, READY, Pulse


class Timer:
    """Celery's timer: it records the function that is called repeatedly."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, Callable[[], None]]] = []
        self.cancelled = 0

    def call_repeatedly(self, seconds: float, function: Callable[..., None], arguments: tuple[Any, ...]) -> Timer:
        self.calls.append((seconds, lambda: function(*arguments)))
        return self

    def cancel(self) -> None:
        self.cancelled += 1


class Consumer:
    def __init__(self) -> None:
        self.timer = Timer()


def step_of(app: Celery, consumer: Consumer) -> Any:
    (kind,) = [step for step in app.steps["consumer"] if step.__name__ == "Renewing"]
    return kind(consumer)


def test_alive_is_renewed_from_a_thread_until_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "PULSE_INTERVAL_S", 0.01)
    shown = Pulse(tmp_path / "new" / "folder")
    shown.start(Celery("test", set_as_current=False))
    alive = tmp_path / "new" / "folder" / ALIVE
    first = alive.stat().st_mtime_ns
    eventually(lambda: alive.stat().st_mtime_ns > first, "a renewed file")
    shown.stop()
    last = alive.stat().st_mtime_ns
    time.sleep(0.05)
    assert alive.stat().st_mtime_ns == last


def test_ready_exists_while_celery_has_a_connection(tmp_path: Path) -> None:
    (tmp_path / READY).touch()
    shown, app, consumer = Pulse(tmp_path), Celery("test", set_as_current=False), Consumer()
    shown.start(app)
    assert not (tmp_path / READY).exists(), "an earlier process left the file"
    step = step_of(app, consumer)
    step.start(consumer)
    assert (tmp_path / READY).exists()
    ((seconds, renew),) = consumer.timer.calls
    assert seconds == pulse.PULSE_INTERVAL_S
    (tmp_path / READY).unlink()
    renew()
    assert (tmp_path / READY).exists()
    step.stop(consumer)
    assert not (tmp_path / READY).exists()
    assert consumer.timer.cancelled == 1
    shown.stop()


def test_a_folder_that_cannot_be_written_is_a_settings_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="PLANMESH_WORKER_PULSE"):
        Pulse(tmp_path / "file" / "folder").start(Celery("test", set_as_current=False))
