"""One process of the local mesh: restarts with growing waits, and an end that leaves no descendants."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import psutil
import pytest

from planmesh.errors import ServiceUnavailable
from planmesh.local.child import BACKOFF_FIRST_S, DEATHS_MAX, DEATHS_WINDOW_S, Child, ChildSpec, exit_text
from planmesh.local.readiness import wait_until_ready
from tests.mesh.polling import eventually

LEAVES_A_CHILD = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
"""

IGNORES_SIGTERM = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""


def child_of(folder: Path, code: str) -> Child:
    return Child(ChildSpec("some", (sys.executable, "-c", code), {}), folder / "some.log")


def test_waits_double_with_each_death_in_the_window(tmp_path: Path) -> None:
    child = child_of(tmp_path, "")
    assert [child.note_death(1, float(number)) for number in range(3)] == [
        BACKOFF_FIRST_S,
        2 * BACKOFF_FIRST_S,
        4 * BACKOFF_FIRST_S,
    ]
    assert child.note_death(1, 100.0 + DEATHS_WINDOW_S) == BACKOFF_FIRST_S, "earlier deaths are forgotten"


def test_too_many_deaths_give_the_process_up_with_the_end_of_its_log(tmp_path: Path) -> None:
    child = child_of(tmp_path, "")
    child.log.write_text("the reason\n")
    for number in range(DEATHS_MAX - 1):
        child.note_death(-signal.SIGKILL, float(number))
    with pytest.raises(ServiceUnavailable, match=r"some died 5 times within 30 s \(killed by SIGKILL\)") as raised:
        child.note_death(-signal.SIGKILL, float(DEATHS_MAX))
    assert raised.value.message.endswith("the reason")


def test_exit_codes_are_described() -> None:
    assert (exit_text(0), exit_text(3), exit_text(-signal.SIGTERM)) == (
        "exit code 0",
        "exit code 3",
        "killed by SIGTERM",
    )


def has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_descendants_end_with_the_process(tmp_path: Path) -> None:
    child = child_of(tmp_path, LEAVES_A_CHILD)
    await child.start()
    assert await child.wait() == 0
    assert not child.running
    descendant = int(child.log.read_text())
    eventually(lambda: has_ended(descendant), "the end of the descendant")


async def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("planmesh.local.child.STOP_S_MAX", 0.05)
    child = child_of(tmp_path, IGNORES_SIGTERM)

    async def ready() -> bool:
        return "ready" in child.log.read_text()

    await child.start()
    await wait_until_ready(child, ready, 30.0)
    await child.stop()
    assert not child.running


async def test_a_process_that_ends_before_it_is_ready_is_reported_at_once(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    child = child_of(tmp_path, "import sys; sys.exit('a bad setting')")
    await child.start()
    with pytest.raises(ServiceUnavailable, match=r"some ended before it was ready \(exit code 1\)") as raised:
        await wait_until_ready(child, never, 600.0)
    assert "a bad setting" in raised.value.message


async def test_a_process_that_is_not_ready_in_time_is_reported(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    child = child_of(tmp_path, "import time; time.sleep(60)")
    await child.start()
    with pytest.raises(ServiceUnavailable, match=r"some was not ready within 0\.1 s"):
        await wait_until_ready(child, never, 0.1)
    await child.stop()
