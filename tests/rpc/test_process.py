"""The exit codes of a process, and its signals while it starts. Each runs in a separate process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import ROOT

PROGRAM = """
import asyncio, sys
from planmesh.errors import InvalidRequest
from planmesh.rpc.process import run_process
from planmesh.settings import ProcessSettings, SettingsError

async def main(settings, telemetry):
    {body}

sys.exit(run_process("planmesh-test", ProcessSettings, main))
"""


def start(body: str, **environ: str) -> subprocess.Popen[str]:
    environ |= {"PYTHONPATH": str(ROOT), "OTEL_TRACES_EXPORTER": "none"}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(body=body)],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def last_line(errors: str) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(errors.splitlines()[-1])
    return line


@pytest.mark.parametrize(
    ("body", "code", "event"),
    [
        ("pass", 0, "ended"),
        ("raise InvalidRequest('bad', field='x')", 1, "ended"),
        ("raise ValueError('defect')", 1, "ended by an unexpected error"),
    ],
)
def test_exit_codes(body: str, code: int, event: str) -> None:
    process = start(body)
    _, errors = process.communicate(timeout=60)
    line = last_line(errors)
    assert (process.returncode, line["event"], line["service"], line["pid"]) == (
        code,
        event,
        "planmesh-test",
        process.pid,
    )
    assert ("exception" in line) == (event != "ended")


@pytest.mark.parametrize(
    ("body", "environ"),
    [("pass", {"PLANMESH_LOG_LEVEL": "loud"}), ("raise SettingsError('the folder is missing')", {})],
)
def test_wrong_settings_are_a_text_and_exit_code_2(body: str, environ: dict[str, str]) -> None:
    process = start(body, **environ)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert not errors.startswith("{")
    assert "Traceback" not in errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_start_is_no_failure(number: signal.Signals) -> None:
    process = start("print('starting', flush=True); await asyncio.sleep(60)")
    assert process.stdout is not None
    assert process.stdout.readline() == "starting\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, last_line(errors)["event"]) == (0, "ended")


def test_a_cancellation_without_a_signal_is_a_failure() -> None:
    process = start("raise asyncio.CancelledError")
    process.communicate(timeout=60)
    assert process.returncode == 1
